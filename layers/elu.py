"""Exponential linear units whose gradient is taken from their output."""
import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="layers")
class ELU(keras.layers.Layer):
    """Keeps what is positive and lets the rest saturate.

        y = x                       where x > 0
        y = alpha * (exp(x) - 1)    elsewhere
        dy/dx = 1 where y > 0, y + alpha elsewhere

    Keras has this layer; ours exists because its gradient needs nothing but y, for every alpha. Keras's does so for
    alpha = 1 only, where both are TensorFlow's kernel; for others it keeps a mask and the unscaled exponential.
    Higher derivatives are right too, and finite for large x, where exp(x) is not.

    Shape:
        inputs:  (batch, ...)
        returns: the same

    Raises:
        ValueError: alpha that is not positive, where the sign of y would no longer tell that of x.

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
