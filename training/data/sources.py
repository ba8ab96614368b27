"""Data sets by name: prepared once, and read in storage order."""
import contextlib
import dataclasses
import difflib
import errno
import functools
import hashlib
import importlib
import io
import logging
import os
import pathlib
import sys
import threading
import time

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from training import datasets, paths
from training.config import UserError, set_name
from training.datasets import folders
from training.engine import files


def builder(name, config):
    """Returns the TFDS builder of a prepared data set, one of this package or of TFDS.

    config: `data_dir`, `manual_dir` and `download` are read

    Raises:
        UserError: the name is unknown, the data is missing, or a split is empty.
    """
    data_dir = _data_dir(config)
    kind = _builder_class(name)
    with _quiet():
        found = _folder_builder(name, kind, config, data_dir) if hasattr(kind, "config_for") else (
            _named_builder(name, data_dir))
    if not _is_prepared(found.data_dir):
        found = _prepare(found, name, kind, config, data_dir)
    for split, part in found.info.splits.items():
        if not part.num_examples:
            raise UserError(f"the {split} split of {name} contains no examples")
    return found


def parts(prepared):
    """Returns the TFDS names of the parts for training, validation and test.

    Without a labeled test split, the validation split is used for the test, and a slice of train for validation.

    Raises:
        UserError: the data set has no train split.
    """
    names = {name for name, split in prepared.info.splits.items() if split.num_examples}
    if prepared.name == "coco" or not getattr(prepared.builder_config, "has_test_annotations", True):  # a field of voc's
        names.discard("test")  # its labels are kept secret
    if {"train", "validation", "test"} <= names:
        return {"train": "train", "validation": "validation", "test": "test"}
    evaluated = next((name for name in ("test", "validation") if name in names), None)
    if "train" not in names:
        raise UserError(f"{prepared.name} has no train split, only {', '.join(sorted(names)) or 'none'}")
    if evaluated is None:
        return {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}
    return {"train": "train[:90%]", "validation": "train[90%:]", "test": evaluated}


def read(prepared, split, share=None, **options):
    """Returns the examples of a split, or of a slice of it, in storage order.

    share: the `pipelines.Share` to read, in its own order; None: all examples

    Raises:
        UserError: there are no examples.
    """
    count = prepared.info.splits[split].num_examples
    if not count:
        raise UserError(f"{split} of {prepared.name} contains no examples: the data set is too small")
    settings = tfds.ReadConfig(try_autocache=False, add_tfds_id=False)
    if share:
        count //= share.count
        settings.experimental_interleave_sort_fn = functools.partial(_dealt, share, count)
    with _quiet():
        data = prepared.as_dataset(split=split, shuffle_files=False, read_config=settings, **options)
    return data.apply(tf.data.experimental.assert_cardinality(count))


def facts(name, config):
    """Returns {split: [examples, bytes, and for a folder of one's own what tells the content]} of a prepared data set.

    The content is a hash of the checksums in the TFRecord files, for which no example is read.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # what there is to say of the data has been said when it was read
        prepared = builder(name, config)
    is_folder = hasattr(_builder_class(name), "config_for")
    return {split: [part.num_examples, part.num_bytes, *([_content(part.filepaths)] if is_folder else [])]
            for split, part in sorted(prepared.info.splits.items())}


def _content(paths):
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while length := file.read(8):  # TFRecord: length, its checksum, content, its checksum
                file.seek(4 + int.from_bytes(length, "little"), os.SEEK_CUR)
                digest.update(length + file.read(4))
    return digest.hexdigest()[:16]


def _dealt(share, count, instructions):
    """Returns which examples of which files belong to a share: the files in a random order, cut after every `count` examples.

    Only the files in which a cut falls are opened by two readers.
    """
    found, place = [], -share.index * count  # of the next example, counted from the first of the share
    for number in np.random.default_rng(share.order).permutation(len(instructions)):
        file = instructions[number]
        first, last = max(-place, 0), min(count - place, file.take)
        if first < last:
            found.append(dataclasses.replace(file, skip=file.skip + first, take=last - first))
        place += file.take
    return found


def _data_dir(config):
    folder = config.data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return os.path.abspath(paths.expanded(folder, paths.DATA_DIR_REMEDY))


def _manual_dir(name, kind, config):
    if not config.manual_dir:
        raise UserError(f"{name} needs --manual-dir: {_instructions(kind)}")
    folder = pathlib.Path(paths.expanded(config.manual_dir)).absolute()
    if not folder.is_dir():
        raise UserError(f"--manual-dir {config.manual_dir} is not a folder; {name} needs this: {_instructions(kind)}")
    return folder


def _builder_class(name):
    """Returns the builder's class; raises UserError with the nearest names when there is none."""
    plain = set_name(name)
    if plain in datasets.NAMES:
        importlib.import_module(f"training.datasets.{plain}")
    try:
        kind = tfds.builder_cls(plain)
    except (ValueError, ImportError, tfds.core.DatasetNotFoundError):
        known = sorted({*datasets.NAMES, *tfds.list_builders(with_community_datasets=False)})
        near = difflib.get_close_matches(plain, known, 3, 0.5)
        raise UserError(f"there is no data set {name!r}; " + (
            f"did you mean {' or '.join(near)}?" if near
            else f"choose one of {', '.join(datasets.NAMES)}, or a data set of TFDS")) from None
    config = name.partition("/")[2].partition(":")[0]
    if config and kind.builder_configs and config not in kind.builder_configs:
        near = difflib.get_close_matches(config, kind.builder_configs, 3, 0) or list(kind.builder_configs)[:3]
        raise UserError(f"{plain} has no config {config!r}; did you mean {' or '.join(f'{plain}/{each}' for each in near)}?")
    return kind


def _named_builder(name, data_dir):
    try:
        found = tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # TFDS has many ways to refuse a config or version
        raise UserError(f"cannot open the data set {name!r}: {_first_line(error)}") from error
    if not _is_prepared(found.data_dir):
        with contextlib.suppress(tfds.core.DatasetNotFoundError):  # an older version may be there
            return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
    return found


def _folder_builder(name, kind, config, data_dir):
    """Returns the builder of a user's folder, which is identified by a hash of its content."""
    folder = _manual_dir(name, kind, config)
    identity = folders.identity(folder, kind.files(folder))
    prepared = pathlib.Path(data_dir, name, identity, str(kind.VERSION))
    if _is_prepared(prepared):
        return tfds.builder_from_directory(prepared)
    return kind(config=kind.config_for(folder, identity), data_dir=data_dir)


def _is_prepared(folder):
    return (pathlib.Path(folder) / "dataset_info.json").is_file()


def _prepare(found, name, kind, config, data_dir):
    """Returns the builder after it has made or fetched its data."""
    is_ours = set_name(name) in datasets.NAMES
    is_manual = bool(_instructions(kind))
    if not is_ours and not config.download:
        raise UserError(f"{name} is not prepared in {data_dir}: use --download to fetch it, or specify "
                        "its folder with --data-dir" + (
                            f"; --manual-dir must contain files that are downloaded manually: {_instructions(kind)}"
                            if is_manual else ""))
    manual_dir = _manual_dir(name, kind, config) if is_manual else None
    if manual_dir and not any(manual_dir.iterdir()):  # TFDS would say so in a sentence without an end
        raise UserError(f"--manual-dir {config.manual_dir} is empty; {name} needs this: {_instructions(kind)}")
    settings = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    duration = getattr(kind, "NOTICE", None)
    kept = pathlib.Path(data_dir, found.name)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with files.lock(kept, waiting=f"waiting for another process that is preparing {name}"):
            if _is_prepared(found.data_dir):  # by that process
                return tfds.builder_from_directory(found.data_dir)
            held = f": {found.builder_config.summary()}" if isinstance(found.builder_config, folders.FolderConfig) else ""
            print(f"preparing {name} (once" + (f", {duration})" if duration else ")") + held, flush=True)
            bars = config.download and sys.stderr.isatty()
            with _quiet(bars), contextlib.nullcontext() if bars else _ticking(name, [kept, pathlib.Path(data_dir, "downloads")]):
                found.download_and_prepare(download_config=settings)
        return found
    except Exception as error:
        if _is_prepared(found.data_dir):  # another process was faster, where the file system has no locks
            return tfds.builder_from_directory(found.data_dir)
        if isinstance(error, UserError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise
        raise UserError(f"{name} could not be prepared: {_first_line(error)}") from error


def _instructions(kind):
    return " ".join((getattr(kind, "MANUAL_DOWNLOAD_INSTRUCTIONS", None) or "").split())


def _first_line(error):
    """Returns what an error says in one line; where its first line only announces others, the last one too."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if lines[0].endswith(":") and len(lines) > 1:  # TFDS puts the example before the reason
        lines[0] += f" {lines[-1]}"
    return lines[0][:300]


@contextlib.contextmanager
def _quiet(bars=False):
    """Keeps TFDS's notes and logs off the screen while it works, and its progress bars too unless asked for."""
    (tfds.enable_progress_bar if bars else tfds.disable_progress_bar)()
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow_datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


@contextlib.contextmanager
def _ticking(name, folders, interval=10.0):
    """Says every `interval` seconds how long a preparation has taken and how much is in its folders, where no bar shows that."""
    out, done, began = sys.stdout, threading.Event(), time.perf_counter()

    def tick():
        while not done.wait(interval):
            size = 0
            for path in (path for folder in folders for path in folder.rglob("*")):
                with contextlib.suppress(OSError):  # it may be gone or renamed by now
                    size += path.stat().st_size
            print(f"preparing {name}: {time.perf_counter() - began:.0f} s, {size / 1e6:.0f} MB", file=out, flush=True)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
