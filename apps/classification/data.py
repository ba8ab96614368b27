"""Images with one class each, from any such set of TFDS or of ours, augmented."""
import tensorflow as tf

from apps import classification
from training import data, labelled_images

_SHIFT = 1 / 8
"""farthest shift of an augmented image, as a share of its side: 4 pixels of 32, as in He et al., 2016"""


def datasets(config):
    """Returns the Splits of a set of images with one label each.

    inputs:  "image" uint8 (batch, image_size, image_size, channels): fitted into the square top left, the rest black; one
             channel where the set is grey, else RGB
    targets: "label" int32 (batch,)
    info:    "class_names"; "mean" and "deviation" of the training pixels by channel, from 0 to 255

    Raises:
        UserError: the data set is unknown, not there, empty, or no classification set.
    """
    found = labelled_images.LabelledImages(config)
    batches, sample = found.train(config.batch_size, config.seed)
    if config.augment:
        mirror = found.prepared.name not in classification.UPRIGHT

        def changed(inputs, targets, seed):
            return {"image": augment(inputs["image"], seed, mirror, config.erase)}, targets

        batches = data.augmented(batches, changed, config.seed)
    info = {"class_names": found.class_names, **labelled_images.statistics(sample)}
    spec = data.spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    return data.Splits(batches, *(found.judged(part, config.batch_size) for part in ("validation", "test")), spec)


def augment(pixels, seed, mirror, erase):
    """Returns images that are shifted by up to an eighth of their side, half of them mirrored, with a square blanked.

    pixels: uint8 (batch, side, side, channels)
    seed:   (2,) int64; the same gives the same
    mirror: whether left and right may change places
    erase:  side of the blanked square, which may lie partly outside, as a share of the image's; 0: none

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
    moved = tf.gather(tf.gather(padded, starts[:, :1] + places, batch_dims=1), columns, axis=2, batch_dims=1)
    if erase:
        half = erase * side / 2
        centres = tf.random.stateless_uniform((count, 2, 1), seeds[2], 0.0, float(side))
        near = tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - centres) < half  # (batch, yx, side)
        hidden = near[:, 0, :, None] & near[:, 1, None]
        moved = tf.where(hidden[..., None], tf.zeros_like(moved), moved)
    return tf.ensure_shape(moved, pixels.shape)
