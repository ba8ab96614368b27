"""Dropout that scales either in training or at inference."""
import keras
from keras import ops


class _Dropout(keras.layers.Layer):
    """What both kinds have in common: a rate, a random generator and the mask drawn from it."""

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.built = True  # no weights

    def _masked(self, inputs):
        if self.rate == 0:
            return inputs
        # drawn in float32 under every policy: float16 has too few numbers for the rate to be exact
        drawn = keras.random.uniform(ops.shape(inputs), dtype="float32", seed=self.seed_generator)
        return inputs * ops.cast(drawn >= self.rate, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return super().get_config() | {"rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="layers")
class InvertedDropout(_Dropout):
    """Drops units in training and scales up the remaining ones.

        mask = 1 with probability 1 - rate, else 0; drawn for each unit
        y = x * mask / (1 - rate)   in training
        y = x                       otherwise

    Keras's Dropout does the same. Ours exists beside `ClassicDropout` so that the two differ only in where they scale.
    What differs from Keras: rate 1 is refused, and the same units are dropped under every precision.

    Args:
        rate: probability that a unit is dropped, in [0, 1).
        seed: integer seed of the random generator, or None for a random one.

    Shape:
        inputs:  (batch, ...)
        returns: the same

    Mask: not used; it is passed on to the next layer.

    Raises:
        ValueError: `rate` is not in [0, 1).

    Example:
        >>> import numpy as np
        >>> import layers
        >>> dropout = layers.InvertedDropout(0.5, seed=1)
        >>> units = np.ones((1, 100), "float32")
        >>> print(np.unique(dropout(units, training=True)), np.unique(dropout(units)))
        [0. 2.] [1.]

    Source: Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 10.
    """

    def call(self, inputs, training=False):
        return self._masked(inputs) / (1 - self.rate) if training else inputs


@keras.saving.register_keras_serializable(package="layers")
class ClassicDropout(_Dropout):
    """Drops units in training and scales down all units otherwise.

        mask = 1 with probability 1 - rate, else 0; drawn for each unit
        y = x * mask          in training
        y = x * (1 - rate)    otherwise

    Keras has only the other kind, which is `InvertedDropout` here. In both, the output otherwise is the expected output
    in training. Here, however, the following weights are trained on smaller inputs, so learning rates and norm
    constraints that suit one kind do not suit the other. Krizhevsky et al., 2012, section 4.2, use this kind.

    Args:
        rate: probability that a unit is dropped, in [0, 1).
        seed: integer seed of the random generator, or None for a random one.

    Shape:
        inputs:  (batch, ...)
        returns: the same

    Mask: not used; it is passed on to the next layer.

    Raises:
        ValueError: `rate` is not in [0, 1).

    Example:
        >>> import numpy as np
        >>> import layers
        >>> dropout = layers.ClassicDropout(0.5, seed=1)
        >>> units = np.ones((1, 100), "float32")
        >>> print(np.unique(dropout(units, training=True)), np.unique(dropout(units)))
        [0. 1.] [0.5]

    Source: Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4.
    What differs: p there is the probability of keeping a unit, and the following weights are scaled instead of the units.
    """

    def call(self, inputs, training=False):
        return self._masked(inputs) if training else inputs * (1 - self.rate)
