"""The largest of several affine functions."""
import functools

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class Maxout(keras.layers.Layer):
    """Returns the largest of `pieces` affine functions of its input.

        y[..., u] = max_p ( x[..., :] . W[:, p, u] + b[p, u] )

    All pieces are one `keras.layers.Dense`, the attribute `affine`. Its kernel is (features, pieces * units), where
    column p * units + u belongs to piece p of unit u. So each column is one affine function: an initializer sees its
    fan-in, `features`, and `MaxNorm(axis=0)` bounds the norm of its incoming weights. In a kernel (features, units,
    pieces) Keras would see a convolution's, with a fan-in of features * units. The fan-out counts all pieces, so
    Glorot's variance is smaller than for `Dense(units)`, whereas He's and LeCun's are the same. Where pieces are equal,
    the first one gets the gradient.

    Args:
        units: size of the output.
        pieces: number of affine functions per unit.
        kernel_initializer: initializer of the kernel of all pieces.
        bias_initializer: initializer of the bias of all pieces.
        kernel_regularizer: regularizer of that kernel, or None.
        kernel_constraint: constraint on that kernel, or None.

    Shape:
        inputs:  (batch, ..., features)
        returns: (batch, ..., units)

    Mask: not used; it is passed on to the next layer.

    Raises:
        ValueError: `units` or `pieces` is below 1.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> maxout = layers.Maxout(units=1, pieces=2)
        >>> maxout.build((None, 1))
        >>> maxout.set_weights([np.array([[1.0, -1.0]]), np.zeros(2)])  # max(x, -x)
        >>> print(maxout(np.array([[-3.0], [2.0]])).numpy())
        [[3.]
         [2.]]

    Source: Goodfellow et al., 2013, "Maxout Networks", section 3.
    """

    def __init__(self, units, pieces, kernel_initializer="glorot_uniform", bias_initializer="zeros", kernel_regularizer=None,
                 kernel_constraint=None, **kwargs):
        super().__init__(**kwargs)
        if min(units, pieces) < 1:
            raise ValueError(f"units and pieces must be at least 1, got {units} and {pieces}")
        self.units = units
        self.pieces = pieces
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.supports_masking = True
        self.affine = keras.layers.Dense(
            pieces * units, kernel_initializer=self.kernel_initializer, bias_initializer=self.bias_initializer,
            kernel_regularizer=self.kernel_regularizer, kernel_constraint=self.kernel_constraint, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.affine.build(input_shape)

    def call(self, inputs):
        return largest_piece(self.affine(inputs), self.pieces)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return super().get_config() | {
            "units": self.units, "pieces": self.pieces,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint)}


def largest_piece(outputs, pieces):
    """Returns the elementwise maximum of the pieces that lie one after another on the last axis.

    This is several times faster, forward and backward, than a reduction over a short axis of pieces.

    Shape:
        outputs: (..., pieces * units)
        returns: (..., units)
    """
    return functools.reduce(ops.maximum, ops.split(outputs, pieces, axis=-1))
