"""The regions that a proposal network passes to the second stage."""
import keras
from keras import ops

from layers import boxes
from layers.non_max_suppression import NonMaxSuppression


@keras.saving.register_keras_serializable(package="layers")
class RegionProposals(keras.layers.Layer):
    """Keeps the best boxes of a region proposal network, a fixed number of them.

    1. Of each level, the `candidates` boxes with the highest logits are kept.
    2. They are cut at the image's borders, and boxes with a side under `smallest` are removed.
    3. Of each level, boxes that overlap a better one by more than `iou_threshold` are removed.
    4. Of what is left, the `proposals` boxes with the highest scores are returned, in descending order of score.

    The layer computes in float32 under every global policy, unless `dtype` says otherwise. The boxes have a gradient;
    where proposals are to be taken as given, as in the paper, the caller must stop it.

    Args:
        proposals: number of boxes returned for each image, including padding.
        image_size: height and width of the images in pixels.
        candidates: largest number of boxes of a level that enter the suppression.
        iou_threshold: largest intersection over union of two boxes that are kept, in [0, 1].
        smallest: smallest height and width of a box in pixels.

    Shape:
        boxes_yxyx: list, per level (batch, anchors of the level, 4): ymin, xmin, ymax, xmax in pixels
        logits:     list, per level (batch, anchors of the level); the number of anchors must be known
        returns:    boxes_yxyx (batch, proposals, 4) in pixels, 0 where padded;
                    scores (batch, proposals), the sigmoid of the logits, 0 where padded;
                    valid (batch, proposals) bool, false where padded

    Raises:
        ValueError: `candidates` or `image_size` is not positive, `smallest` is negative, or `NonMaxSuppression` refuses
            `proposals` or `iou_threshold`.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> boxes = np.array([[[0, 0, 20, 20], [0, 1, 20, 21], [50, 50, 80, 70]]], "float32")
        >>> logits = np.array([[0.0, 2.0, -1.0]], "float32")
        >>> proposals, scores, valid = layers.RegionProposals(proposals=3, image_size=(64, 64))([boxes], [logits])
        >>> print(proposals.numpy())  # box 0 overlaps box 1, and box 2 exceeds the image
        [[[ 0.  1. 20. 21.]
          [50. 50. 64. 64.]
          [ 0.  0.  0.  0.]]]
        >>> print(scores.numpy().round(2), valid.numpy())
        [[0.88 0.27 0.  ]] [[ True  True False]]

    Source: Ren et al., 2015, "Faster R-CNN", section 3.1.3. Levels are suppressed separately as in Lin et al., 2017,
    "Feature Pyramid Networks", section 4.1.
    """

    def __init__(self, proposals, image_size, candidates=1000, iou_threshold=0.7, smallest=1.0, **kwargs):
        super().__init__(**{"dtype": "float32"} | kwargs)
        if candidates < 1 or smallest < 0 or min(image_size) <= 0:
            raise ValueError(f"candidates and image_size must be positive and smallest not negative, got {candidates}, "
                             f"{image_size} and {smallest}")
        self.proposals = proposals
        self.image_size = tuple(image_size)
        self.candidates = candidates
        self.iou_threshold = iou_threshold
        self.smallest = smallest
        self.suppression = NonMaxSuppression(proposals, iou_threshold, dtype="float32")
        self.built = True  # no weights

    def call(self, boxes_yxyx, logits):
        kept_boxes, kept_scores, levels = [], [], []
        for level, (level_boxes, level_logits) in enumerate(zip(boxes_yxyx, logits)):
            best, index = ops.top_k(ops.cast(level_logits, "float32"), min(self.candidates, level_logits.shape[1]))
            kept_scores.append(ops.sigmoid(best))
            kept_boxes.append(ops.take_along_axis(level_boxes, index[..., None], axis=1))
            levels.append(ops.full_like(index, level))
        candidates = boxes.clip(ops.concatenate(kept_boxes, axis=1), *self.image_size)
        ymin, xmin, ymax, xmax = ops.unstack(candidates, 4, axis=-1)
        large = ops.logical_and(ymax - ymin >= self.smallest, xmax - xmin >= self.smallest)
        scores = ops.where(large, ops.concatenate(kept_scores, axis=1), -1.0)
        index, count = self.suppression(candidates, scores, ops.concatenate(levels, axis=1))
        valid = ops.arange(self.proposals) < count[:, None]
        chosen = ops.where(valid[..., None], ops.take_along_axis(candidates, index[..., None], axis=1), 0.0)
        return chosen, ops.where(valid, ops.take_along_axis(scores, index, axis=1), 0.0), valid

    def compute_output_shape(self, boxes_yxyx_shape, logits_shape):
        batch = boxes_yxyx_shape[0][0]
        return (batch, self.proposals, 4), (batch, self.proposals), (batch, self.proposals)

    def compute_output_spec(self, boxes_yxyx, logits):
        shapes = self.compute_output_shape([b.shape for b in boxes_yxyx], [x.shape for x in logits])
        return tuple(keras.KerasTensor(s, d) for s, d in zip(shapes, ("float32", "float32", "bool")))

    def get_config(self):
        return super().get_config() | {
            "proposals": self.proposals, "image_size": self.image_size, "candidates": self.candidates,
            "iou_threshold": self.iou_threshold, "smallest": self.smallest}
