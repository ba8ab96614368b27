"""Augmentation of training images with their boxes, as a function of a seed."""
from typing import NamedTuple

import tensorflow as tf


class Recipe(NamedTuple):
    """The augmentations that preserve the labels of a data set."""

    flip_horizontal: bool = True
    flip_vertical: bool = False
    transpose: bool = False
    """together with both flips, all eight rotations and reflections of a square"""
    scale: tuple[float, float] = (0.6, 1.5)
    """smallest and largest scale factor of the fitted image"""
    brightness: float = 0.15
    """largest change, as a fraction of the full range"""
    contrast: float = 0.3
    saturation: float = 0.4
    tint: float = 0.1
    """largest change of one channel relative to the others"""
    least_seen: float = 0.4
    """an object with a smaller visible fraction of its box is ignored, neither object nor background"""
    zoom_out: float = 4.0
    """largest side of the canvas into which SSD's augmentation puts the image, relative to the image's side"""
    least_crop: float = 0.3
    """smallest side of a crop of SSD's augmentation, relative to the side of the canvas"""


RECIPES = {
    # a mirrored digit is no digit, a smaller one cannot be read, and no digit of these scenes leaves the picture
    "digit_scenes": Recipe(flip_horizontal=False, scale=(1.0, 1.15), least_seen=0.8, zoom_out=1.5, least_crop=0.6),
    # cells under a microscope have no up or down
    "bccd": Recipe(flip_vertical=True, transpose=True, scale=(0.8, 1.3), tint=0.05, saturation=0.3, zoom_out=2.0,
                   least_crop=0.5),
}
PHOTOGRAPHS = Recipe()


def augment(image, boxes_yxyx, image_size, seed, recipe):
    """Returns (image, boxes_yxyx, seen): flipped, scaled, shifted and recolored, in a square of `image_size`.

    seen: the fraction of each box's area that is still visible; the boxes are clipped to the image

    Shape:
        image:      (height, width, 3) uint8, RGB
        boxes_yxyx: (objects, 4) float32, in pixels of the image
        seed:       (2,) int
        returns:    (image_size, image_size, 3) uint8, (objects, 4) float32, (objects,) float32
    """
    draws = tf.random.stateless_uniform([12], seed)
    image, boxes_yxyx = turned(image, boxes_yxyx, draws[:3], recipe)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale, shift = _placement(sides, image_size, draws, recipe)
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[None], size=[image_size, image_size], scale=tf.stack([scale, scale]), translation=shift,
        kernel_type="triangle", antialias=True)[0]
    matrix, offset = colors(draws[6:], recipe)
    pixels = tf.reshape(tf.reshape(pixels, [-1, 3]) @ matrix, [image_size, image_size, 3])
    # the fill stays black; half a step more, because the cast to integers cuts off
    pixels += inside(sides * scale, shift, image_size) * (offset + 0.5)
    boxes_yxyx = boxes_yxyx * scale + tf.tile(shift, [2])
    clipped = tf.clip_by_value(boxes_yxyx, 0.0, float(image_size))
    seen = tf.math.divide_no_nan(areas(clipped), areas(boxes_yxyx))
    return tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8), clipped, seen


