"""Greedy non-maximum suppression with a fixed number of results."""
import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class NonMaxSuppression(keras.layers.Layer):
    """Keeps the boxes with the highest scores, but none that overlaps a better one of its group too much.

        box i is kept if score[i] > score_threshold, unless a kept box j of the same group has
        score[j] > score[i] and iou[i, j] > iou_threshold                  (of equal scores the first counts as higher)

    At most `outputs` boxes are kept, those with the highest scores. Groups are classes or pyramid levels, for example;
    each is shifted to a region of its own, so that one pass handles all. The layer computes in float32 under every
    global policy, unless `dtype` says otherwise.

    Args:
        outputs: number of results, including padding.
        iou_threshold: largest intersection over union of two kept boxes of a group.
        score_threshold: boxes with this score or a lower one are never kept.

    Shape:
        boxes_yxyx: (batch, candidates, 4): ymin, xmin, ymax, xmax in pixels; the number of candidates must be known
        scores:     (batch, candidates)
        groups:     (batch, candidates) int32, or None for a single group
        returns:    indices (batch, outputs) int32 in descending order of score, 0 where padded, and
                    count (batch,) int32, the number of indices that are not padding

    Raises:
        ValueError: `outputs` is below 1, or `iou_threshold` is not in [0, 1].

    Example:
        >>> import numpy as np
        >>> import layers
        >>> boxes = np.array([[[0, 0, 10, 10], [0, 1, 10, 11], [20, 20, 30, 30]]], "float32")
        >>> scores = np.array([[0.7, 0.9, 0.8]], "float32")
        >>> indices, count = layers.NonMaxSuppression(outputs=3)(boxes, scores)  # box 0 overlaps box 1
        >>> print(indices.numpy(), count.numpy())
        [[1 2 0]] [2]

    Source: the greedy procedure of Girshick et al., 2014, "Rich Feature Hierarchies", section 2.2; TensorFlow's kernel.
    """

    def __init__(self, outputs, iou_threshold=0.5, score_threshold=0.0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if outputs < 1:
            raise ValueError(f"outputs must be at least 1, got {outputs}")
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"iou_threshold must be in [0, 1], got {iou_threshold}")
        self.outputs = outputs
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold
        self.built = True  # no weights

    def call(self, boxes_yxyx, scores, groups=None):
        if groups is not None:
            span = ops.max(boxes_yxyx, axis=(1, 2), keepdims=True) - ops.min(boxes_yxyx, axis=(1, 2), keepdims=True) + 1
            boxes_yxyx = boxes_yxyx + ops.cast(groups, boxes_yxyx.dtype)[..., None] * span
        missing = max(0, self.outputs - boxes_yxyx.shape[1])  # XLA's kernel wants at least as many candidates as outputs
        boxes_yxyx = ops.pad(boxes_yxyx, ((0, 0), (0, missing), (0, 0)))
        scores = ops.pad(scores, ((0, 0), (0, missing)), constant_values=float("-inf"))

        def one(row):
            return tuple(tf.raw_ops.NonMaxSuppressionV4(
                boxes=row[0], scores=row[1], max_output_size=self.outputs, iou_threshold=self.iou_threshold,
                score_threshold=self.score_threshold, pad_to_max_output_size=True))

        indices, count = tf.map_fn(one, (boxes_yxyx, scores), fn_output_signature=(tf.int32, tf.int32))
        indices = tf.ensure_shape(indices, (None, self.outputs))
        return ops.where(ops.arange(self.outputs) < count[:, None], indices, 0), count

    def compute_output_shape(self, boxes_yxyx_shape, scores_shape, groups_shape=None):
        return (boxes_yxyx_shape[0], self.outputs), (boxes_yxyx_shape[0],)

    def compute_output_spec(self, boxes_yxyx, scores, groups=None):
        return tuple(keras.KerasTensor(s, "int32") for s in self.compute_output_shape(boxes_yxyx.shape, scores.shape))

    def get_config(self):
        return super().get_config() | {
            "outputs": self.outputs, "iou_threshold": self.iou_threshold, "score_threshold": self.score_threshold}
