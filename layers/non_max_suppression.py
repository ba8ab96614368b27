"""Greedy non-maximum suppression with a fixed number of results."""
import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class NonMaxSuppression(keras.layers.Layer):
    """Keeps the best boxes, and of those that overlap within a group only the one with the highest score.

        keep box i  unless a kept j of the same group has score[j] > score[i] and iou[i, j] > iou_threshold
        (of equal scores the first counts as higher)

    Groups (classes, pyramid levels) are kept apart by moving each to a place of its own, so that one pass serves all.

    Shape:
        boxes_yxyx: (batch, candidates, 4), pixels
        scores:     (batch, candidates); only those above `score_threshold` are kept
        groups:     (batch, candidates) int32, or None for one group
        returns:    indices (batch, outputs) int32 by falling score, 0 where padded; count (batch,) int32 of real ones

    Raises:
        ValueError: outputs < 1, or an iou_threshold not in [0, 1].

    Source: the greedy procedure of Girshick et al., 2014, "R-CNN", section 2.2; the kernel is TensorFlow's.
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
