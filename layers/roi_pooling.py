"""Features of regions by the maximum in each bin."""
import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class RoIPooling(keras.layers.Layer):
    """Returns the largest feature in each of size x size bins of a region.

        first = round(ymin / stride),  last = round(ymax / stride),  extent = max(last - first + 1, 1)
        bin i covers cells  first + floor(i * extent / size)  to  first + ceil((i + 1) * extent / size) - 1
        out[n, i, j, c] = max of features over bin i of rows and bin j of columns;  0 where the bin is off the map

    Columns are divided as rows are, and halves are rounded up. Box coordinates have no gradient.

    The maximum of each rectangle with power-of-two sides is computed once, and the maximum of a bin is that of the four such
    rectangles in its corners, which overlap and cover it. This takes a few reads per bin instead of a pass over the map, and
    memory for about 20 to 30 maps of features. Among equal features, one has the whole gradient.

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
        height, width, channels = features.shape[1:]
        rows, columns = _windows(height), _windows(width)
        sizes = np.outer(rows, columns)
        starts = ops.convert_to_tensor((np.cumsum(sizes) - sizes.ravel()).astype("int32"))
        (tops, level_y, empty_y), (lefts, level_x, empty_x) = self._corners(ymin, ymax, height), self._corners(xmin, xmax, width)
        level_y, level_x = level_y[..., :, None], level_x[..., None, :]  # (batch, regions, size, size) together
        first = ops.take(starts, level_y * len(columns) + level_x)
        length = ops.take(ops.convert_to_tensor(np.array(columns, "int32")), level_x)  # windows in a row
        places = [first + top[..., :, None] * length + left[..., None, :] for top in tops for left in lefts]
        is_empty = ops.logical_or(empty_y[..., :, None], empty_x[..., None, :])
        found = _largest(features, ops.reshape(ops.stack(places, axis=-1), (-1, boxes_yxyx.shape[1] * self.size ** 2, 4)))
        found = ops.reshape(found, (-1, boxes_yxyx.shape[1], self.size, self.size, channels))
        return ops.where(is_empty[..., None], ops.zeros_like(found), found)

    def _corners(self, start, end, cells):
        """Returns where the two windows that cover a bin begin, their level, and whether the bin is off the map.

        (batch, regions) twice give a pair of int32 (batch, regions, size), int32 and bool of this shape. A window of level n
        has 2^n cells.
        """
        first = ops.floor(start + 0.5)[..., None]
        extent = ops.maximum(ops.floor(end + 0.5)[..., None] - first + 1, 1)
        index = ops.arange(self.size, dtype="float32")
        low = ops.clip(first + ops.floor(index * extent / self.size), 0, cells)
        high = ops.clip(first + ops.ceil((index + 1) * extent / self.size), 0, cells)
        low, high = ops.cast(low, "int32"), ops.cast(high, "int32")
        is_empty = high <= low
        low = ops.minimum(low, cells - 1)
        length = ops.maximum(high - low, 1)
        sizes = np.array([2 ** n for n in range(len(_windows(cells)))], "int32")
        level = ops.sum(ops.cast(length[..., None] >= sizes[1:], "int32"), axis=-1)
        size = ops.take(ops.convert_to_tensor(sizes), level)
        return (low, low + length - size), level, is_empty

    def compute_output_shape(self, boxes_yxyx_shape, features_shape):
        return (*boxes_yxyx_shape[:2], self.size, self.size, features_shape[-1])

    def get_config(self):
        return super().get_config() | {"size": self.size, "stride": self.stride}


@tf.custom_gradient
def _largest(features, places):
    """Returns the largest feature of several windows together, whose gradient belongs to the one cell that it is from.

    Shape:
        features: (batch, height, width, channels)
        places:   (batch, bins, windows) int32, places among the windows of all levels, see `_tables`
        returns:  (batch, bins, channels)
    """
    height, width, channels = features.shape[1:]
    batch, windows = tf.shape(features)[0], places.shape[2]
    flat = tf.reshape(places, (batch, -1))
    values, cells = _tables(features)

    def gathered(table):
        return tf.reshape(tf.gather(table, flat, batch_dims=1), (batch, -1, windows, channels))

    found = gathered(values)

    def gradient(upstream):
        at = gathered(cells)  # (batch, bins, windows, channels)
        best = tf.argmax(found, axis=2, output_type=tf.int32)
        cell = at[:, :, 0]
        for window in range(1, windows):
            cell = tf.where(best == window, at[:, :, window], cell)
        place = (tf.range(batch)[:, None, None] * (height * width) + cell) * channels + tf.range(channels)
        wide = upstream if upstream.dtype == tf.float64 else tf.cast(upstream, tf.float32)  # many bins may share a cell
        total = tf.math.unsorted_segment_sum(wide, place, batch * (height * width * channels))
        return tf.cast(tf.reshape(total, (batch, height, width, channels)), upstream.dtype), None

    return tf.reduce_max(found, axis=2), gradient


def _tables(features):
    """Returns the largest feature of each window with power-of-two sides, and the cell that it is from.

    (batch, height, width, channels) gives twice (batch, windows, channels): all windows of one level, row by row, after
    another. The levels are ordered by height, then by width.
    """
    height, width, channels = features.shape[1:]
    cells = tf.reshape(tf.range(height * width, dtype=tf.int32), (1, height, width, 1)) + tf.zeros_like(features, tf.int32)

    def joined(pair, axis, level):
        half = 2 ** level // 2
        parts = [(tensor[:, :-half], tensor[:, half:]) if axis == 1 else (tensor[:, :, :-half], tensor[:, :, half:])
                 for tensor in pair]
        (one, other), (cell, other_cell) = parts
        return tf.maximum(one, other), tf.where(one >= other, cell, other_cell)

    levels, tall = [], (features, cells)
    for y in range(len(_windows(height))):
        tall = joined(tall, 1, y) if y else tall
        wide = tall
        for x in range(len(_windows(width))):
            wide = joined(wide, 2, x) if x else wide
            levels.append([tf.reshape(tensor, (-1, tensor.shape[1] * tensor.shape[2], channels)) for tensor in wide])
    return [tf.concat(tables, axis=1) for tables in zip(*levels)]


def _windows(cells):
    """Returns how many windows of 1, 2, 4, … cells there are along a side."""
    return [cells - 2 ** level + 1 for level in range(cells.bit_length())]
