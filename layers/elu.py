"""Exponential linear units whose gradient is computed from their output."""
import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="layers")
class ELU(keras.layers.Layer):
    """Returns positive inputs unchanged and lets negative ones saturate at -alpha.

        y = x                       where x > 0
        y = alpha * (exp(x) - 1)    elsewhere
        dy/dx = 1 where y > 0, y + alpha elsewhere

    Keras has this layer too. Ours exists because its gradient needs only y, for every alpha. In Keras this holds only
    for alpha = 1, where both use TensorFlow's kernel; for any other alpha Keras keeps a mask and the unscaled
    exponential. Higher derivatives are right as well, and they are finite for large x, where exp(x) is not.

    Args:
        alpha: negative of the limit for large negative inputs, a positive number.

    Shape:
        inputs:  (batch, ...)
        returns: the same

    Mask: not used; it is passed on to the next layer.

    Raises:
        ValueError: `alpha` is not positive; the sign of y would then no longer be that of x.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> print(layers.ELU(alpha=2.0)(np.array([-100.0, -1.0, 0.0, 3.0])).numpy().round(2))
        [-2.   -1.26  0.    3.  ]

    Source: Clevert et al., 2016, "Fast and Accurate Deep Network Learning by Exponential Linear Units", eq. 15.
    """

    def __init__(self, alpha=1.0, **kwargs):
        super().__init__(**kwargs)
        if not alpha > 0:
            raise ValueError(f"alpha must be positive, got {alpha}")
        self.alpha = alpha
        self.supports_masking = True
        self.built = True  # no weights

    def call(self, inputs):
        return tf.nn.elu(inputs) if self.alpha == 1 else _elu(inputs, self.alpha)  # the kernel is twice as fast

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return super().get_config() | {"alpha": self.alpha}


def _elu(inputs, alpha):
    @tf.custom_gradient
    def elu(x):
        y = tf.where(x > 0, x, alpha * tf.nn.elu(x))

        def gradient(upstream):
            return upstream * tf.where(y > 0, tf.ones_like(y), y + alpha)

        return y, gradient

    return elu(inputs)
