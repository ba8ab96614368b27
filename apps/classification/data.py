"""Images with one class each from any classification data set of TFDS or this project, with augmentation."""
import tensorflow as tf

from training.data.spec import Splits, spec_of
from training.vision import labelled_images
from training.vision.labelled_images import ImageInfo as Info


def datasets(config):
    """Returns the Splits of a data set of images with one label each.

    inputs:  "image" uint8 (batch, image_size, image_size, channels): fitted into the top left of the square, the rest is
             black; one channel for gray data sets, otherwise RGB
    targets: "label" int32 (batch,)
    info:    an `Info` with the statistics of the training pixels

    Raises:
        UserError: the data set is unknown, missing, empty, or not a classification data set.
    """
    found = labelled_images.LabelledImages(config, config.train_on_all)
    batches, sample = found.train(config.batch_size, config.seed)
    if config.augment:
        batches = found.augmented(batches, config.seed, config.erase)
    validation = None if config.train_on_all else found.evaluation_batches("validation", config.batch_size)
    info = Info(class_names=found.class_names, **labelled_images.statistics(sample))
    spec = spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    return Splits(batches, validation, found.evaluation_batches("test", config.batch_size), spec)
