"""The largest of several convolutions."""
import keras

from layers.maxout import largest_piece


@keras.saving.register_keras_serializable(package="layers")
class MaxoutConv2D(keras.layers.Layer):
    """Takes at each place the largest of `pieces` convolutions of its input.

        y[..., f] = max_p ( (x * W[:, :, :, p, f])[...] + b[p, f] )

    All pieces are one `keras.layers.Conv2D`, `convolution`, whose kernel is (height, width, channels, pieces * filters),
    channel p * filters + f. So each filter is one affine function, as in `Maxout`: an initializer sees its fan-in,
    height * width * channels, with a fan-out of all pieces, and `MaxNorm(axis=[0, 1, 2])` bounds the norm of its
    incoming weights.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, height', width', filters), the sizes those of Conv2D

    Raises:
        ValueError: filters or pieces below 1, inputs that are no images, and what Conv2D refuses.

    Source: Goodfellow et al., 2013, "Maxout Networks", section 3. What differs: there the maximum is over neighbouring
    channels, here pieces lie `filters` channels apart, which is faster and, as weights are learnt, the same.
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
