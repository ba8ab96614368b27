"""Images with one class each from any classification data set of TFDS or this package, fitted into squares."""
import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from training import datasets
from training.config import UserError
from training.data import pipelines, sources
from training.data.spec import Info
from training.vision import images

_LARGEST_IN_MEMORY = 2 ** 30
"""bytes of pixels up to which a split is kept in memory; a larger one is decoded again in each epoch"""
_SHIFT = 1 / 8
"""farthest shift of an augmented image, as a share of its side: 4 pixels of 32, as in He et al., 2016"""
_BUFFER = 2_000
"""encoded photographs to shuffle among"""
_SAMPLE = 1_000
"""images from which the statistics of a set are taken that is not in memory"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageInfo(Info):
    """What a classifier needs to know about its images: the classes, and the statistics of the training pixels by channel."""

    mean: list[float]
    """mean, from 0 to 255"""
    std: list[float]
    """standard deviation, from 0 to 255"""


class LabelledImages:
    """A data set of images with one label each.

    config:       `dataset`, `data_dir`, `manual_dir`, `download` and `image_size` are read
    train_on_all: whether the training split includes the validation split

    Raises:
        UserError: the data set is unknown, missing, empty, or not a classification data set.
    """

    def __init__(self, config, train_on_all=False):
        self.prepared = sources.builder(config.dataset, config)
        self.features, self.parts, self.size = self.prepared.info.features, sources.parts(self.prepared), config.image_size
        if train_on_all:
            self.parts["train"] += "+" + self.parts["validation"]
        if not {"image", "label"} <= set(self.features) or not isinstance(self.features["label"], tfds.features.ClassLabel):
            raise UserError(f"{config.dataset} is not a classification data set: its examples are not images with one label each")
        self.class_names = self.features["label"].names
        self.channels = 1 if self.features["image"].shape[-1] == 1 else 3

    def examples(self, part, share=None):
        """Returns a dataset of {"image": bytes, "label"}, one per example of `part`: "train", "validation" or "test".

        share: `training.data.pipelines.Share` of them; None: all
        """
        return sources.read(self.prepared, self.parts[part], share, decoders={"image": tfds.decode.SkipDecoding()})

    def fitted(self, example):
        """Returns ({"image": uint8 (size, size, channels)}, {"label": int32 ()}): the image is at the top left, and the rest
        is black."""
        image = self.features["image"].decode_example(example["image"])
        image, _ = images.fit_square(tf.image.grayscale_to_rgb(image) if self.channels == 1 else image[..., :3], self.size)
        return {"image": tf.cast(tf.round(image[..., :self.channels]), tf.uint8)}, {"label": tf.cast(example["label"], tf.int32)}

    def fits(self, part):
        """Returns whether the pixels of all images of a part fit into memory."""
        count = self.prepared.info.splits[self.parts[part]].num_examples
        return count * self.size ** 2 * self.channels <= _LARGEST_IN_MEMORY

    def arrays(self, part):
        """Returns ({"image": uint8 (images, size, size, channels)}, {"label": int32 (images,)}) of a whole part."""
        batches = self.examples(part).map(self.fitted, num_parallel_calls=tf.data.AUTOTUNE).batch(1000)
        return tf.nest.map_structure(lambda *values: np.concatenate(values), *batches.as_numpy_iterator())

    def train(self, batch_size, seed):
        """Returns (batches(epoch, skip, context) of the training split, images for the statistics)."""
        if self.fits("train"):
            arrays = self.arrays("train")
            return pipelines.in_memory(arrays, batch_size, seed), arrays[0]["image"]
        examples = self.examples("train")
        few = examples.take(_SAMPLE).map(self.fitted)
        batches = pipelines.shuffled(examples, lambda example, seed: self.fitted(example), batch_size, seed, buffer=_BUFFER,
                                     share=lambda share: self.examples("train", share))
        return batches, np.stack([inputs["image"] for inputs, _ in few.as_numpy_iterator()])

    def augmented(self, batches, seed, erase=0.0):
        """Returns training batches with `augment` applied; images are mirrored only if the data set allows it."""
        mirror = self.prepared.name not in datasets.UPRIGHT

        def changed(inputs, targets, seed):
            return inputs | {"image": augment(inputs["image"], seed, mirror, erase)}, targets

        return pipelines.augmented(batches, changed, seed)

    def evaluation_batches(self, part, batch_size):
        """Returns a dataset of the batches of `part`: "validation" or "test"."""
        if self.fits(part):  # no Dataset.cache: whoever looks at the first batch only could leave it unfinished
            return tf.data.Dataset.from_tensor_slices(self.arrays(part)).batch(batch_size)
        return pipelines.batched(self.examples(part), lambda example, seed: self.fitted(example), batch_size)


def statistics(pixels):
    """Returns {"mean", "std"}: lists by channel of uint8 pixels (images, height, width, channels)."""
    values = pixels.reshape(-1, pixels.shape[-1])
    mean = values.mean(axis=0, dtype=np.float64)
    std = np.sqrt(np.maximum((values.astype(np.float32) ** 2).mean(axis=0, dtype=np.float64) - mean ** 2, 1.0))
    return {"mean": mean.round(3).tolist(), "std": std.round(3).tolist()}


def augment(pixels, seed, mirror, erase):
    """Returns images that are randomly shifted by up to an eighth of their side, mirrored, and erased in a square.

    pixels: uint8 (batch, side, side, channels)
    seed:   (2,) int64; equal seeds give equal results
    mirror: whether half of the images are mirrored
    erase:  side of the erased square, which may lie partly outside, as a fraction of the image's side; 0: no square

    Source: He et al., 2016, section 4.2, shifts and mirrors; DeVries and Taylor, 2017, "Cutout".
    """
    count, side = tf.shape(pixels)[0], pixels.shape[1]
    shift = max(1, round(side * _SHIFT))
    seeds = tf.random.split(seed, 3)
    places = tf.range(side)[None]
    starts = tf.random.stateless_uniform((count, 2), seeds[0], 0, 2 * shift + 1, tf.int32)
    is_mirrored = tf.random.stateless_uniform((count, 1), seeds[1], 0, 2, tf.int32) == 1
    columns = starts[:, 1:] + (tf.where(is_mirrored, side - 1 - places, places) if mirror else places)
    padded = tf.pad(pixels, [[0, 0], [shift, shift], [shift, shift], [0, 0]])
    rows = tf.range(count)[:, None] * padded.shape[1] + starts[:, :1] + places  # of all images, one below the other
    moved = tf.gather(tf.reshape(padded, (-1, pixels.shape[-1])), rows[:, :, None] * padded.shape[2] + columns[:, None])
    if erase:
        half = erase * side / 2
        centers = tf.random.stateless_uniform((count, 2, 1), seeds[2], 0.0, float(side))
        far = tf.cast(tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - centers) >= half, pixels.dtype)  # (batch, yx, side)
        moved *= tf.maximum(far[:, 0, :, None], far[:, 1, None])[..., None]
    return tf.ensure_shape(moved, pixels.shape)
