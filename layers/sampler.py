"""A fixed number of anchors or regions to train on."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BalancedSampler(keras.layers.Layer):
    """Selects `samples` of the anchors or regions: a limited number of objects, and background for the rest.

    In training the objects and the background are drawn uniformly without replacement; otherwise the first ones are
    taken. Where there are too few of both, the surplus samples have weight 0, and their indices mean nothing. The layer
    computes in float32 under every global policy, unless `dtype` says otherwise.

    Args:
        samples: number of samples for each image.
        positive_fraction: largest fraction of the samples that may be objects, in (0, 1]; the resulting number is
            rounded down, but it is at least 1.
        seed: integer seed of the random generator, or None for a random one.

    Shape:
        matches: (batch, places) int32, as `BoxMatcher` returns them: an object's index, -1 for background, -2 for
                 neither; the number of places must be known
        returns: indices (batch, samples) int32, objects first, and weights (batch, samples) float32 of 0 and 1

    Raises:
        ValueError: `samples` is below 1, or `positive_fraction` is not in (0, 1].

    Example:
        >>> import numpy as np
        >>> import layers
        >>> indices, weights = layers.BalancedSampler(samples=4, positive_fraction=0.25)(np.array([[-1, 2, -1, 0, -2]]))
        >>> print(indices[:, :3].numpy(), weights.numpy())  # one object and both backgrounds
        [[1 0 2]] [[1. 1. 1. 0.]]

    Source: Ren et al., 2015, "Faster R-CNN", section 3.1.3 (256 anchors, up to half of them positive).
    """

    def __init__(self, samples, positive_fraction=0.5, seed=None, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        if not 0 < positive_fraction <= 1:
            raise ValueError(f"positive_fraction must be in (0, 1], got {positive_fraction}")
        self.samples = samples
        self.positive_fraction = positive_fraction
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True  # no weights

    @property
    def positives(self):
        """The largest number of objects among the samples."""
        return max(1, int(self.samples * self.positive_fraction))

    def call(self, matches, training=False):
        batch, places = ops.shape(matches)
        samples = min(self.samples, places)
        if training:
            order = keras.random.uniform((batch, places), 1e-6, 1.0, seed=self.seed_generator)
        else:
            order = ops.broadcast_to(1.0 - ops.arange(places, dtype="float32") / (places + 1), (batch, places))
        objects = ops.where(matches >= 0, order, 0.0)
        least = ops.top_k(objects, min(places, self.positives))[0][:, -1:]  # the last that has room, 0 where all have
        chosen = ops.logical_and(objects > 0, objects >= least)
        priority = ops.where(chosen, order + 1.0, ops.where(matches == -1, order, 0.0))
        values, indices = ops.top_k(priority, samples)
        weights = ops.cast(values > 0, "float32")
        missing = self.samples - samples  # fewer places than samples: the shape is kept all the same
        return ops.pad(ops.cast(indices, "int32"), ((0, 0), (0, missing))), ops.pad(weights, ((0, 0), (0, missing)))

    def compute_output_shape(self, matches_shape):
        return (matches_shape[0], self.samples), (matches_shape[0], self.samples)

    def compute_output_spec(self, matches, training=False):
        shape = (matches.shape[0], self.samples)
        return keras.KerasTensor(shape, "int32"), keras.KerasTensor(shape, "float32")

    def get_config(self):
        return super().get_config() | {
            "samples": self.samples, "positive_fraction": self.positive_fraction, "seed": self.seed}
