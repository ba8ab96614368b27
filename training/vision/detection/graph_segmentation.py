"""Felzenszwalb and Huttenlocher's segmentation of images as tensor operations, so that an export can contain it."""
from typing import NamedTuple

import numpy as np
import tensorflow as tf

PARTS = 32
"""parts into which the edges are divided"""
SMALLEST_PART = 2000
"""edges of a part; an image with few edges has fewer parts"""


class _Pixels(NamedTuple):
    """The component of each pixel of all images, which goes by the number of one of its pixels."""

    regions: tf.Tensor
    """number of the component"""
    sizes: tf.Tensor
    """how many pixels the component with this number has"""
    inner: tf.Tensor
    """greatest weight of an edge within it"""
    scales: tf.Tensor
    """its scale"""


class _Graph(NamedTuple):
    """Some edges and the components at their ends."""

    components: tf.Tensor
    """where each of the components is now, after some have joined others"""
    sizes: tf.Tensor
    inner: tf.Tensor
    scales: tf.Tensor
    ends: tf.Tensor
    """the two components that each edge connects, (2, edges); in each image, a lighter edge comes before a heavier one"""
    weights: tf.Tensor
    """weight of each edge"""


_SHAPES = _Graph(*(tf.TensorShape(shape) for shape in ([None], [None], [None], [None], [2, None], [None])))


