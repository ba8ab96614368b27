"""Optimizers by name, with a learning rate schedule, weight decay and noise on the gradients."""
import keras
import tensorflow as tf
from keras import ops

_KINDS = {
    "sgd": (keras.optimizers.SGD, {}),
    "momentum": (keras.optimizers.SGD, {"momentum": 0.9}),
    "nesterov": (keras.optimizers.SGD, {"momentum": 0.9, "nesterov": True}),
    "rmsprop": (keras.optimizers.RMSprop, {"rho": 0.9}),
    "adagrad": (keras.optimizers.Adagrad, {}),
    "adam": (keras.optimizers.Adam, {}),  # with decay this is AdamW
}
NAMES = tuple(_KINDS)
_KEPT = ("gamma", "beta", "bias", "coefficient", "alpha")
"""names of weights that do not decay: of normalization, biases, LeNet-5's subsampling, and PReLU, whose slope would be drawn
towards ReLU (He et al., 2015, section 2.1)"""
_NOISE_DECAY = 0.55


def make(name, rate, *, weight_decay=None, gradient_noise=0.0, seed=0):
    """Returns a Keras optimizer.

    name:           one of NAMES
    rate:           number or schedule
    weight_decay:   fraction of a weight that is subtracted per step and unit of learning rate, except for `_KEPT`
    gradient_noise: variance of the gradient noise at the first step, see `noisy`; 0: no noise
    seed:           seed of the noise
    """
    kind, settings = _KINDS[name]
    if gradient_noise:
        kind = noisy(kind, gradient_noise, seed)
    made = kind(rate, weight_decay=weight_decay or None, **settings)
    if weight_decay:
        made.exclude_from_weight_decay(var_names=list(_KEPT))
    return made


def warmup_cosine(peak, steps):
    """Returns a learning rate schedule: linear warmup over a tenth of the steps, at most 500, then cosine decay to 0.

    peak:  highest learning rate
    steps: steps of the whole training
    """
    warmup = max(1, min(500, steps // 10))
    return keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup)


def noisy(kind, variance, seed):
    """Returns an optimizer class like `kind` that adds Gaussian noise to the gradients of step t = 0, 1, …

        g_t <- g_t + N(0, sigma_t^2),  sigma_t^2 = variance / (1 + t)^0.55

    The noise is a function of (seed, t, position of the weight), so a resumed training draws the same noise.

    kind:     class of a Keras optimizer
    variance: variance of the noise at t = 0
    seed:     integer

    Source: Neelakantan et al., 2015, "Adding Gradient Noise Improves Learning for Very Deep Networks", eq. 1.
    """
    class Noisy(kind):
        def apply(self, grads, trainable_variables=None):
            replicas = tf.distribute.get_strategy().num_replicas_in_sync  # whose gradients are summed, equal noises too
            step = ops.cast(self.iterations, "float32")
            std = ops.sqrt(variance / (1 + step) ** _NOISE_DECAY) / replicas

            def with_noise(place, gradient):
                numbers = tf.stack([tf.constant(seed * 65_537 + place, tf.int64), tf.cast(self.iterations.value, tf.int64)])
                draw = tf.random.stateless_normal(tf.shape(gradient), numbers)
                return gradient + ops.cast(draw * std, gradient.dtype)

            grads = [None if gradient is None else with_noise(place, tf.convert_to_tensor(gradient))
                     for place, gradient in enumerate(grads)]
            return super().apply(grads, trainable_variables)

    Noisy.__name__ = f"Noisy{kind.__name__}"
    return Noisy
