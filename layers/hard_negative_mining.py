"""The background places with the largest loss, a fixed number for each object place."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class HardNegativeMining(keras.layers.Layer):
    """Selects the places that a detector learns its classes from: all object places and the hardest background places.

        objects = number of places with matches >= 0
        weights[p] = 1 where matches[p] >= 0
                     1 for the min(max(ratio * objects, least), all) places with matches == -1 of the largest loss
                     0 otherwise

    Most places are background, and most of those are easy; the mean over all places would hardly depend on the others. The
    selection is made within each image, so an image without objects has only `least` places. Of equal losses the first ones are
    selected. No gradient passes through the weights. The layer computes in float32 under every global policy, unless `dtype`
    says otherwise.

    Args:
        ratio: number of background places for each object place.
        least: number of background places of an image with few or no object places.

    Shape:
        losses:  (batch, places): the loss that each place would have as background or object
        matches: (batch, places) int32, as `BoxMatcher` returns them: an object's index, -1 for background, -2 for neither
        returns: (batch, places) float32 of 0 and 1

    Raises:
        ValueError: `ratio` is below 1, or `least` is negative.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> losses = np.array([[0.3, 0.1, 0.9, 0.7, 0.8]], "float32")
        >>> matches = np.array([[0, -1, -1, -1, -2]])  # one object
        >>> print(layers.HardNegativeMining(ratio=2)(losses, matches).numpy())
        [[1. 0. 1. 1. 0.]]

    Source: Liu et al., 2016, "SSD: Single Shot MultiBox Detector", section 2.2 (ratio 3).
    """

    def __init__(self, ratio=3, least=0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if ratio < 1:
            raise ValueError(f"ratio must be at least 1, got {ratio}")
        if least < 0:
            raise ValueError(f"least must not be negative, got {least}")
        self.ratio = ratio
        self.least = least
        self.built = True  # no weights

    def call(self, losses, matches):
        is_object, is_background = matches >= 0, matches == -1
        losses = ops.where(is_background, ops.stop_gradient(losses), float("-inf"))
        order = ops.argsort(-losses, axis=-1)
        rank = ops.argsort(order, axis=-1)  # 0 for the largest loss
        wanted = ops.maximum(self.ratio * ops.sum(ops.cast(is_object, "int32"), axis=-1, keepdims=True), self.least)
        is_hard = ops.logical_and(is_background, ops.cast(rank, "int32") < wanted)
        return ops.cast(ops.logical_or(is_object, is_hard), "float32")

    def compute_output_shape(self, losses_shape, matches_shape):
        return tuple(losses_shape)

    def compute_output_spec(self, losses, matches):
        return keras.KerasTensor(losses.shape, "float32")

    def get_config(self):
        return super().get_config() | {"ratio": self.ratio, "least": self.least}
