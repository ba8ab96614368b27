"""A feature map averaged where the attention is."""
import keras
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class AttentionPooling(keras.layers.Layer):
    """Averages features and positions over a map, weighted by a softmax of one score per cell.

        a[y, x] = exp(scores[y, x]) / sum over all cells of exp(scores)
        pooled[c] = sum_yx a[y, x] * features[y, x, c]
        position = sum_yx a[y, x] * ((y + 1/2) / height, (x + 1/2) / width)

    Unlike a dense layer over all cells, it needs no weights for each place, so that a network recognizes an object wherever
    it is; unlike the mean over all cells, it tells where.

    Shape:
        features: (batch, height, width, channels)
        scores:   (batch, height, width, 1)
        returns:  pooled (batch, channels), and position (batch, 2): y and x from 0 to 1

    Example:
        >>> import numpy as np
        >>> import layers
        >>> features = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)
        >>> scores = np.zeros((1, 2, 4, 1), "float32")
        >>> scores[0, 1, 2] = 100  # all attention to the second row and the third column
        >>> pooled, position = layers.AttentionPooling()(features, scores)
        >>> print(pooled.numpy(), position.numpy())
        [[6.]] [[0.75  0.625]]

    Source: Levine et al., 2016, "End-to-End Training of Deep Visuomotor Policies", section 5.2, the expected position
    under a softmax; Xu et al., 2015, "Show, Attend and Tell", section 4.2, the expected features. What differs: one
    softmax for both, and positions of cell centers from 0 to 1.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True  # no weights

    def call(self, features, scores):
        height, width = ops.shape(features)[1:3]
        dtype = features.dtype
        attention = ops.softmax(ops.reshape(ops.cast(scores, self.variable_dtype), (-1, height * width)), axis=-1)
        attention = ops.reshape(attention, (-1, height, width, 1))
        pooled = ops.sum(attention * ops.cast(features, attention.dtype), axis=(1, 2))
        y, x = (_mean_of_centers(ops.sum(attention, axis=(3 - axis, 3)), size) for axis, size in ((1, height), (2, width)))
        return ops.cast(pooled, dtype), ops.cast(ops.stack([y, x], axis=-1), dtype)

    def compute_output_shape(self, features_shape, scores_shape=None):
        batch, *_, channels = features_shape
        return (batch, channels), (batch, 2)


def _mean_of_centers(shares, size):
    """Returns the mean (batch,) of the positions of `size` cells from 0 to 1, whose weights are `shares` (batch, size)."""
    centers = (ops.arange(size, dtype=shares.dtype) + 0.5) / size
    return ops.sum(shares * centers, axis=-1)
