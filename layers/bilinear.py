"""Bilinear interpolation as the initial kernel of a transposed convolution."""
import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BilinearInitializer(keras.initializers.Initializer):
    """Makes a transposed convolution of stride s and kernel size k = 2 * s - s % 2 an enlargement by bilinear interpolation.

        kernel[i, j, c, c] = (1 - |i - m| / s) * (1 - |j - m| / s),   m = (k - 1) / 2,   s = ceil(k / 2);   0 between channels

    With padding "same" the enlarged map has s times the sides; towards its border it fades, as beyond it there are zeros.

    Example:
        >>> import keras, numpy as np
        >>> import layers
        >>> enlarge = keras.layers.Conv2DTranspose(
        ...     1, 4, 2, padding="same", kernel_initializer=layers.BilinearInitializer())
        >>> print(enlarge(np.array([[0, 4, 8]] * 5, "float32").reshape(1, 5, 3, 1))[0, 4, :, 0].numpy())
        [0. 1. 3. 5. 7. 6.]

    Source: Long et al., 2015, "Fully Convolutional Networks for Semantic Segmentation", section 3.3.
    """

    def __call__(self, shape, dtype=None):
        """Returns the kernel.

        shape: (k, k, channels, channels), as Keras's transposed convolution has it

        Raises:
            ValueError: the kernel is not square, or changes the number of channels.
        """
        rows, columns, outputs, inputs = shape
        if rows != columns or outputs != inputs:
            raise ValueError(f"bilinear interpolation needs a square kernel and keeps the channels, got the shape {shape}")
        stride = (rows + 1) // 2
        line = 1 - np.abs(np.arange(rows) - (rows - 1) / 2) / stride
        kernel = np.zeros(shape)
        kernel[:, :, range(outputs), range(outputs)] = np.outer(line, line)[..., None]
        return ops.convert_to_tensor(kernel, dtype or keras.config.floatx())
