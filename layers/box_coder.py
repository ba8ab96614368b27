"""Boxes as offsets from anchors."""
import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BoxCoder(keras.layers.Layer):
    """Turns predicted offsets into boxes; `encode` is the inverse.

        ty = weights[0] * (y - anchor_y) / anchor_height      th = weights[2] * log(height / anchor_height)
        tx = weights[1] * (x - anchor_x) / anchor_width       tw = weights[3] * log(width / anchor_width)

    with centres y, x. Decoded sizes are at most `largest` times the anchor's, so that exp cannot overflow.
    Positions are float32 whatever the policy.

    Shape:
        offsets: (..., 4) ty, tx, th, tw
        anchors: (..., 4) ymin, xmin, ymax, xmax in pixels, broadcast against the offsets
        returns: (..., 4) ymin, xmin, ymax, xmax in pixels

    Raises:
        ValueError: not four positive weights.

    Source: Girshick et al., 2014, "R-CNN", appendix C; weights (10, 10, 5, 5) and the limit as in Fast R-CNN's code.
    """

    def __init__(self, weights_yxhw=(1.0, 1.0, 1.0, 1.0), largest=1000 / 16, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if len(weights_yxhw) != 4 or min(weights_yxhw) <= 0:
            raise ValueError(f"weights_yxhw must be four positive numbers, got {weights_yxhw}")
        self.weights_yxhw = tuple(weights_yxhw)
        self.largest = largest
        self.built = True  # no weights

    def encode(self, boxes_yxyx, anchors):
        """Returns the offsets (..., 4) from `anchors` that give `boxes_yxyx`; sides under a millionth count as that."""
        y, x, height, width = _centre(boxes_yxyx)
        anchor_y, anchor_x, anchor_height, anchor_width = _centre(anchors)
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
        anchor_y, anchor_x, anchor_height, anchor_width = _centre(anchors)
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


def _centre(boxes_yxyx):
    ymin, xmin, ymax, xmax = ops.unstack(boxes_yxyx, 4, axis=-1)
    return (ymin + ymax) / 2, (xmin + xmax) / 2, ymax - ymin, xmax - xmin
