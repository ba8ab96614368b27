"""Data sets by name, and batches whose order is a function of (seed, epoch)."""
import contextlib
import difflib
import errno
import importlib
import io
import json
import logging
import os
import pathlib
import sys
import threading
import time
from typing import Any, Callable, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from training import checkpoint, datasets
from training.config import UserError
from training.datasets import annotations


class Spec(NamedTuple):
    """What a model must know of its data."""

    inputs: dict[str, tf.TensorSpec]
    """by name of the input; the batch dimension is None"""
    targets: dict[str, tf.TensorSpec]
    """by name of the target; the batch dimension is None"""
    info: dict[str, Any]
    """what the tensors do not say, fit for JSON: {"class_names": [...]}"""


class Splits(NamedTuple):
    """Three pipelines of (inputs, targets) and what they have in common."""

    train: Callable[[int, int, tf.distribute.InputContext], tf.data.Dataset]
    """batches(epoch, skip, input_context), see `shuffled`"""
    validation: tf.data.Dataset | None
    """chooses the best weights; None: the last ones count"""
    test: tf.data.Dataset
    """is reported, and never chosen on"""
    spec: Spec


def spec_of(batches, info):
    """Returns the Spec of a dataset of (inputs, targets) batches."""
    inputs, targets = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), batches.element_spec)
    return Spec(inputs, targets, info)


def plain_spec(spec):
    """Returns a Spec as dictionaries fit for JSON."""
    def plain(specs):
        return {name: {"shape": part.shape.as_list(), "dtype": part.dtype.name} for name, part in specs.items()}

    return {"inputs": plain(spec.inputs), "targets": plain(spec.targets), "info": spec.info}


def spec_of_plain(content):
    """Returns the Spec of what `plain_spec` returned."""
    def specs(parts):
        return {name: tf.TensorSpec(part["shape"], tf.as_dtype(part["dtype"])) for name, part in parts.items()}

    return Spec(specs(content["inputs"]), specs(content["targets"]), content["info"])


def save_spec(spec, path):
    """Writes a Spec as JSON."""
    pathlib.Path(path).write_text(json.dumps(plain_spec(spec), indent=2) + "\n", encoding="utf-8")


def load_spec(path):
    """Returns the Spec that `save_spec` wrote.

    Raises:
        UserError: the file cannot be read as one.
    """
    try:
        return spec_of_plain(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read the description of the data from {path}: {error}") from None


def shuffled(examples, preprocess, batch_size, seed, buffer=10_000, cache=False):
    """Returns `batches(epoch, skip, context)`: one epoch from step `skip` on, as batches for one replica.

    examples: dataset of known cardinality, always in the same order; cheap to pass over, because resuming skips in it
    preprocess: (example, seed) -> (inputs, targets); `seed` (2,) is for `tf.random.stateless_*`, so that augmentation
        is a function of (seed, epoch, place in the epoch) too
    batch_size: examples per step over all replicas; the remainder of an epoch is dropped
    buffer: examples to draw from when shuffling; the order is uniform when all fit in
    cache: keep `examples` in memory

    Raises:
        UserError: there are fewer examples than one batch takes.
    """
    count = int(examples.cardinality())
    if count < 0:
        raise ValueError("examples need a known cardinality: Dataset.apply(tf.data.experimental.assert_cardinality(n))")
    steps = full_batches(count, batch_size)
    if cache:
        # all of them go through the buffer, or the dropped remainder would leave the cache unfinished for ever
        examples, buffer = examples.cache(), count
    preprocess = tf.function(preprocess)  # traced once, not for every epoch

    def batches(epoch, skip, context):
        order = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        data = examples.shuffle(min(buffer, count), seed=order, reshuffle_each_iteration=False).enumerate()
        data = data.take(steps * batch_size)  # before sharding: each worker must see as many batches as the others
        data = data.skip(skip * batch_size).shard(context.num_input_pipelines, context.input_pipeline_id)
        data = data.map(lambda index, example: preprocess(example, tf.stack([tf.cast(order, tf.int64), index])),
                        num_parallel_calls=tf.data.AUTOTUNE)
        return data.batch(context.get_per_replica_batch_size(batch_size), drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return batches


def in_memory(arrays, batch_size, seed, lengths=None):
    """Returns `batches(epoch, skip, context)` as `shuffled` does, of examples that are small and many, see `gathered`.

    lengths: of the examples; those of like lengths come in one batch, and the batches in any order. Likeness is in
        powers of two, so that what shares a batch with an example still changes from epoch to epoch.

    Raises:
        UserError: there are fewer examples than one batch takes.
    """
    count = len(tf.nest.flatten(arrays)[0])
    steps = full_batches(count, batch_size)

    def rows(epoch):
        random = np.random.default_rng([seed, epoch])
        order = random.permutation(count)
        if lengths is None:
            return order[:steps * batch_size].reshape(steps, batch_size)
        order = order[np.argsort(np.ceil(np.log2(np.maximum(lengths, 1)))[order], kind="stable")]
        start = random.integers(0, count - steps * batch_size + 1)  # the remainder is not always of the longest
        return random.permutation(order[start:start + steps * batch_size].reshape(steps, batch_size))

    return gathered(arrays, rows)


def gathered(arrays, rows):
    """Returns `batches(epoch, skip, context)` of examples in memory; a batch costs a hundredth of what single examples cost.

    arrays: nest of numpy arrays of one length
    rows:   epoch -> the places of each step's examples over all replicas, whole numbers (steps, batch_size)
    """
    arrays = tf.nest.map_structure(tf.constant, arrays)

    def batches(epoch, skip, context):
        order = rows(epoch)
        size = context.get_per_replica_batch_size(order.shape[1])
        order = order.reshape(len(order), -1, size)[skip:, context.input_pipeline_id::context.num_input_pipelines]
        data = tf.data.Dataset.from_tensor_slices(order.reshape(-1, size).astype(np.int32))
        return data.map(lambda places: tf.nest.map_structure(lambda array: tf.gather(array, places), arrays),
                        num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return batches


def augmented(batches, function, seed):
    """Returns `batches(epoch, skip, context)` whose inputs and targets went through function(inputs, targets, seed).

    It gets a whole batch of one replica at a time, which costs a fraction of what single examples cost; its `seed` (2,) is
    for `tf.random.stateless_*` and a function of (seed, epoch, step).
    """
    function = tf.function(function)

    def changed(epoch, skip, context):
        order = np.random.SeedSequence([seed, epoch, context.input_pipeline_id, 1]).generate_state(1)[0]  # not that of the order
        first = skip * context.num_replicas_in_sync // context.num_input_pipelines
        data = batches(epoch, skip, context).enumerate(first)
        return data.map(lambda step, batch: function(*batch, tf.stack([tf.constant(int(order), tf.int64), step])),
                        num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    return changed


def full_batches(count, batch_size):
    """Returns how many full batches so many examples make.

    Raises:
        UserError: not one.
    """
    if count < batch_size:
        raise UserError(f"the training split has {count} examples, fewer than one batch of {batch_size}: "
                        "take a smaller --batch-size")
    return count // batch_size


def batched(examples, preprocess, batch_size, cache=False):
    """Returns batches for validation or test, always in the same order, the remainder kept.

    preprocess: (example, seed) -> (inputs, targets); the seed is the place of the example
    """
    if cache:
        examples = examples.cache()
    data = examples.enumerate().map(lambda index, example: preprocess(example, tf.stack([tf.zeros_like(index), index])),
                                    num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def builder(name, config):
    """Returns the TFDS builder of a data set, prepared: ours or any of TFDS's.

    config: `data_dir`, `manual_dir` and `download` are read

    Raises:
        UserError: the name is unknown, the data is not there, or a split of it is empty.
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
            raise UserError(f"the {split} split of {name} holds no example")
    return found


def parts(prepared):
    """Returns TFDS's names of the parts to train, choose and judge on.

    A set without a labelled test split is judged on validation and chosen on a slice of train.

    Raises:
        UserError: it has no train split.
    """
    names = {name for name, split in prepared.info.splits.items() if split.num_examples}
    if prepared.name == "coco" or not getattr(prepared.builder_config, "has_test_annotations", True):  # a field of voc's
        names.discard("test")  # its labels are kept secret
    if {"train", "validation", "test"} <= names:
        return {"train": "train", "validation": "validation", "test": "test"}
    judged = next((name for name in ("test", "validation") if name in names), None)
    if "train" not in names:
        raise UserError(f"{prepared.name} has no train split, only {', '.join(sorted(names)) or 'none at all'}")
    if judged is None:
        return {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}
    return {"train": "train[:90%]", "validation": "train[90%:]", "test": judged}


def read(prepared, split, **options):
    """Returns the examples of a split, or of a slice of one, in the order in which they are stored.

    Raises:
        UserError: there is none.
    """
    count = prepared.info.splits[split].num_examples
    if not count:
        raise UserError(f"{split} of {prepared.name} holds no example: the data set is too small")
    settings = tfds.ReadConfig(try_autocache=False, add_tfds_id=False)
    with _quiet():
        data = prepared.as_dataset(split=split, shuffle_files=False, read_config=settings, **options)
    return data.apply(tf.data.experimental.assert_cardinality(count))


def _data_dir(config):
    folder = config.data_dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR
    return os.path.abspath(os.path.expanduser(folder))


def _manual_dir(name, kind, config):
    if not config.manual_dir:
        raise UserError(f"{name} needs --manual-dir: {_instructions(kind)}")
    folder = pathlib.Path(config.manual_dir).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"--manual-dir {config.manual_dir} is no folder; {name} needs this: {_instructions(kind)}")
    return folder


def _builder_class(name):
    """Returns the builder's class; raises UserError with the nearest names when there is none."""
    plain = name.partition("/")[0].partition(":")[0]
    if plain in datasets.NAMES:
        importlib.import_module(f"training.datasets.{plain}")
    try:
        kind = tfds.builder_cls(plain)
    except (ValueError, ImportError, tfds.core.DatasetNotFoundError):
        known = sorted({*datasets.NAMES, *tfds.list_builders(with_community_datasets=False)})
        near = difflib.get_close_matches(plain, known, 3, 0.5)
        raise UserError(f"there is no data set {name!r}; " + (
            f"did you mean {' or '.join(near)}?" if near
            else f"ours are {', '.join(datasets.NAMES)}, and TFDS's names are taken too")) from None
    config = name.partition("/")[2].partition(":")[0]
    if config and kind.builder_configs and config not in kind.builder_configs:
        near = difflib.get_close_matches(config, kind.builder_configs, 3, 0) or list(kind.builder_configs)[:3]
        raise UserError(f"{plain} has no {config!r}; did you mean {' or '.join(f'{plain}/{each}' for each in near)}?")
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
    """Returns the builder of a folder of one's own, told apart from others by a hash of what it holds."""
    folder = _manual_dir(name, kind, config)
    identity = annotations.identity(folder, kind.files(folder))
    prepared = pathlib.Path(data_dir, name, identity, str(kind.VERSION))
    if _is_prepared(prepared):
        return tfds.builder_from_directory(prepared)
    return kind(config=kind.config_for(folder, identity), data_dir=data_dir)


def _is_prepared(folder):
    return (pathlib.Path(folder) / "dataset_info.json").is_file()


def _prepare(found, name, kind, config, data_dir):
    """Returns the builder after it has made or fetched its data."""
    is_ours = name.partition("/")[0].partition(":")[0] in datasets.NAMES
    is_manual = bool(_instructions(kind))
    if not is_ours and not config.download:
        raise UserError(f"{name} is not prepared in {data_dir}: let it be fetched with --download, or name the folder "
                        "that holds it with --data-dir" + (
                            f"; some of its files are fetched by hand and named with --manual-dir: {_instructions(kind)}"
                            if is_manual else ""))
    manual_dir = _manual_dir(name, kind, config) if is_manual else None
    if manual_dir and not any(manual_dir.iterdir()):  # TFDS would say so in a sentence without an end
        raise UserError(f"--manual-dir {config.manual_dir} is empty; {name} needs this: {_instructions(kind)}")
    settings = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    duration = getattr(kind, "NOTICE", None)
    kept = pathlib.Path(data_dir, found.name)
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with checkpoint.lock(kept, waiting=f"waiting for another process, which prepares {name}"):
            if _is_prepared(found.data_dir):  # by that process
                return tfds.builder_from_directory(found.data_dir)
            print(f"preparing {name} (once" + (f", {duration})" if duration else ")"), flush=True)
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
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


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
