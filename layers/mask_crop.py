"""The part of an object's mask that lies in a region."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class MaskCrop(keras.layers.Layer):
    """Reads masks, each of which fills its frame, in the cells of regions.

        out[n, i, j] = sum_yx rows[n, i, y] * columns[n, j, x] * masks[n, y, x]
        rows[n, i, y] = max(0, 1 - |p(n, i) - y|)
        p(n, i) = (ymin + (i + 1/2) * (ymax - ymin) / size - top) / (bottom - top) * side - 1/2

    for a region from ymin to ymax and a frame from top to bottom. This is linear interpolation at the middle of each cell of the
    region; beyond the frame there are zeros. Neither boxes nor masks have a gradient.

    Args:
        size: number of cells along each side of a region.

    Shape:
        masks:       (batch, regions, side, side), values from 0 to 1
        frames_yxyx: (batch, regions, 4): ymin, xmin, ymax, xmax of each mask in pixels of the image; if a frame is empty, the
                     result is 0
        boxes_yxyx:  (batch, regions, 4): the regions, in the same pixels
        returns:     (batch, regions, size, size)

    Raises:
        ValueError: `size` is below 1.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> mask = np.ones((1, 1, 4, 4), "float32")
        >>> frame, region = np.array([[[0, 0, 8, 8]]], "float32"), np.array([[[0, 4, 8, 12]]], "float32")
        >>> print(layers.MaskCrop(size=2)(mask, frame, region).numpy().reshape(2, 2))  # the left half lies in the frame
        [[1. 0.]
         [1. 0.]]

    Source: He et al., 2017, "Mask R-CNN", section 3.1: "the mask target is the intersection between an RoI and its associated
    ground-truth mask". It is RoI align with one sample per cell, in coordinates of the mask, with zeros outside.
    """

    def __init__(self, size, **kwargs):
        super().__init__(autocast=False, **kwargs)  # boxes stay float32: from 128 pixels on bfloat16 has steps of one
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.built = True  # no weights

    def call(self, masks, frames_yxyx, boxes_yxyx):
        masks = ops.stop_gradient(ops.cast(masks, self.compute_dtype))
        frames_yxyx, boxes_yxyx = (ops.stop_gradient(ops.cast(x, "float32")) for x in (frames_yxyx, boxes_yxyx))
        rows = ops.cast(self._weights(frames_yxyx, boxes_yxyx, 0, masks.shape[2]), masks.dtype)
        columns = ops.cast(self._weights(frames_yxyx, boxes_yxyx, 1, masks.shape[3]), masks.dtype)
        return ops.matmul(ops.matmul(rows, masks), ops.swapaxes(columns, -1, -2))

    def _weights(self, frames_yxyx, boxes_yxyx, axis, cells):
        """Returns the weight of each cell of the masks in each cell of the regions: (batch, regions, size, cells)."""
        start, end = frames_yxyx[..., axis, None], frames_yxyx[..., axis + 2, None]
        first, last = boxes_yxyx[..., axis, None], boxes_yxyx[..., axis + 2, None]
        middles = first + (ops.arange(self.size, dtype="float32") + 0.5) / self.size * (last - first)
        extent = ops.where(end > start, end - start, 1.0)
        places = (middles - start) / extent * cells - 0.5
        hats = ops.maximum(1 - ops.abs(places[..., None] - ops.arange(cells, dtype="float32")), 0)
        return ops.where((end > start)[..., None], hats, 0.0)

    def compute_output_shape(self, masks_shape, frames_yxyx_shape, boxes_yxyx_shape):
        return (*masks_shape[:2], self.size, self.size)

    def get_config(self):
        return super().get_config() | {"size": self.size}
