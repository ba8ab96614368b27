"""Regions of a data set's images, searched once and kept next to the prepared data."""
import hashlib
import json
import pathlib
import re
import time

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from training.data import sources
from training.engine import files
from training.vision import images
from training.vision.detection import region_search
from training.vision.detection.settings import OutsideRegions

VERSION = 1
"""number of the search; a change of what it finds needs a new one, so that kept regions are searched again"""


def of_split(prepared, split, config):
    """Returns the KeptRegions of a split; None if the images are to be searched as they are read.

    That is so with --limit-steps, a quick check which does not read all images, unless the regions are already there.
    """
    if not isinstance(config, OutsideRegions):
        return None
    regions = KeptRegions(prepared, split, config)
    return None if config.limit_steps and regions.kept() is None else regions


def of_image(square, config):
    """Returns the regions of one image (image_size, image_size, 3) that is searched now, (config.regions, 4) in pixels."""
    return region_search.regions(square[tf.newaxis], config.regions, region_search.SEARCHES[config.search])[0][0]


class KeptRegions:
    """A function from the bytes of an image, () string, to its regions: boxes_yxyx (config.regions, 4) float32, 0 where there
    are fewer, in pixels of the square with side config.image_size that the image is fitted into, the best ones first.

    `prepare` must have been called when the first image is read. It searches the regions of all images of the split, unless
    they are in the folder of the prepared data. There they are kept in a file whose name depends on the data set, the split
    and the settings of the search, and which is not read into memory. If the folder is read-only, a note is printed, and the
    regions are kept in memory.

    prepared: TFDS builder
    split:    name of a split or of a slice of it
    config:   `regions`, `search` and `image_size` are read
    """

    def __init__(self, prepared, split, config):
        self.prepared, self.split, self.config = prepared, split, config
        self.count, self.path = prepared.info.splits[split].num_examples, path_of(prepared, split, config)
        self._found = None

    def __call__(self, image_bytes):
        def row(image_bytes):
            key = _key(image_bytes)
            place = min(np.searchsorted(self._keys, key), self.count - 1)
            if self._keys[place] != key:
                raise ValueError("the data set has changed while it was read")
            return self._found["boxes_yxyx"][self._order[place]].astype(np.float32)

        boxes_yxyx = tf.numpy_function(row, [image_bytes], tf.float32, stateful=False)
        return tf.ensure_shape(boxes_yxyx, (self.config.regions, 4))

    def prepare(self):
        """Searches the regions of all images unless they are kept."""
        if self._found is None:
            self._found = self._kept_or_searched()
            self._order = np.argsort(self._found["image"], kind="stable")
            self._keys = np.asarray(self._found["image"])[self._order]

    def kept(self):
        """Returns the content of the file, an array of `_kind`; None if there is none, or a damaged one."""
        try:
            kept = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return kept if kept.dtype == _kind(self.config) and kept.shape == (self.count,) else None

    def _kept_or_searched(self):
        kept, name = self.kept(), self.prepared.info.full_name
        if kept is not None:
            return kept
        try:
            if "://" in str(self.prepared.data_dir):
                raise OSError(0, "it is not on this machine")
            self.path.parent.mkdir(exist_ok=True)
            with files.lock(self.path.parent, waiting=f"{name}: waiting for another process that searches regions"):
                kept = self.kept()
                return self._written() if kept is None else kept
        except OSError as error:
            print(f"note: the regions of {name} cannot be kept in {self.path.parent} ({error.strerror or error}); they stay in "
                  "memory, and every run searches them again", flush=True)
            return np.array(list(_searched(self.prepared, self.split, self.config)), _kind(self.config))

    def _written(self):
        with files.whole(self.path) as temporary, open(temporary, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(_kind(self.config)), "fortran_order": False, "shape": (self.count,)}
            np.lib.format.write_array_header_2_0(file, header)
            for row in _searched(self.prepared, self.split, self.config):
                file.write(row.tobytes())
        return self.kept()


def path_of(prepared, split, config):
    """Returns the path of the file with the regions of a split."""
    facts = [VERSION, prepared.info.full_name, split, config.image_size, config.regions, config.search,
             [[name, part.num_examples, part.num_bytes] for name, part in sorted(prepared.info.splits.items())]]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return pathlib.Path(str(prepared.data_dir)) / "regions" / f"{re.sub('[^a-z0-9]+', '-', split)}-{digest}.npy"


def _kind(config):
    """Returns the type of a row: the key of an image, and its regions in whole pixels."""
    return np.dtype([("image", "<u8"), ("boxes_yxyx", "<u2", (config.regions, 4))])


def _key(image_bytes):
    return np.frombuffer(hashlib.blake2b(image_bytes, digest_size=8).digest(), "<u8")[0]


def _searched(prepared, split, config, interval=10.0):
    """Yields the rows of all images in order; says every `interval` seconds how many are done and how long the others take."""
    count = prepared.info.splits[split].num_examples

    def search(example):
        image = tf.ensure_shape(prepared.info.features["image"].decode_example(example["image"]), (None, None, 3))
        square, _ = images.fit_square(image, config.image_size)
        return example["image"], of_image(square, config)

    examples = sources.read(prepared, split, decoders={"image": tfds.decode.SkipDecoding()})
    print(f"{prepared.info.full_name}, {split}: searching regions in {count:,} images, once", flush=True)
    began = said = time.perf_counter()
    rows = examples.map(search, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2).as_numpy_iterator()
    for done, (image_bytes, boxes_yxyx) in enumerate(rows, start=1):
        yield np.array((_key(image_bytes), boxes_yxyx), _kind(config))
        now = time.perf_counter()
        if now - said >= interval and done < count:
            print(f"regions: image {done:,} of {count:,}, {(now - began) / done * (count - done):.0f} s left", flush=True)
            said = now
