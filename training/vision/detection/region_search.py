"""Selective search: regions that may hold an object, from a hierarchical grouping of segments.

Everything here consists of TensorFlow operations, so that training data, evaluation and an export have the same regions.
"""
import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.vision.detection import graph_segmentation

COLOR_BINS = 25
"""bins of the color histogram, for each channel"""
TEXTURE_BINS = 10
"""bins of the texture histogram, for each channel and direction"""
DIRECTIONS = 8
"""directions in which the gradient is measured"""
MOST_SEGMENTS = 400
"""maximum number of initial segments, which limits time and memory for any image"""
COLOR, TEXTURE, SIZE, FILL = range(4)


class Search(NamedTuple):
    """The settings of a search. All combinations of `spaces`, `scales` and `measures` are grouped, and their regions joined."""

    spaces: tuple[str, ...] = ("hsv", "lab")
    """color spaces: "hsv", "lab" or "rgb" """
    scales: tuple[float, ...] = (50.0, 100.0)
    """scales of the initial segmentation, k in the paper; a greater one gives larger segments"""
    measures: tuple[tuple[int, ...], ...] = ((COLOR, TEXTURE, SIZE, FILL), (TEXTURE, SIZE, FILL))
    """measures whose sum is the similarity of two neighbors"""
    smallest_segment: int = 20
    """pixels of the smallest initial segments"""
    smallest_side: float = 4.0
    """smallest height and width of a region, in pixels"""


SEARCHES = {
    "fast": Search(),  # the paper's name for it: 2 color spaces, 2 scales and 2 sums of measures give 8 hierarchies
    "small": Search(scales=(50.0,), measures=((COLOR, TEXTURE, SIZE, FILL),)),  # 2 hierarchies
}


def regions(images, count, search=SEARCHES["fast"]):
    """Returns the best regions of each image: boxes_yxyx float32 (batch, count, 4) in pixels, and valid bool (batch, count).

    A box without a region is 0, and `valid` is false. The first regions are the best ones.

    images: (batch, height, width, 3), RGB from 0 to 255; height and width must be known
    count:  number of regions

    1. Each image is segmented in each color space and with each scale (`graph_segmentation`).
    2. The two most similar neighbors become one region, until one region is left. This gives a hierarchy for each segmentation
       and similarity measure:

           s(a, b) = s_color + s_texture + s_size + s_fill, or a sum of some of them
           s_color   = sum_k min(color histogram of a, that of b);  s_texture = the same with the texture histograms
           s_size    = 1 - (size(a) + size(b)) / size(image)
           s_fill    = 1 - (size(box around a and b) - size(a) - size(b)) / size(image)

    3. The bounding boxes of all regions are ranked by  position * random number,  where the whole image has position 1 in its
       hierarchy and the segments come last, and duplicates and regions with a side below `smallest_side` are removed. The
       random numbers depend on hierarchy and position only, so that an image always has the same regions.

    Source: Uijlings et al., 2013, "Selective Search for Object Recognition", sections 3 and 4.4.
    What differs: the segmentation joins pixels in rounds (see `graph_segmentation.segment`); gradients are divided by the
    largest one in their image and channel; an image has at most MOST_SEGMENTS segments.
    """
    images = tf.round(tf.cast(images, tf.float32))  # so that a decoded image and a resized one are treated alike
    return tf.map_fn(_of_one(*images.shape[1:3], count, search), images, fn_output_signature=(
        tf.TensorSpec((count, 4), tf.float32), tf.TensorSpec((count,), tf.bool)))


@functools.lru_cache
def _of_one(height, width, count, search):
    """Returns the function that searches one image; all pipelines and signatures share its large graph."""
    def of_one(image):
        return _regions(image, count, search)

    return tf.function(of_one, input_signature=[tf.TensorSpec((height, width, 3), tf.float32)], autograph=False)


