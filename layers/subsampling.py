"""Trainable subsampling of LeNet-5."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class Subsampling(keras.layers.Layer):
    """Sums each block of a feature map, then scales and shifts the map by two trained numbers of its own.

        y[i, j, c] = coefficient[c] * sum of x[., ., c] over block (i, j) + bias[c]

    Blocks do not overlap, and rows and columns that do not fill a block are dropped. Initially the layer equals Keras's
    AveragePooling2D, which has no weights.

    Args:
        pool_size: side of the square blocks in cells.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, height // pool_size, width // pool_size, channels)

    Raises:
        ValueError: `pool_size` is below 1, or the inputs are not images or are smaller than a block.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> subsampling = layers.Subsampling(pool_size=2)
        >>> image = np.array([[1, 2, 5], [3, 4, 5]], "float32").reshape(1, 2, 3, 1)
        >>> print(subsampling(image).numpy().ravel(), subsampling.coefficient.numpy())
        [2.5] [0.25]

    Source: LeCun et al., 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B, layer S2. What
    differs: the sigmoid that follows there is a layer of its own.
    """

    def __init__(self, pool_size=2, **kwargs):
        super().__init__(**kwargs)
        if pool_size < 1:
            raise ValueError(f"pool_size must be at least 1, got {pool_size}")
        self.pool_size = pool_size

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(f"Subsampling takes (batch, height, width, channels), got {tuple(input_shape)}")
        if any(side is not None and side < self.pool_size for side in input_shape[1:3]):
            raise ValueError(f"no block of {self.pool_size} x {self.pool_size} fits in images of {tuple(input_shape[1:3])}")
        self.coefficient = self.add_weight(
            name="coefficient", shape=(input_shape[-1],), initializer=keras.initializers.Constant(self.pool_size**-2))
        self.bias = self.add_weight(name="bias", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs):
        means = ops.average_pool(inputs, self.pool_size, padding="valid", data_format="channels_last")
        return means * (self.coefficient * self.pool_size**2) + self.bias  # the sum itself would overflow float16 sooner

    def compute_output_shape(self, input_shape):
        batch, *sides, channels = input_shape
        return (batch, *(None if side is None else side // self.pool_size for side in sides), channels)

    def get_config(self):
        return super().get_config() | {"pool_size": self.pool_size}
