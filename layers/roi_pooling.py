"""Features of regions by the maximum in each bin."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class RoIPooling(keras.layers.Layer):
    """Returns the largest feature in each of size x size bins of a region.

        first = round(ymin / stride),  last = round(ymax / stride),  extent = max(last - first + 1, 1)
        bin i covers cells  first + floor(i * extent / size)  to  first + ceil((i + 1) * extent / size) - 1
        out[n, i, j, c] = max of features over bin i of rows and bin j of columns;  0 where the bin is off the map

    Columns are divided as rows are, and halves are rounded up. The maximum over a rectangle is one over its columns
    followed by one over its rows, so masks of (bins, cells) compute it with static shapes. This takes memory for
    (batch, regions, height, width, channels) numbers at a time. Box coordinates have no gradient.

    Args:
        size: number of bins along each side of a region.
        stride: pixels per cell of the feature map.

    Shape:
        boxes_yxyx: (batch, regions, 4): ymin, xmin, ymax, xmax in pixels
        features:   (batch, height, width, channels); height and width must be known
        returns:    (batch, regions, size, size, channels)

    Raises:
        ValueError: `size` is below 1, or `stride` is not positive.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> features = np.tile(np.arange(8, dtype="float32"), (8, 1)).reshape(1, 8, 8, 1)  # each cell holds its column
        >>> region = np.array([[[0, 0, 32, 16]]], "float32")  # rounded to columns 0 to 4
        >>> print(layers.RoIPooling(size=2, stride=4)(region, features).numpy().reshape(2, 2))
        [[2. 4.]
         [2. 4.]]

    Source: Girshick, 2015, "Fast R-CNN", section 2.1, with the rounding of its code.
    """

    def __init__(self, size, stride, **kwargs):
        super().__init__(autocast=False, **kwargs)  # boxes stay float32: from 128 pixels on bfloat16 has steps of one
        if size < 1 or stride <= 0:
            raise ValueError(f"size must be at least 1 and stride positive, got {size} and {stride}")
        self.size = size
        self.stride = stride
        self.built = True  # no weights

    def call(self, boxes_yxyx, features):
        ymin, xmin, ymax, xmax = ops.unstack(ops.stop_gradient(ops.cast(boxes_yxyx, "float32")) / self.stride, 4, axis=-1)
        features = ops.cast(features, self.compute_dtype)
        rows = self._bins(ymin, ymax, features.shape[1])  # (batch, regions, size, height)
        columns = self._bins(xmin, xmax, features.shape[2])  # (batch, regions, size, width)
        least = ops.cast(float("-inf"), features.dtype)
        maps = features[:, None]  # (batch, 1, height, width, channels)
        lines = ops.stack(  # (batch, regions, height, size, channels)
            [ops.max(ops.where(columns[:, :, None, j, :, None], maps, least), axis=3) for j in range(self.size)], axis=3)
        out = ops.stack(
            [ops.max(ops.where(rows[:, :, i, :, None, None], lines, least), axis=2) for i in range(self.size)], axis=2)
        return ops.where(out > least, out, ops.zeros_like(out))

    def _bins(self, start, end, cells):
        """Returns whether a cell lies in a bin: (batch, regions) twice give (batch, regions, size, cells) bool."""
        first = ops.floor(start + 0.5)[..., None]
        extent = ops.maximum(ops.floor(end + 0.5)[..., None] - first + 1, 1)
        index = ops.arange(self.size, dtype="float32")
        low = first + ops.floor(index * extent / self.size)
        high = first + ops.ceil((index + 1) * extent / self.size)
        cell = ops.arange(cells, dtype="float32")
        return ops.logical_and(cell >= low[..., None], cell < high[..., None])

    def compute_output_shape(self, boxes_yxyx_shape, features_shape):
        return (*boxes_yxyx_shape[:2], self.size, self.size, features_shape[-1])

    def get_config(self):
        return super().get_config() | {"size": self.size, "stride": self.stride}