def segment(images, scales, smallest, most):
    """Returns the region of each pixel, (images, height, width) int32; regions are numbered from 0 in each image.

        an edge of weight w joins the components A and B if  w <= min(inner(A) + scale / |A|, inner(B) + scale / |B|)

    An edge connects two neighboring pixels (8 neighbors), and its weight is the Euclidean distance of their colors. |A| is the
    number of pixels in A, and inner(A) the greatest weight of the edges that joined them. Afterwards, each component with fewer
    than `smallest` pixels joins the neighbor across its lightest edge.

    images:   float32 (images, height, width, channels), already smoothed
    scales:   float32 (images,): a greater one gives larger regions
    smallest: pixels of the smallest regions
    most:     maximum number of regions in an image; with more of them, `smallest` is doubled as often as it takes

    Source: Felzenszwalb and Huttenlocher, 2004, "Efficient Graph-Based Image Segmentation", sections 3 and 4.
    What differs: the authors go through the edges one by one, from the lightest on. Here the edges are divided into PARTS parts
    by weight. Within a part, every component looks at its own lightest edge at the same time, and all of them join in rounds
    (Boruvka's algorithm for spanning trees). A component may therefore join a neighbor that lighter edges of the same part
    would have made too large for it. The more parts, the closer to the authors' result: on images of digit_scenes, 32 parts give
    66 segments on average where one edge after another gives 73 (scale 50 / 255), and as many of them fit an object.
    """
    count, height, width, channels = images.shape
    area = height * width
    pairs = _neighbors(height, width)
    colors = tf.reshape(images, (count, area, channels))
    weights = tf.norm(tf.gather(colors, pairs[0], axis=1) - tf.gather(colors, pairs[1], axis=1), axis=-1)  # (images, edges)
    order = tf.argsort(weights, axis=1, stable=True)
    weights = tf.gather(weights, order, batch_dims=1)
    ends = tf.gather(tf.constant(pairs), order, axis=1) + area * tf.range(count)[:, tf.newaxis]  # (2, images, edges)
    length = max(-(-pairs.shape[1] // PARTS), SMALLEST_PART)
    numbers = tf.range(count * area)

    def after(join, pixels, first, last):
        """Returns the pixels after `join` of the components at the ends of some edges."""
        some = tf.gather(pixels.regions, tf.reshape(ends[..., first:last], (2, -1)))
        is_between = some[0] != some[1]
        some = tf.boolean_mask(some, is_between, axis=1)
        names, places = tf.unique(tf.reshape(some, (-1,)))
        graph = join(_Graph(
            tf.range(tf.size(names)), *(tf.gather(values, names) for values in pixels[1:]), tf.reshape(places, (2, -1)),
            tf.boolean_mask(tf.reshape(weights[:, first:last], (-1,)), is_between)))
        new = tf.math.unsorted_segment_min(names, graph.components, tf.size(graph.sizes))
        regions = tf.tensor_scatter_nd_update(numbers, names[:, tf.newaxis], tf.gather(new, graph.components))
        return pixels._replace(
            regions=tf.gather(regions, pixels.regions),
            sizes=tf.tensor_scatter_nd_update(pixels.sizes, new[:, tf.newaxis], graph.sizes),
            inner=tf.tensor_scatter_nd_update(pixels.inner, new[:, tf.newaxis], graph.inner))

    def next_part(part, *pixels):
        return part + 1, *after(_join_similar, _Pixels(*pixels), part * length, (part + 1) * length)

    def has_too_many(smallest, *pixels):
        is_first = tf.reshape(pixels[0] == numbers, (count, area))
        return tf.reduce_max(tf.math.count_nonzero(is_first, axis=1)) > most

    def double(smallest, *pixels):
        return 2 * smallest, *after(lambda graph: _join_small(graph, 2 * smallest), _Pixels(*pixels), 0, None)

    pixels = _Pixels(numbers, tf.ones(count * area), tf.zeros(count * area), tf.repeat(scales, area))
    pixels = _Pixels(*tf.while_loop(lambda part, *_: part * length < pairs.shape[1], next_part, (0, *pixels))[1:])
    smallest = tf.constant(float(smallest))
    pixels = after(lambda graph: _join_small(graph, smallest), pixels, 0, None)
    regions = tf.while_loop(has_too_many, double, (smallest, *pixels))[1]
    order = tf.cumsum(tf.cast(tf.reshape(regions == numbers, (count, area)), tf.int32), axis=1) - 1
    return tf.reshape(tf.gather(tf.reshape(order, (-1,)), regions), (count, height, width))


def _neighbors(height, width):
    """Returns both pixels of each pair of neighbors, int32 (2, pairs)."""
    numbers = np.arange(height * width, dtype="int32").reshape(height, width)
    pairs = [(numbers[:, :-1], numbers[:, 1:]), (numbers[:-1], numbers[1:]),
             (numbers[:-1, :-1], numbers[1:, 1:]), (numbers[:-1, 1:], numbers[1:, :-1])]
    return np.concatenate([np.stack([one.ravel(), other.ravel()]) for one, other in pairs], axis=1)


def _join_similar(graph):
    """Joins components as long as an edge allows it; no edge is left."""
    def one_round(graph):
        weights, neighbor = _lightest(graph)
        limits = graph.inner + graph.scales / graph.sizes
        is_final = weights > limits  # its other edges are even heavier
        graph = _with_edges(graph, ~tf.reduce_any(tf.gather(is_final, graph.ends), axis=0))
        return _between(_joined(graph, weights <= tf.minimum(limits, tf.gather(limits, neighbor)), neighbor, weights))

    return _until_no_edge(one_round, graph)


def _join_small(graph, smallest):
    """Joins each component of fewer pixels than `smallest` with a neighbor; no edge is left."""
    def at_small(graph):
        return _with_edges(graph, tf.reduce_any(tf.gather(graph.sizes, graph.ends) < smallest, axis=0))

    def one_round(graph):
        weights, neighbor = _lightest(graph)
        return at_small(_between(_joined(graph, (graph.sizes < smallest) & tf.math.is_finite(weights), neighbor, weights)))

    return _until_no_edge(one_round, at_small(graph))


def _until_no_edge(one_round, graph):
    return _Graph(*tf.while_loop(
        lambda *graph: tf.size(graph[-1]) > 0, lambda *graph: tuple(one_round(_Graph(*graph))), tuple(graph), tuple(_SHAPES)))


def _lightest(graph):
    """Returns the weight of each component's lightest edge, and the component across it; infinity and itself without an edge."""
    count, edges = tf.size(graph.sizes), tf.size(graph.weights)
    place = tf.minimum(*(tf.math.unsorted_segment_min(tf.range(edges), end, count) for end in tf.unstack(graph.ends)))
    has_edge, place, numbers = place < edges, tf.minimum(place, edges - 1), tf.range(count)
    across = tf.reduce_sum(tf.gather(graph.ends, place, axis=1), axis=0) - numbers
    return tf.where(has_edge, tf.gather(graph.weights, place), float("inf")), tf.where(has_edge, across, numbers)


def _joined(graph, joins, neighbor, weights):
    """Returns the graph in which the components where `joins` have joined their neighbors across edges of these weights."""
    numbers = tf.range(tf.size(graph.sizes))
    parents = tf.where(joins, neighbor, numbers)
    is_pair = tf.gather(parents, parents) == numbers  # of two that join each other, the first one is the root
    parents = tf.where(is_pair & (numbers < parents), numbers, parents)
    parents, = tf.while_loop(lambda parents: tf.reduce_any(tf.gather(parents, parents) != parents),
                             lambda parents: (tf.gather(parents, parents),), (parents,))
    is_root = parents == numbers
    into = tf.gather(tf.cumsum(tf.cast(is_root, tf.int32)) - 1, parents)
    count = tf.math.count_nonzero(is_root, dtype=tf.int32)
    inner = tf.where(joins, tf.maximum(graph.inner, weights), graph.inner)
    return graph._replace(
        components=tf.gather(into, graph.components), sizes=tf.math.unsorted_segment_sum(graph.sizes, into, count),
        inner=tf.math.unsorted_segment_max(inner, into, count), scales=tf.boolean_mask(graph.scales, is_root),
        ends=tf.gather(into, graph.ends))


def _between(graph):
    """Returns the graph without the edges within components."""
    return _with_edges(graph, graph.ends[0] != graph.ends[1])


def _with_edges(graph, mask):
    kept = tf.where(mask)[:, 0]
    return graph._replace(ends=tf.gather(graph.ends, kept, axis=1), weights=tf.gather(graph.weights, kept))
