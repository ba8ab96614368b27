"""SSD's augmentation of training images with their boxes: zoom out, crop around objects, and stretch; a function of a seed."""
import tensorflow as tf

from training.vision.detection import augmentation

_MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9)
_TRIALS = 50
_FILL = (123.0, 117.0, 104.0)
"""mean color of ImageNet, RGB, around an image that is zoomed out"""


def augment(image, boxes_yxyx, image_size, seed, recipe):
    """Returns (image, boxes_yxyx, seen): flipped, zoomed out or cropped, stretched to a square, and recolored.

    With probability one half the image is put somewhere into a canvas of its mean color whose sides are up to `recipe.zoom_out`
    times longer. Then it is left as it is, or cropped at random, or cropped so that the IoU of some object with the crop is at
    least 0.1, 0.3, 0.5, 0.7 or 0.9, with probability 1/7 each. The sides of a crop are at least `recipe.least_crop` of the
    canvas', and one of them at most twice the other, as fractions of the canvas. If 50 draws do not meet the constraint, the
    image is not cropped.

    seen: the fraction of each box's area that is still visible; the boxes are clipped to the image

    Shape:
        image:      (height, width, 3) uint8, RGB
        boxes_yxyx: (objects, 4) float32, in pixels of the image
        seed:       (2,) int
        returns:    (image_size, image_size, 3) uint8, (objects, 4) float32, (objects,) float32

    Source: Liu et al., 2016, "SSD: Single Shot MultiBox Detector", sections 2.2 and 3.6; the authors' code.
    What differs: colors change as in `augmentation.augment`, without a change of hue; an object that is mostly cut off is to be
    ignored (`recipe.least_seen`), instead of being background if its center is cut off; the probability of zooming out and the
    number of draws are those of the authors' code.
    """
    draws = tf.random.stateless_uniform([16], seed)
    image, boxes_yxyx = augmentation.turned(image, boxes_yxyx, draws[:3], recipe)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    zoom = tf.where(draws[3] < 0.5, 1 + (recipe.zoom_out - 1) * draws[4], 1.0)
    canvas = sides * zoom
    shift = draws[5:7] * (canvas - sides)
    boxes_yxyx += tf.tile(shift, [2])
    crop = _crop(boxes_yxyx / tf.tile(canvas, [2]), draws[7], seed, recipe.least_crop) * tf.tile(canvas, [2])

    scale = image_size / (crop[2:] - crop[:2])
    offset = (shift - crop[:2]) * scale
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[None], size=[image_size, image_size], scale=scale, translation=offset, kernel_type="triangle",
        antialias=True)[0]
    matrix, brightness = augmentation.colors(draws[8:], recipe)
    pixels = tf.reshape(tf.reshape(pixels, [-1, 3]) @ matrix, [image_size, image_size, 3]) + brightness
    pixels = tf.where(augmentation.inside(sides * scale, offset, image_size) > 0, pixels, tf.constant(_FILL))
    boxes_yxyx = (boxes_yxyx - tf.tile(crop[:2], [2])) * tf.tile(scale, [2])
    clipped = tf.clip_by_value(boxes_yxyx, 0.0, float(image_size))
    seen = tf.math.divide_no_nan(augmentation.areas(clipped), augmentation.areas(boxes_yxyx))
    # half a step more, because the cast to integers cuts off
    return tf.cast(tf.clip_by_value(pixels + 0.5, 0, 255), tf.uint8), clipped, seen


def _crop(boxes, draw, seed, least):
    """Returns the crop (4,) as ymin, xmin, ymax, xmax from 0 to 1.

    boxes: (objects, 4), likewise
    draw:  number from 0 to 1 that chooses the constraint
    least: smallest side of a crop
    """
    choice = tf.cast(draw * (len(_MIN_OVERLAPS) + 2), tf.int32)  # 0: no crop; 1: any crop; then the constraints
    draws = tf.random.stateless_uniform([_TRIALS, 4], tf.random.experimental.stateless_fold_in(seed, 1))
    crop_sides = least + (1 - least) * draws[:, :2]
    corner = draws[:, 2:] * (1 - crop_sides)
    crops = tf.concat([corner, corner + crop_sides], axis=1)
    low, high = tf.maximum(crops[:, None, :2], boxes[:, :2]), tf.minimum(crops[:, None, 2:], boxes[:, 2:])
    shared = tf.reduce_prod(tf.maximum(high - low, 0), axis=-1)  # (crops, objects)
    union = augmentation.areas(crops)[:, None] + augmentation.areas(boxes) - shared
    overlap = tf.reduce_max(tf.math.divide_no_nan(shared, union), axis=1)  # -infinity without objects
    wanted = tf.gather(tf.constant([2.0, float("-inf"), *_MIN_OVERLAPS]), choice)
    slim = tf.reduce_max(crop_sides, axis=1) <= 2 * tf.reduce_min(crop_sides, axis=1)
    fits = slim & (overlap >= wanted)
    return tf.where(tf.reduce_any(fits), crops[tf.argmax(tf.cast(fits, tf.int32))], tf.constant([0.0, 0.0, 1.0, 1.0]))