def augment_masks(pixels, frames_yxyx, sides, image_size, seed, recipe):
    """Returns masks (pixels, frames_yxyx) as `augment` moves their image for the same seed; parts of a frame may then lie outside
    of the square. An empty frame becomes 0.

    Shape:
        pixels:      (objects, side, side) uint8
        frames_yxyx: (objects, 4) float32, in pixels of the image
        sides:       (2,) int32, height and width of the image
        returns:     as pixels and frames_yxyx, in pixels of the square
    """
    draws = tf.random.stateless_uniform([12], seed)
    sides = tf.cast(sides, tf.float32)
    near, far = frames_yxyx[:, :2], frames_yxyx[:, 2:]
    is_frame = tf.reduce_all(far > near, axis=1, keepdims=True)
    is_mirrored = (draws[:2] < 0.5) & (recipe.flip_vertical, recipe.flip_horizontal)
    near, far = tf.where(is_mirrored, sides - far, near), tf.where(is_mirrored, sides - near, far)
    for axis in (0, 1):
        pixels = tf.cond(is_mirrored[axis], lambda p=pixels, a=axis: tf.reverse(p, [a + 1]), lambda p=pixels: p)
    if recipe.transpose:
        is_transposed = draws[2] < 0.5
        pixels = tf.cond(is_transposed, lambda: tf.transpose(pixels, [0, 2, 1]), lambda: pixels)
        near, far, sides = (tf.where(is_transposed, tf.reverse(x, [-1]), x) for x in (near, far, sides))
    scale, shift = _placement(sides, image_size, draws, recipe)
    return pixels, tf.where(is_frame, tf.concat([near * scale + shift, far * scale + shift], axis=1), 0.0)


def _placement(sides, image_size, draws, recipe):
    """Returns the scale and the shift (2,) of an image with these sides in the square."""
    low, high = recipe.scale
    scale = image_size / tf.reduce_max(sides) * low * (high / low) ** draws[3]
    # a larger picture is cropped somewhere, a smaller one is put somewhere
    return scale, draws[4:6] * (image_size - sides * scale)


def turned(image, boxes_yxyx, draws, recipe):
    """Returns (image, boxes_yxyx) mirrored and transposed, each with probability one half where the recipe allows it."""
    for axis, allowed in ((0, recipe.flip_vertical), (1, recipe.flip_horizontal)):
        if allowed:
            image, boxes_yxyx = tf.cond(
                draws[axis] < 0.5, lambda i=image, b=boxes_yxyx, a=axis: _mirror(i, b, a),
                lambda i=image, b=boxes_yxyx: (i, b))
    if recipe.transpose:
        image, boxes_yxyx = tf.cond(
            draws[2] < 0.5,
            lambda: (tf.transpose(image, [1, 0, 2]), tf.gather(boxes_yxyx, [1, 0, 3, 2], axis=1)),
            lambda: (image, boxes_yxyx))
    return tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(boxes_yxyx, [None, 4])


def _mirror(image, boxes_yxyx, axis):
    side = tf.cast(tf.shape(image)[axis], tf.float32)
    near, far = side - boxes_yxyx[:, axis + 2], side - boxes_yxyx[:, axis]
    columns = tf.unstack(boxes_yxyx, axis=1)
    columns[axis], columns[axis + 2] = near, far
    return tf.reverse(image, [axis]), tf.stack(columns, 1)


def colors(draws, recipe):
    """Returns one affine map of colors, (3, 3) and (): brightness, contrast about the middle gray, saturation, tint."""
    change = 2 * draws - 1
    contrast = 1 + recipe.contrast * change[0]
    saturation = 1 + recipe.saturation * change[1]
    gray = tf.constant([[0.299], [0.587], [0.114]]) * tf.ones([1, 3])
    tint = tf.linalg.diag(1 + recipe.tint * change[2:5])
    matrix = contrast * (saturation * tf.eye(3) + (1 - saturation) * gray) @ tint
    return matrix, 128 * (1 - contrast) + 255 * recipe.brightness * change[5]


def inside(sides, shift, image_size):
    """Returns 1 where the picture lies in the square and 0 where the fill does: (image_size, image_size, 1)."""
    middles = tf.range(image_size, dtype=tf.float32) + 0.5
    rows, columns = [tf.cast((middles > shift[axis]) & (middles < shift[axis] + sides[axis]), tf.float32)
                     for axis in (0, 1)]
    return rows[:, None, None] * columns[None, :, None]


def areas(boxes_yxyx):
    """Returns the area of each box, (boxes, 4) gives (boxes,); an inverted box has area 0."""
    return tf.reduce_prod(tf.maximum(boxes_yxyx[:, 2:] - boxes_yxyx[:, :2], 0), axis=1)
