"""The largest of several convolutions."""
import keras

from layers.maxout import largest_piece


@keras.saving.register_keras_serializable(package="layers")
class MaxoutConv2D(keras.layers.Layer):
    """Returns the largest of `pieces` convolutions of its input at each position.

        y[..., f] = max_p ( (x * W[:, :, :, p, f])[...] + b[p, f] )

    All pieces are one `keras.layers.Conv2D`, the attribute `convolution`. Its kernel is (height, width, channels,
    pieces * filters), where channel p * filters + f belongs to piece p of filter f. So each output channel of the
    kernel is one affine function, as in `Maxout`: an initializer sees its fan-in, height * width * channels, and a
    fan-out of all pieces, and `MaxNorm(axis=[0, 1, 2])` bounds the norm of its incoming weights.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the kernel, an integer or a pair.
        pieces: number of convolutions per filter.
        strides: strides of the convolution, an integer or a pair.
        padding: "valid" or "same", as in Conv2D.
        kernel_initializer: initializer of the kernel of all pieces.
        bias_initializer: initializer of the bias of all pieces.
        kernel_constraint: constraint on that kernel, or None.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, new height, new width, filters), where height and width change as in Conv2D

    Raises:
        ValueError: `filters` or `pieces` is below 1, the inputs are not images, or Conv2D refuses an argument.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> maxout = layers.MaxoutConv2D(filters=5, kernel_size=3, pieces=2)
        >>> print(maxout(np.zeros((1, 6, 8, 4), "float32")).shape, maxout.convolution.kernel.shape)
        (1, 4, 6, 5) (3, 3, 4, 10)

    Source: Goodfellow et al., 2013, "Maxout Networks", section 3. What differs: there the maximum is over neighboring
    channels; here the pieces of a filter lie `filters` channels apart, which is faster. Since the weights are learned,
    the two are equivalent.
    """

    def __init__(self, filters, kernel_size, pieces, strides=1, padding="valid", kernel_initializer="glorot_uniform",
                 bias_initializer="zeros", kernel_constraint=None, **kwargs):
        super().__init__(**kwargs)
        if min(filters, pieces) < 1:
            raise ValueError(f"filters and pieces must be at least 1, got {filters} and {pieces}")
        self.filters = filters
        self.pieces = pieces
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.convolution = keras.layers.Conv2D(
            pieces * filters, kernel_size, strides, padding, data_format="channels_last",
            kernel_initializer=self.kernel_initializer, bias_initializer=self.bias_initializer,
            kernel_constraint=self.kernel_constraint, dtype=self.dtype_policy)
        self.kernel_size = self.convolution.kernel_size
        self.strides = self.convolution.strides
        self.padding = self.convolution.padding

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(f"MaxoutConv2D takes (batch, height, width, channels), got {tuple(input_shape)}")
        self.convolution.build(input_shape)

    def call(self, inputs):
        return largest_piece(self.convolution(inputs), self.pieces)

    def compute_output_shape(self, input_shape):
        return (*self.convolution.compute_output_shape(input_shape)[:-1], self.filters)

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters, "kernel_size": self.kernel_size, "pieces": self.pieces, "strides": self.strides,
            "padding": self.padding, "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint)}
