"""Arithmetic on boxes: tensors (..., 4) of ymin, xmin, ymax, xmax in pixels (`boxes_yxyx`)."""
from keras import ops


def area(boxes_yxyx):
    """Returns the area of each box in square pixels, (...,); an inverted box has area 0."""
    ymin, xmin, ymax, xmax = ops.unstack(boxes_yxyx, 4, axis=-1)
    return ops.maximum(ymax - ymin, 0) * ops.maximum(xmax - xmin, 0)


def iou(boxes_a, boxes_b):
    """Returns the intersection over union of every pair.

    (..., a, 4) and (..., b, 4) give (..., a, b); 0 for empty boxes.

    >>> import numpy as np
    >>> from layers import boxes
    >>> print(boxes.iou(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [0, 0, 2, 4], [5, 5, 6, 6]])).numpy())
    [[1.  0.5 0. ]]
    """
    shared = intersection(boxes_a, boxes_b)
    union = ops.expand_dims(area(boxes_a), -1) + ops.expand_dims(area(boxes_b), -2) - shared
    return _ratio(shared, union)


def coverage(boxes_a, boxes_b):
    """Returns the fraction of each box of `boxes_a` that each box of `boxes_b` covers.

    (..., a, 4) and (..., b, 4) give (..., a, b); 0 for empty boxes of `boxes_a`.
    """
    return _ratio(intersection(boxes_a, boxes_b), ops.expand_dims(area(boxes_a), -1))


def intersection(boxes_a, boxes_b):
    """Returns the shared area of every pair in square pixels: (..., a, 4) and (..., b, 4) give (..., a, b)."""
    a_ymin, a_xmin, a_ymax, a_xmax = ops.split(boxes_a, 4, axis=-1)  # each (..., a, 1)
    b_ymin, b_xmin, b_ymax, b_xmax = (ops.expand_dims(side, -2) for side in ops.unstack(boxes_b, 4, axis=-1))
    height = ops.maximum(ops.minimum(a_ymax, b_ymax) - ops.maximum(a_ymin, b_ymin), 0)
    width = ops.maximum(ops.minimum(a_xmax, b_xmax) - ops.maximum(a_xmin, b_xmin), 0)
    return height * width


def _ratio(part, whole):
    return ops.where(whole > 0, part / ops.where(whole > 0, whole, 1), 0)


def clip(boxes_yxyx, height, width):
    """Returns the boxes cut at the borders of an image of `height` by `width` pixels."""
    limit = ops.cast(ops.stack([height, width, height, width], axis=-1), boxes_yxyx.dtype)
    return ops.maximum(ops.minimum(boxes_yxyx, limit), 0)
