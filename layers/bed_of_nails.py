"""Upsampling with zeros between the values."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BedOfNails(keras.layers.Layer):
    """Enlarges maps by a whole number: each value is in the top left corner of a square of zeros.

        y[b, s * i, s * j, c] = x[b, i, j, c],   s = size;   y = 0 elsewhere

    Args:
        size: factor by which height and width grow.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, size * height, size * width, channels)

    Raises:
        ValueError: `size` is below 1.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> x = np.array([[1, 2], [3, 4]], "float32").reshape(1, 2, 2, 1)
        >>> print(layers.BedOfNails(2)(x)[0, :, :, 0].numpy())
        [[1. 0. 2. 0.]
         [0. 0. 0. 0.]
         [3. 0. 4. 0.]
         [0. 0. 0. 0.]]

    Source: Zeiler et al., 2010, "Deconvolutional Networks"; the name is that of Stanford's CS231n. With a convolution
    behind it, it is a transposed convolution.
    """

    def __init__(self, size=2, **kwargs):
        super().__init__(**kwargs)
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.size = size
        self.built = True  # no weights

    def call(self, inputs):
        batch, height, width, channels = ops.shape(inputs)
        gap = (0, self.size - 1)
        x = ops.pad(inputs[:, :, None, :, None], [(0, 0), (0, 0), gap, (0, 0), gap, (0, 0)])
        return ops.reshape(x, (batch if batch is not None else -1, height * self.size, width * self.size, channels))

    def compute_output_shape(self, inputs_shape):
        batch, height, width, channels = inputs_shape
        return (batch, height and height * self.size, width and width * self.size, channels)

    def get_config(self):
        return super().get_config() | {"size": self.size}
