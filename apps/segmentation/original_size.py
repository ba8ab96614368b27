"""Class probabilities of a square, brought back to the size of the original image."""
import tensorflow as tf

from apps.segmentation.labeled_pixels import fitted_sides

_STRIP = 2 ** 18
"""pixels that are computed at a time, which limits the memory that a large image needs"""


def maps(probabilities, height, width):
    """Returns the most probable class of each pixel of the original image, and its probability.

    The probabilities are interpolated before the largest is chosen, so that borders between classes are smooth.

    Shape:
        probabilities: (size, size, classes) float32, of an image as `training.vision.images.fit_square` fits it
        height, width: () int32, the size of the original
        returns:       class ids (height, width) uint8, probabilities (height, width) uint8, from 0 to 255
    """
    sides = fitted_sides(height, width, tf.shape(probabilities)[0])
    inside = probabilities[:sides[0], :sides[1]]
    scale = tf.cast([height, width], tf.float32) / tf.cast(sides, tf.float32)
    rows = tf.minimum(tf.maximum(_STRIP // width, 1), height)

    def strip(first):
        enlarged = tf.raw_ops.ScaleAndTranslate(
            images=inside[None], size=tf.stack([rows, width]), scale=scale,
            translation=tf.stack([-tf.cast(first, tf.float32), 0.0]), kernel_type="triangle", antialias=True)[0]
        best = tf.ensure_shape(tf.argmax(enlarged, axis=-1, output_type=tf.int32), [None, None])
        score = tf.clip_by_value(tf.round(255 * tf.reduce_max(enlarged, axis=-1)), 0, 255)
        return tf.cast(best, tf.uint8), tf.cast(score, tf.uint8)

    def at_once():
        best = tf.argmax(inside, axis=-1, output_type=tf.int32)
        return tf.cast(best, tf.uint8), tf.cast(tf.round(255 * tf.reduce_max(inside, axis=-1)), tf.uint8)

    def in_strips():
        firsts = tf.minimum(tf.range(0, height, rows), height - rows)  # the last strip overlaps the one before
        best, score = tf.map_fn(strip, firsts, fn_output_signature=(
            tf.TensorSpec([None, None], tf.uint8), tf.TensorSpec([None, None], tf.uint8)))
        return tuple(_joined(part, height, width) for part in (best, score))

    is_same = tf.reduce_all(sides == tf.stack([height, width]))
    best, score = tf.cond(is_same, at_once, in_strips)
    return tf.ensure_shape(best, [None, None]), tf.ensure_shape(score, [None, None])


def _joined(strips, height, width):
    """Returns strips (strips, rows, width) as one map (height, width); the last one overlaps the one before."""
    rows, count = tf.shape(strips)[1], tf.shape(strips)[0]
    whole = tf.reshape(strips[:-1], [(count - 1) * rows, width])
    return tf.concat([whole, strips[-1][count * rows - height:]], 0)