def _regions(image, count, search):
    height, width = image.shape[:2]
    smooth = tf.stack([_smooth(space, 0.8) for space in _spaces(image, search.spaces)])  # (spaces, height, width, 3)
    colors = tf.stack(_spaces(image, search.spaces))
    every = np.repeat(np.arange(len(search.spaces)), len(search.scales))  # the color space of each segmentation
    scales = tf.constant(np.tile(search.scales, len(search.spaces)) / 255, tf.float32)
    segments = graph_segmentation.segment(tf.gather(smooth, every), scales, search.smallest_segment, MOST_SEGMENTS)
    most = tf.reduce_max(segments) + 1
    pairs = _adjacent(segments, most)
    sizes, boxes, histograms = _described(segments, most, tf.gather(colors, every), tf.gather(_gradients(colors), every))
    times = len(search.measures)
    weights = np.zeros((times, 4), np.float32)
    for row, measures in zip(weights, search.measures):
        row[list(measures)] = 1
    merged, exists = _grouped(
        *(tf.repeat(part, times, axis=0) for part in (pairs, sizes, boxes, histograms)),
        tf.constant(np.tile(weights, (len(every), 1))), float(height * width))
    return _ranked(merged, exists, count, search.smallest_side)


def _spaces(image, names):
    """Returns the image in each color space, all channels from 0 to 1."""
    rgb = image / 255
    made = {"rgb": lambda: rgb, "hsv": lambda: tf.image.rgb_to_hsv(rgb), "lab": lambda: _lab(rgb)}
    return [made[name]() for name in names]


