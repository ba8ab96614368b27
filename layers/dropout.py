"""Dropout, scaled in training or scaled afterwards."""
import keras
from keras import ops


class _Dropout(keras.layers.Layer):
    """What both kinds have: a rate, a generator and the mask drawn from it."""

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
    """Drops units in training and scales up those that survive.

        mask = 1 with probability 1 - rate, else 0;  one for each unit
        y = x * mask / (1 - rate)   in training
        y = x                       otherwise

    Keras's Dropout does the same; ours exists beside `ClassicDropout`, so that the two differ in nothing but where they
    scale. What differs from Keras: rate 1 is refused, and masks are the same under every precision.

    Shape:
        inputs:  (batch, ...)
        returns: the same

    Raises:
        ValueError: a rate not in [0, 1).

    Source: Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 10.
    """

    def call(self, inputs, training=False):
        return self._masked(inputs) / (1 - self.rate) if training else inputs


@keras.saving.register_keras_serializable(package="layers")
class ClassicDropout(_Dropout):
    """Drops units in training and scales down all of them afterwards.

        mask = 1 with probability 1 - rate, else 0;  one for each unit
        y = x * mask          in training
        y = x * (1 - rate)    otherwise

    Keras has only the other kind, `InvertedDropout`. In both the expectation in training is what they give afterwards, but
    here the weights that follow are trained on smaller inputs, so learning rates and norm bounds of one kind do not suit
    the other. Krizhevsky et al., 2012, section 4.2, drop this way.

    Shape:
        inputs:  (batch, ...)
        returns: the same

    Raises:
        ValueError: a rate not in [0, 1).

    Source: Srivastava et al., 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4. What
    differs: there p is the probability to survive, and the weights that follow are scaled, not the units.
    """

    def call(self, inputs, training=False):
        return self._masked(inputs) if training else inputs * (1 - self.rate)
