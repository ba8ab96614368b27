"""Augmentation of training images together with the class of each pixel, as a function of a seed."""
import tensorflow as tf

from training.vision.detection.augmentation import Recipe, colors, inside
from training.vision.pixel_losses import VOID

RECIPES = {
    # a mirrored digit is no digit
    "digit_scenes": Recipe(flip_horizontal=False, scale=(0.85, 1.2)),
    # a road is below the sky, and its photographs are wider than high: enlarged, they fill the square
    "camvid": Recipe(scale=(0.9, 1.8), tint=0.05),
}
PHOTOGRAPHS = Recipe(scale=(0.8, 1.6))


def augment(image, classes, image_size, crop_size, seed, recipe):
    """Returns (image, classes): flipped, scaled, shifted and recolored.

    The image is fitted into a square of `image_size` and scaled, and a square of `crop_size` is cut out of it. Where the square
    reaches beyond the image, it is black and void.

    Shape:
        image:   (height, width, 3) uint8, RGB
        classes: (height, width) integers, `VOID` where there is no label
        seed:    (2,) int
        returns: (crop_size, crop_size, 3) uint8, (crop_size, crop_size) of the type of `classes`
    """
    draws = tf.random.stateless_uniform([12], seed)
    image, classes = _turn(image, classes, draws, recipe)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    low, high = recipe.scale
    scale = image_size / tf.reduce_max(sides) * low * (high / low) ** draws[3]
    # a larger picture is cropped somewhere, a smaller one is put somewhere
    shift = tf.round(draws[4:6] * (crop_size - sides * scale))
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[None], size=[crop_size, crop_size], scale=tf.stack([scale, scale]), translation=shift,
        kernel_type="triangle", antialias=True)[0]
    matrix, offset = colors(draws[6:], recipe)
    pixels = tf.reshape(tf.reshape(pixels, [-1, 3]) @ matrix, [crop_size, crop_size, 3])
    is_inside = inside(sides * scale, shift, crop_size)
    pixels += is_inside * (offset + 0.5)  # half a step more, because the cast to integers cuts off
    classes = nearest(classes, (crop_size, crop_size), shift, tf.stack([scale, scale]))
    return tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8), tf.where(is_inside[..., 0] > 0, classes, VOID)


def nearest(classes, size, shift, scale):
    """Returns classes at other places: each pixel gets the class of the nearest pixel, and `VOID` outside.

    Shape:
        classes: (height, width) integers
        size:    (height, width) of the result
        shift:   (2,) position of the first corner of `classes` in the result
        scale:   (2,) pixels of the result per pixel of `classes`
        returns: (*size) of the type of `classes`
    """
    places = [tf.cast(tf.floor((tf.range(size[axis], dtype=tf.float32) + 0.5 - shift[axis]) / scale[axis]), tf.int32)
              for axis in (0, 1)]
    last = tf.shape(classes) - 1
    is_inside = [(place >= 0) & (place <= last[axis]) for axis, place in enumerate(places)]
    rows, columns = [tf.clip_by_value(place, 0, last[axis]) for axis, place in enumerate(places)]
    moved = tf.gather(tf.gather(classes, rows), columns, axis=1)
    return tf.where(is_inside[0][:, None] & is_inside[1][None], moved, tf.cast(VOID, classes.dtype))


def _turn(image, classes, draws, recipe):
    """Mirrors and transposes, each with probability one half where the recipe allows it."""
    for axis, allowed in ((0, recipe.flip_vertical), (1, recipe.flip_horizontal)):
        if allowed:
            image, classes = tf.cond(
                draws[axis] < 0.5, lambda i=image, c=classes, a=axis: (tf.reverse(i, [a]), tf.reverse(c, [a])),
                lambda i=image, c=classes: (i, c))
    if recipe.transpose:
        image, classes = tf.cond(draws[2] < 0.5, lambda: (tf.transpose(image, [1, 0, 2]), tf.transpose(classes)),
                                 lambda: (image, classes))
    return tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(classes, [None, None])
