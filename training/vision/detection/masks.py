"""Instance masks: small ones for training, and exact ones in pixels of the original image for evaluation.

A prepared data set stores a mask as a PNG file of the rectangle that holds it and the rectangle's corner in the image, see
`training.datasets.instance_masks`. A set with a picture `instances`, which is k + 1 where object k is visible, is read in the
same way.
"""
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from faster_coco_eval.core import mask as coco_mask

SIDE = 56
"""side length of the masks that models are trained with, twice that of the masks that they predict"""


class Small(NamedTuple):
    """Masks of objects, resized to a fixed size.

    An augmentation moves the frame and mirrors the pixels; the pixels are never resampled.
    """

    pixels: tf.Tensor
    """uint8 (objects, SIDE, SIDE), 0 to 255: how much of each cell the object covers"""
    frames_yxyx: tf.Tensor
    """float32 (objects, 4): the rectangle of the mask in pixels of the image, which may extend beyond it; 0 without a mask"""


def stored(example):
    """Returns (files, corners) of an example's objects from a data set of either kind: string (objects,), int32 (objects, 2)."""
    objects = example["objects"]
    if "mask" in objects:
        return objects["mask"], objects["mask_corner"]
    instances = example["instances"][..., 0]
    count = tf.shape(objects["bbox"])[0]

    def one(index):
        seen = instances == tf.cast(index + 1, instances.dtype)
        (top, bottom), (left, right) = [_extent(tf.reduce_any(seen, axis=axis)) for axis in (1, 0)]
        pixels = tf.cast(seen[top:bottom, left:right, None], tf.uint8) * 255
        file = tf.cond(bottom > top, lambda: tf.io.encode_png(pixels), lambda: tf.constant(b""))
        return file, tf.stack([top, left])

    return tf.map_fn(one, tf.range(count), fn_output_signature=(tf.TensorSpec((), tf.string), tf.TensorSpec((2,), tf.int32)))


def small(files, corners):
    """Returns the Small masks of objects, decoded one after the other.

    files:   string (objects,), PNG files of one channel; empty for an object without a mask
    corners: int32 (objects, 2), top and left of each in the image
    """
    def one(pair):
        file, corner = pair
        pixels = tf.cond(tf.strings.length(file) > 0, lambda: tf.io.decode_png(file, channels=1),
                         lambda: tf.zeros((1, 1, 1), tf.uint8))
        sides = tf.where(tf.strings.length(file) > 0, tf.shape(pixels)[:2], 0)
        resized = tf.image.resize(pixels, (SIDE, SIDE), method="bilinear", antialias=True)[..., 0]
        frame = tf.cast(tf.concat([corner, corner + sides], axis=0), tf.float32)
        return tf.cast(tf.round(resized), tf.uint8), tf.where(tf.reduce_all(sides > 0), frame, 0.0)

    return Small(*tf.map_fn(one, (files, corners), fn_output_signature=(
        tf.TensorSpec((SIDE, SIDE), tf.uint8), tf.TensorSpec((4,), tf.float32)), parallel_iterations=1))


def weights(start, end, first, last, cells):
    """Returns the weights of linear interpolation: the cells between `start` and `end`, read at the pixels `first` to `last`.

        out[pixel, cell] = max(0, 1 - |(pixel + 1/2 - start) / (end - start) * cells - 1/2 - cell|)

    returns: float32 (last - first, cells); beyond the cells there are zeros
    """
    pixels = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    places = (pixels - np.float32(start)) / np.float32(max(end - start, 1e-6)) * np.float32(cells) - np.float32(0.5)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(cells, dtype=np.float32)), 0)


def pasted(mask, box_yxyx, height, width):
    """Returns a mask in an image, bool (height, width).

    mask:     float (side, side), the probability in each cell of the box
    box_yxyx: (4,) in pixels of the image; it may extend beyond the image
    """
    ymin, xmin, ymax, xmax = map(float, box_yxyx)
    top, left = max(int(np.floor(ymin)), 0), max(int(np.floor(xmin)), 0)
    bottom, right = min(int(np.ceil(ymax)), height), min(int(np.ceil(xmax)), width)
    found = np.zeros((height, width), bool, order="F")
    if bottom > top and right > left:
        rows, columns = weights(ymin, ymax, top, bottom, len(mask)), weights(xmin, xmax, left, right, len(mask))
        found[top:bottom, left:right] = rows @ mask.astype(np.float32) @ columns.T >= 0.5
    return found


def run_lengths(mask):
    """Returns COCO's run-length encoding of a mask, bool (height, width)."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def decoded(run_lengths):
    """Returns the mask of COCO's run-length encoding, bool (height, width)."""
    return coco_mask.decode(run_lengths).astype(bool)


def area(run_lengths):
    """Returns how many pixels a mask has."""
    return int(coco_mask.area(run_lengths))


def opened(file, corner, height, width):
    """Returns the mask that a data set stores, bool (height, width)."""
    pixels = tf.io.decode_png(file, channels=1).numpy()[..., 0] >= 128
    found = np.zeros((height, width), bool, order="F")
    top, left = map(int, corner)
    window = found[top:top + pixels.shape[0], left:left + pixels.shape[1]]
    window[...] = pixels[:window.shape[0], :window.shape[1]]
    return found


def _extent(seen):
    """Returns the first true place and the one after the last, int32; twice 0 if there is none."""
    places = tf.cast(tf.where(seen)[:, 0], tf.int32)
    return tf.cond(tf.size(places) > 0, lambda: (places[0], places[-1] + 1), lambda: (0, 0))
