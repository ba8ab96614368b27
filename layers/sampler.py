"""A fixed number of anchors or regions to train on."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class BalancedSampler(keras.layers.Layer):
    """Draws `samples` matched places, at most `positive_fraction` of them (rounded down, but one) objects, the rest background.

    The number is fixed; where there are not enough candidates, the surplus has weight 0. In training the draw is uniform;
    otherwise the first candidates are taken.

    Shape:
        matches: (batch, places) int32 as `BoxMatcher` returns: an object's index, -1 for background, -2 for neither
        returns: indices (batch, samples) int32, weights (batch, samples) float32 of 0 and 1; objects come first

    Raises:
        ValueError: samples < 1, or a fraction not in (0, 1].

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

    def call(self, matches, training=False):
        batch, places = ops.shape(matches)
        samples = min(self.samples, places)
        if training:
            order = keras.random.uniform((batch, places), 1e-6, 1.0, seed=self.seed_generator)
        else:
            order = ops.broadcast_to(1.0 - ops.arange(places, dtype="float32") / (places + 1), (batch, places))
        positives = max(1, min(places, int(self.samples * self.positive_fraction)))
        objects = ops.where(matches >= 0, order, 0.0)
        least = ops.top_k(objects, positives)[0][:, -1:]  # the last that has room, 0 where all have
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
