"""Images with one class each and their row numbers, with every example in every epoch."""
import dataclasses

import numpy as np
import tensorflow as tf

from training.config import UserError
from training.data import pipelines
from training.data.spec import Splits, spec_of
from training.vision import labelled_images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(labelled_images.ImageInfo):
    """What an ensemble needs to know about its images."""

    train_examples: int
    """size of the training split"""


def datasets(config):
    """Returns the Splits of a data set of images with one label each.

    inputs:  "image" uint8 (batch, image_size, image_size, channels): fitted into the top left of the square, the rest is
             black; one channel for gray data sets, otherwise RGB
    targets: "label" int32 (batch,); in training also "index" int32 (batch,), the example's row in the training split
    info:    `Info`

    Raises:
        UserError: the data set is unknown, missing, empty, not a classification data set, or does not fit in memory.
    """
    found = labelled_images.LabelledImages(config)
    if not found.fits("train"):
        raise UserError(f"the training images of {config.dataset} do not fit in memory: choose a smaller --image-size")
    inputs, targets = found.arrays("train")
    count = len(targets["label"])
    batches = covering((inputs, targets | {"index": np.arange(count, dtype=np.int32)}), config.batch_size, config.seed)
    info = Info(class_names=found.class_names, train_examples=count, **labelled_images.statistics(inputs["image"]))
    spec = spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    return Splits(batches, *(found.evaluation_batches(part, config.batch_size) for part in ("validation", "test")), spec)


def covering(arrays, batch_size, seed):
    """Returns `batches(epoch, skip, context)` like `training.data.pipelines.in_memory`, except that each epoch contains every
    example.

    The last batch is filled with the first examples of the epoch. An epoch that evaluates all examples needs this.

    arrays:     (inputs, targets) of all examples
    batch_size: examples per batch over all replicas
    seed:       seed of the shuffling
    """
    count = len(tf.nest.flatten(arrays)[0])
    steps = -(-count // batch_size)

    def rows(epoch):
        order = np.random.default_rng([seed, epoch]).permutation(count)
        return np.resize(order, steps * batch_size).reshape(steps, batch_size)

    return pipelines.gathered(arrays, rows)
