"""Maximum pooling that keeps all places."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class MaxPoolingWithHoles(keras.layers.Layer):
    """Returns the largest of pool_size x pool_size values that are `dilation_rate` apart, for every place where they fit in.

        y[b, i, j, c] = max over (u, v) of x[b, i + r * u, j + r * v, c],   0 <= u, v < pool_size,   r = dilation_rate

    With it, a network with pooling is computed for all positions of its input window at once: a layer behind a pooling of
    stride s has a rate s times as large as before, see `apps.segmentation.pixel_classifier`.

    Args:
        pool_size: values along each side of a window.
        dilation_rate: distance between neighboring values of a window.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, height - m, width - m, channels),   m = dilation_rate * (pool_size - 1)

    Raises:
        ValueError: an argument is below 1.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> x = np.array([[1, 2, 5], [3, 0, 6], [7, 8, 9]], "float32").reshape(1, 3, 3, 1)
        >>> print(layers.MaxPoolingWithHoles(2, 1)(x)[0, :, :, 0].numpy())
        [[3. 6.]
         [8. 9.]]
        >>> print(layers.MaxPoolingWithHoles(2, 2)(x)[0, :, :, 0].numpy())
        [[9.]]

    Source: Li et al., 2014, "Highly Efficient Forward and Backward Propagation of Convolutional Neural Networks for Pixelwise
    Classification", section 3. Keras's pooling has no holes.
    """

    def __init__(self, pool_size=2, dilation_rate=1, **kwargs):
        super().__init__(**kwargs)
        if pool_size < 1 or dilation_rate < 1:
            raise ValueError(f"pool_size and dilation_rate must be at least 1, got {pool_size} and {dilation_rate}")
        self.pool_size = pool_size
        self.dilation_rate = dilation_rate
        self.built = True  # no weights

    def call(self, inputs):
        height, width = ops.shape(inputs)[1:3]
        lost = self.dilation_rate * (self.pool_size - 1)
        starts = [self.dilation_rate * place for place in range(self.pool_size)]
        x = inputs[:, :height - lost]
        for start in starts[1:]:
            x = ops.maximum(x, inputs[:, start:start + height - lost])
        y = x[:, :, :width - lost]
        for start in starts[1:]:
            y = ops.maximum(y, x[:, :, start:start + width - lost])
        return y

    def compute_output_shape(self, inputs_shape):
        batch, height, width, channels = inputs_shape
        lost = self.dilation_rate * (self.pool_size - 1)
        return (batch, height and height - lost, width and width - lost, channels)

    def get_config(self):
        return super().get_config() | {"pool_size": self.pool_size, "dilation_rate": self.dilation_rate}
