"""How long ago each memory was written."""
import math

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class TimeIndex(keras.layers.Layer):
    """Numbers memories backward from the latest one; in training, blanks between them make the numbers uneven.

        out[b, i] = 1 + memories of b after i                       1 for the latest, 0 where masked
        training:  n memories get n of the numbers 1..n + blanks, drawn without replacement and kept in order,
                   where blanks is drawn from 0..ceil(noise * n)

    The numbers select vectors that are added to the memories. The blanks keep a network from recognizing stories by
    their exact times. No number exceeds `largest(memories)`.

    Args:
        noise: largest number of blanks as a fraction of the number of memories, at least 0.
        seed: integer seed of the random generator, or None for a random one.

    Shape:
        inputs:  (batch, memories) bool: which memories exist, the latest last; the number of memories must be known
        returns: (batch, memories) int32; a row without memories is 0

    Raises:
        ValueError: `noise` is negative.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> print(layers.TimeIndex()(np.array([[True, True, True], [True, True, False]])).numpy())
        [[3 2 1]
         [2 1 0]]

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", section 4.1, "temporal encoding" and "random noise"
    (10 % of empty memories).
    """

    def __init__(self, noise=0.1, seed=None, **kwargs):
        super().__init__(**kwargs)
        if noise < 0:
            raise ValueError(f"noise must not be negative, got {noise}")
        self.noise = noise
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True  # no weights

    def largest(self, memories):
        """Returns the largest number that can result for `memories` memories."""
        return memories + math.ceil(self.noise * memories)

    def call(self, inputs, training=False):
        present = ops.cast(inputs, "int32")
        back = ops.flip(ops.cumsum(ops.flip(present, axis=1), axis=1), axis=1)
        if training and self.noise:
            back = ops.take_along_axis(self._times(ops.sum(present, axis=1, keepdims=True), inputs.shape[1]),
                                       ops.maximum(back - 1, 0), axis=1)
        return back * present

    def _times(self, count, memories):
        """Returns ascending times, of which the first `count` (batch, 1) are drawn: (batch, times)."""
        slots = self.largest(memories)
        drawn = keras.random.uniform((ops.shape(count)[0], slots + 1), seed=self.generator)
        # looked up, as 0.3 * 50 is more than 15 in float32
        most = ops.take(np.array([self.largest(n) - n for n in range(memories + 1)], "float32"), count)
        blanks = ops.cast(ops.minimum(ops.floor(drawn[:, :1] * (most + 1)), most), "int32")
        slot = ops.arange(1, slots + 1, dtype="int32")
        order = ops.argsort(ops.where(slot <= count + blanks, drawn[:, 1:], 2.0), axis=1)
        used = ops.argsort(order, axis=1) < count  # a random choice of `count` of the first count + blanks
        return ops.sort(ops.where(used, slot, slots + 1), axis=1)

    def compute_output_shape(self, inputs_shape):
        return tuple(inputs_shape)

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor(inputs.shape, "int32")

    def get_config(self):
        return super().get_config() | {"noise": self.noise, "seed": self.seed}
