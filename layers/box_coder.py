"""Boxes as offsets from anchors."""
import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BoxCoder(keras.layers.Layer):
    """Decodes predicted offsets from anchors into boxes; `encode` is the inverse.

        ty = weights_yxhw[0] * (y - anchor_y) / anchor_height      th = weights_yxhw[2] * log(height / anchor_height)
        tx = weights_yxhw[1] * (x - anchor_x) / anchor_width       tw = weights_yxhw[3] * log(width / anchor_width)

    Here y, x and anchor_y, anchor_x are the centers. The layer computes in float32 under every global policy, unless
    `dtype` says otherwise.

    Args:
        weights_yxhw: four positive factors for ty, tx, th and tw, which bring the offsets to a similar scale.
        largest: upper limit of a decoded side as a multiple of the anchor's side, so that exp cannot overflow.

    Shape:
        offsets: (..., 4): ty, tx, th, tw, without a unit
        anchors: (..., 4): ymin, xmin, ymax, xmax in pixels; broadcast to the shape of the offsets
        returns: the offsets' shape: ymin, xmin, ymax, xmax in pixels

    Raises:
        ValueError: `weights_yxhw` is not four positive numbers.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> coder = layers.BoxCoder()
        >>> anchors = np.array([[0, 0, 10, 20]], "float32")
        >>> offsets = np.array([[0.5, 0, 0, np.log(2)]], "float32")  # down by half a height, twice as wide
        >>> boxes = coder(offsets, anchors)
        >>> print(boxes.numpy().round(2))
        [[  5. -10.  15.  30.]]
        >>> print(coder.encode(boxes, anchors).numpy().round(2))
        [[0.5  0.   0.   0.69]]

    Source: Girshick et al., 2014, "Rich Feature Hierarchies", appendix C. The weights (10, 10, 5, 5), often used for
    the second stage, are those of the code of Fast R-CNN; the limit is that of Detectron.
    """

    def __init__(self, weights_yxhw=(1.0, 1.0, 1.0, 1.0), largest=1000 / 16, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if len(weights_yxhw) != 4 or min(weights_yxhw) <= 0:
            raise ValueError(f"weights_yxhw must be four positive numbers, got {weights_yxhw}")
        self.weights_yxhw = tuple(weights_yxhw)
        self.largest = largest
        self.built = True  # no weights

    def encode(self, boxes_yxyx, anchors):
        """Returns the offsets (..., 4) that lead from `anchors` to `boxes_yxyx`.

        Sides shorter than a millionth of a pixel count as a millionth, so that padding gives finite numbers.
        """
        y, x, height, width = _center(boxes_yxyx)
        anchor_y, anchor_x, anchor_height, anchor_width = _center(anchors)
        # of padding too: its loss has weight 0, but 0 * infinity is not 0
        height, width, anchor_height, anchor_width = (
            ops.maximum(side, 1e-6) for side in (height, width, anchor_height, anchor_width))
        return ops.stack([
            self.weights_yxhw[0] * (y - anchor_y) / anchor_height,
            self.weights_yxhw[1] * (x - anchor_x) / anchor_width,
            self.weights_yxhw[2] * ops.log(height / anchor_height),
            self.weights_yxhw[3] * ops.log(width / anchor_width),
        ], axis=-1)

    def call(self, offsets, anchors):
        ty, tx, th, tw = ops.unstack(offsets, 4, axis=-1)
        anchor_y, anchor_x, anchor_height, anchor_width = _center(anchors)
        limit = math.log(self.largest)
        y = ty / self.weights_yxhw[0] * anchor_height + anchor_y
        x = tx / self.weights_yxhw[1] * anchor_width + anchor_x
        half_height = ops.exp(ops.minimum(th / self.weights_yxhw[2], limit)) * anchor_height / 2
        half_width = ops.exp(ops.minimum(tw / self.weights_yxhw[3], limit)) * anchor_width / 2
        return ops.stack([y - half_height, x - half_width, y + half_height, x + half_width], axis=-1)

    def compute_output_shape(self, offsets_shape, anchors_shape=None):
        return tuple(offsets_shape)

    def get_config(self):
        return super().get_config() | {"weights_yxhw": self.weights_yxhw, "largest": self.largest}


def _center(boxes_yxyx):
    ymin, xmin, ymax, xmax = ops.unstack(boxes_yxyx, 4, axis=-1)
    return (ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin
