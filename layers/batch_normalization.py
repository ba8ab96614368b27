"""Batch normalization by TensorFlow's fused kernel."""
import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BatchNormalization(keras.layers.Layer):
    """Normalizes each channel of images over the batch and all positions, then scales and shifts it.

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta
        moving = momentum * moving + (1 - momentum) * of_the_batch          (in training)

    In training, mean and variance are those of the batch; otherwise, and always with `trainable = False` (as in Keras),
    they are the moving ones. Under data parallelism each replica uses the statistics of its own part of the batch.

    Keras has this layer too. Ours exists because Keras composes it of a dozen operations, whereas one fused kernel
    reads the images only twice and combines bfloat16 images with float32 statistics. What differs from Keras: inputs
    must be images; gamma and beta always exist; the defaults of momentum and epsilon are 0.9 and 1e-5 instead of 0.99
    and 1e-3; the moving variance is the sample variance (divided by count - 1), as in cuDNN and PyTorch.

    Args:
        momentum: weight of the old moving statistics at each training step, in [0, 1).
        epsilon: positive number added to the variance.
        gamma_initializer: initializer of the scale gamma; beta starts at 0.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: the same

    Raises:
        ValueError: the inputs are not images, `momentum` is not in [0, 1), or `epsilon` is not positive.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> normalization = layers.BatchNormalization()
        >>> images = np.array([0.0, 2.0], "float32").reshape(2, 1, 1, 1)
        >>> print(normalization(images, training=True).numpy().ravel().round(2))
        [-1.  1.]
        >>> print(normalization.moving_mean.numpy().round(2), normalization.moving_variance.numpy().round(2))
        [0.1] [1.1]

    Source: Ioffe and Szegedy, 2015, "Batch Normalization", algorithms 1 and 2.
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, gamma_initializer="ones", **kwargs):
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.momentum = momentum
        self.epsilon = epsilon
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(f"BatchNormalization takes (batch, height, width, channels), got {tuple(input_shape)}")
        channels = (input_shape[-1],)
        # statistics stay float32 under float16 and bfloat16, where small differences would vanish
        dtype = "float64" if self.variable_dtype == "float64" else "float32"
        options = dict(shape=channels, dtype=dtype, autocast=False)
        self.gamma = self.add_weight(name="gamma", initializer=self.gamma_initializer, **options)
        self.beta = self.add_weight(name="beta", initializer="zeros", **options)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", trainable=False, **options)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", trainable=False, **options)

    def call(self, inputs, training=False):
        training = training and self.trainable
        if self.compute_dtype == "float64":
            return self._formula(inputs, training)
        empty = tf.constant([], tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=self.gamma.value, offset=self.beta.value,
            mean=empty if training else self.moving_mean.value,
            variance=empty if training else self.moving_variance.value,
            epsilon=self.epsilon, is_training=training)
        if training:
            self._remember(mean, variance)
        return outputs

    def _formula(self, inputs, training):
        """Returns the same from plain operations: the kernel has no float64, which numerical gradients need."""
        if training:
            mean, variance = ops.moments(inputs, axes=(0, 1, 2))
            count = ops.cast(ops.prod(ops.shape(inputs)[:3]), variance.dtype)
            self._remember(mean, variance * count / ops.maximum(count - 1, 1))
        else:
            mean, variance = self.moving_mean, self.moving_variance
        return self.gamma * (inputs - mean) * ops.rsqrt(variance + self.epsilon) + self.beta

    def _remember(self, mean, variance):
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return super().get_config() | {
            "momentum": self.momentum, "epsilon": self.epsilon,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer)}
