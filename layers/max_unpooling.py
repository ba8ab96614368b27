"""Maximum pooling that remembers the positions of the maxima, and its inverse."""
import keras
from keras import ops


class _Windows(keras.layers.Layer):
    """What both layers have in common: the side of their windows."""

    def __init__(self, pool_size=2, **kwargs):
        super().__init__(**kwargs)
        if not 1 <= pool_size <= 16:
            raise ValueError(f"pool_size must be from 1 to 16, got {pool_size}")
        self.pool_size = pool_size
        self.built = True  # no weights

    def get_config(self):
        return super().get_config() | {"pool_size": self.pool_size}


@keras.saving.register_keras_serializable(package="layers")
class MaxPoolingWithArgmax(_Windows):
    """Returns the largest value of each window, and where in the window it is.

        y[b, i, j, c] = max over (u, v) of x[b, s * i + u, s * j + v, c],   0 <= u, v < s = pool_size
        positions[b, i, j, c] = s * u + v of the first of the largest values

    The windows do not overlap. A window at the bottom or on the right that reaches beyond the map has fewer values.

    Args:
        pool_size: side of a window, at most 16.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, ceil(height / pool_size), ceil(width / pool_size), channels) twice: values, and uint8 positions

    Raises:
        ValueError: `pool_size` is not from 1 to 16.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> x = np.array([[1, 2, 5], [3, 0, 6], [7, 8, 9]], "float32").reshape(1, 3, 3, 1)
        >>> values, positions = layers.MaxPoolingWithArgmax(2)(x)
        >>> print(values[0, :, :, 0].numpy(), positions[0, :, :, 0].numpy())
        [[3. 6.]
         [8. 9.]] [[2 2]
         [1 0]]

    Source: Badrinarayanan et al., 2017, "SegNet", section 3. `tf.nn.max_pool_with_argmax` has positions in the whole map and
    cannot be compiled by XLA.
    """

    def call(self, inputs):
        size = self.pool_size
        height, width = ops.shape(inputs)[1:3]
        x = ops.pad(inputs, [(0, 0), (0, -height % size), (0, -width % size), (0, 0)], constant_values=float("-inf"))
        values = ops.max_pool(x, size, size, padding="valid")
        positions = ops.zeros(ops.shape(values), "uint8")
        for place in reversed(range(size * size)):  # the first one is written last
            is_here = x[:, place // size::size, place % size::size] == values
            positions = ops.where(is_here, ops.cast(place, "uint8"), positions)
        return values, positions

    def compute_output_shape(self, inputs_shape):
        batch, height, width, channels = inputs_shape
        shape = (batch, height and -(-height // self.pool_size), width and -(-width // self.pool_size), channels)
        return shape, shape

    def compute_output_spec(self, inputs):
        values, positions = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(values, self.compute_dtype), keras.KerasTensor(positions, "uint8")


@keras.saving.register_keras_serializable(package="layers")
class MaxUnpooling(_Windows):
    """Puts each value where `MaxPoolingWithArgmax` found a maximum, and zeros elsewhere.

        y[b, s * i + u, s * j + v, c] = x[b, i, j, c] if s * u + v = positions[b, i, j, c] else 0,   0 <= u, v < s = pool_size

    Args:
        pool_size: side of a window.

    Shape:
        inputs:    (batch, height, width, channels)
        positions: (batch, height, width, channels), integers from 0 to pool_size ^ 2 - 1
        like:      (batch, rows, columns, any), the map before the pooling, or None
        returns:   (batch, rows, columns, channels); without `like`, rows = pool_size * height, columns = pool_size * width

    Raises:
        ValueError: `pool_size` is not from 1 to 16.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> x = np.array([[1, 2, 5], [3, 0, 6], [7, 8, 9]], "float32").reshape(1, 3, 3, 1)
        >>> values, positions = layers.MaxPoolingWithArgmax(2)(x)
        >>> print(layers.MaxUnpooling(2)(values, positions, x)[0, :, :, 0].numpy())
        [[0. 0. 0.]
         [3. 0. 6.]
         [0. 8. 9.]]

    Source: Zeiler and Fergus, 2014, "Visualizing and Understanding Convolutional Networks", section 2.1; Noh et al., 2015,
    "Learning Deconvolution Network for Semantic Segmentation", section 3.2.1.
    """

    def call(self, inputs, positions, like=None):
        size = self.pool_size
        _, height, width, channels = ops.shape(inputs)
        zeros = ops.zeros_like(inputs)
        lines = []
        for row in range(size):
            parts = [ops.where(positions == ops.cast(size * row + column, positions.dtype), inputs, zeros)
                     for column in range(size)]
            lines.append(ops.reshape(ops.stack(parts, axis=3), (-1, height, width * size, channels)))
        x = ops.reshape(ops.stack(lines, axis=2), (-1, height * size, width * size, channels))
        if like is None:
            return x
        rows, columns = ops.shape(like)[1:3]
        return x[:, :rows, :columns]

    def compute_output_shape(self, inputs_shape, positions_shape=None, like_shape=None):
        batch, height, width, channels = inputs_shape
        if like_shape is not None:
            return (batch, *like_shape[1:3], channels)
        return (batch, height and height * self.pool_size, width and width * self.pool_size, channels)