def _lab(rgb):
    """Returns CIE L*a*b* under D65, from sRGB; L / 100, and (a + 128) / 255 and (b + 128) / 255."""
    linear = tf.where(rgb <= 0.04045, rgb / 12.92, ((tf.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32)
    xyz = tf.tensordot(linear, (to_xyz / to_xyz.sum(axis=1, keepdims=True)).T, 1)  # white is 1, 1, 1
    x, y, z = tf.unstack(tf.where(xyz > 0.008856, tf.maximum(xyz, 0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116), axis=-1)
    return tf.stack([1.16 * y - 0.16, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255], axis=-1)


def _smooth(image, deviation):
    """Returns an image (height, width, channels) after a Gaussian filter; the image is continued by its mirror image."""
    rows, columns = (_filter(side, deviation, 0) for side in image.shape[:2])
    return tf.einsum("yh,hwc,xw->yxc", rows, image, columns)


def _gradients(images):
    """Returns the positive part of the derivative in each direction, from 0 to 1: (images, height, width, channels,
    directions)."""
    (rows, row_slopes), (columns, column_slopes) = (
        [_filter(side, 1.0, order) for order in (0, 1)] for side in images.shape[1:3])
    down = tf.einsum("yh,nhwc,xw->nyxc", row_slopes, images, columns)
    right = tf.einsum("yh,nhwc,xw->nyxc", rows, images, column_slopes)
    angles = np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    slopes = tf.nn.relu(down[..., tf.newaxis] * np.sin(angles) + right[..., tf.newaxis] * np.cos(angles))
    return tf.math.divide_no_nan(slopes, tf.reduce_max(slopes, axis=(1, 2, 4), keepdims=True))


def _filter(side, deviation, order):
    """Returns the matrix (side, side) of a Gaussian filter along one side, or of its derivative for order 1."""
    radius = int(4 * deviation + 0.5)
    taps = np.arange(-radius, radius + 1)
    values = np.exp(-taps ** 2 / (2 * deviation ** 2))
    values /= values.sum()
    if order:
        values = values * taps / deviation ** 2
    matrix = np.zeros((side, side), np.float32)
    for tap, value in zip(taps, values):
        place = (np.arange(side) + tap) % (2 * side)
        np.add.at(matrix, (np.arange(side), np.minimum(place, 2 * side - 1 - place)), value)
    return matrix


def _adjacent(segments, most):
    """Returns the pairs of neighboring segments, (images, pairs, 2); -1 and -1 pad an image with fewer pairs."""
    count = segments.shape[0]
    one, other = (tf.concat([tf.reshape(part, (count, -1)) for part in parts], axis=1) for parts in (
        (segments[:, :, :-1], segments[:, :-1], segments[:, :-1, :-1], segments[:, :-1, 1:]),
        (segments[:, :, 1:], segments[:, 1:], segments[:, 1:, 1:], segments[:, 1:, :-1])))
    low, high = tf.minimum(one, other), tf.maximum(one, other)
    keys = (tf.range(count)[:, tf.newaxis] * most + low) * most + high
    keys = tf.sort(tf.unique(tf.boolean_mask(keys, low < high))[0])
    pairs = tf.stack([keys // most % most, keys % most], axis=-1)
    pairs = tf.RaggedTensor.from_value_rowids(pairs, keys // most // most, nrows=count)
    return pairs.to_tensor(-1, shape=(count, None, 2))


def _described(segments, most, colors, gradients):
    """Returns the size (images, most), bounding box (images, most, 4) and histograms (images, most, bins) of each segment.

    colors:    (images, height, width, channels), from 0 to 1
    gradients: (images, height, width, channels, directions), from 0 to 1
    """
    count, height, width, channels = colors.shape
    place = tf.reshape(segments + tf.range(count)[:, tf.newaxis, tf.newaxis] * most, (-1,))
    sizes = tf.cast(tf.math.bincount(place, minlength=count * most), tf.float32)
    y, x = (tf.reshape(tf.broadcast_to(tf.constant(grid, tf.int32), segments.shape), (-1,)) for grid in np.mgrid[:height, :width])
    first = [tf.math.unsorted_segment_min(values, place, count * most) for values in (y, x)]
    last = [tf.math.unsorted_segment_max(values, place, count * most) + 1 for values in (y, x)]
    boxes = tf.where(sizes[:, tf.newaxis] > 0, tf.cast(tf.stack([*first, *last], axis=-1), tf.float32), 0.0)
    histograms = []
    for values, bins, features in ((colors, COLOR_BINS, channels), (gradients, TEXTURE_BINS, channels * DIRECTIONS)):
        values = tf.reshape(values, (-1, features))
        inside = tf.clip_by_value(tf.cast(values * bins, tf.int32), 0, bins - 1) + tf.range(features) * bins
        counts = tf.math.bincount(tf.reshape(place[:, tf.newaxis] * features * bins + inside, (-1,)),
                                  minlength=count * most * features * bins)
        counts = tf.reshape(tf.cast(counts, tf.float32), (count * most, features * bins))
        histograms.append(tf.math.divide_no_nan(counts, sizes[:, tf.newaxis] * features))
    return (tf.reshape(sizes, (count, most)), tf.reshape(boxes, (count, most, 4)),
            tf.reshape(tf.concat(histograms, axis=-1), (count, most, channels * (COLOR_BINS + DIRECTIONS * TEXTURE_BINS))))


def _grouped(pairs, sizes, boxes, histograms, weights, area):
    """Returns the boxes of all regions of each hierarchy, (hierarchies, regions, 4), and which exist, (hierarchies, regions).

    The last region is the first segment, and the first one is the last that was joined. All arguments have a row for each
    hierarchy: `pairs` of neighbors, `sizes`, `boxes` and `histograms` of the segments, and the four `weights` of the measures.
    """
    one, other = tf.unstack(pairs, axis=-1)
    hierarchies = tf.shape(pairs)[0]
    rows = tf.range(hierarchies)

    def similarity(size, box, histogram, sizes, boxes, histograms):
        """Returns the weighted sum of the measures, of tensors (hierarchies, regions, …)."""
        shared = tf.minimum(histogram, histograms)
        color, texture = (tf.reduce_sum(part, axis=-1) for part in (shared[..., :3 * COLOR_BINS], shared[..., 3 * COLOR_BINS:]))
        together = _around(box, boxes)
        both = size + sizes
        space = tf.reduce_prod(together[..., 2:] - together[..., :2], axis=-1)
        measures = tf.stack([color, texture, 1 - both / area, 1 - (space - both) / area], axis=-1)
        return tf.reduce_sum(measures * weights[:, tf.newaxis], axis=-1)

    def at(places, *values):
        return [tf.gather(value, tf.maximum(places, 0), batch_dims=1) for value in values]

    likeness = similarity(*at(one, sizes, boxes, histograms), *at(other, sizes, boxes, histograms))
    likeness = tf.where(one >= 0, likeness, -1.0)
    steps = tf.shape(sizes)[1] - 1
    made = tf.TensorArray(tf.float32, size=steps, element_shape=(None, 4))

    def join(step, one, other, likeness, sizes, boxes, histograms, made):
        best = tf.argmax(likeness, axis=1)[:, tf.newaxis]
        (keep, drop, value) = at(best, one, other, likeness)  # (hierarchies, 1)
        goes_on = value >= 0
        (size, box, histogram), (drop_size, drop_box, drop_histogram) = (
            at(which, sizes, boxes, histograms) for which in (keep, drop))
        total = size + drop_size
        histogram = (size[..., tf.newaxis] * histogram + drop_size[..., tf.newaxis] * drop_histogram) / total[..., tf.newaxis]
        box = _around(box, drop_box)
        made = made.write(steps - 1 - step, tf.where(goes_on, box[:, 0], 0.0))
        # a hierarchy that is done changes a segment that no pair refers to any more, and one without pairs its first segment
        place = tf.stack([rows, tf.maximum(keep[:, 0], 0)], axis=-1)
        sizes, boxes, histograms = (tf.tensor_scatter_nd_update(values, place, new[:, 0]) for values, new in (
            (sizes, total), (boxes, box), (histograms, histogram)))
        one, other = tf.where(one == drop, keep, one), tf.where(other == drop, keep, other)
        to_all = similarity(total, box, histogram, sizes, boxes, histograms)
        is_changed = (one == keep) | (other == keep)
        across, = at(tf.where(one == keep, other, one), to_all)
        likeness = tf.where((one == other) | (likeness < 0), -1.0, tf.where(is_changed, across, likeness))
        return step + 1, one, other, likeness, sizes, boxes, histograms, made

    made = tf.while_loop(lambda step, *_: step < steps, join, (0, one, other, likeness, sizes, boxes, histograms, made))[-1]
    merged = tf.transpose(made.stack(), (1, 0, 2))
    merged = tf.ensure_shape(merged, (None, None, 4))
    return (tf.concat([merged, boxes[:, ::-1]], axis=1),
            tf.concat([tf.reduce_any(merged > 0, axis=-1), sizes[:, ::-1] > 0], axis=1))


def _around(one, other):
    return tf.concat([tf.minimum(one[..., :2], other[..., :2]), tf.maximum(one[..., 2:], other[..., 2:])], axis=-1)


def _ranked(boxes, exists, count, smallest_side):
    """Returns the `count` best different boxes, (count, 4), and which of them exist."""
    position = tf.cumsum(tf.cast(exists, tf.float32), axis=1)  # from 1; the largest region first
    hierarchies, places = tf.unstack(tf.shape(exists))
    draws = tf.random.stateless_uniform((hierarchies, 2 * MOST_SEGMENTS), (2013, 0), alg="philox")[:, :places]
    is_large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= smallest_side, axis=-1)
    ranks = tf.reshape(tf.where(exists & is_large, position * draws, float("inf")), (-1,))
    boxes = tf.gather(tf.reshape(boxes, (-1, 4)), tf.argsort(ranks, stable=True))
    boxes = boxes[:tf.math.count_nonzero(tf.math.is_finite(ranks))]
    corners = tf.cast(boxes, tf.int64)
    names, places = tf.unique(tf.tensordot(corners, tf.constant([2 ** (15 * side) for side in range(4)], tf.int64), 1))
    first = tf.math.unsorted_segment_min(tf.range(tf.size(places)), places, tf.size(names))  # in the order of the ranks
    boxes = tf.gather(boxes, first[:count])
    missing = count - tf.shape(boxes)[0]
    valid = tf.range(count) < tf.shape(boxes)[0]
    return tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]]), (count, 4)), tf.ensure_shape(valid, (count,))
