"""Common parts of the systems: a training step over named losses, and detections of a fixed shape."""
from keras import ops

import layers
from layers import boxes
from training.engine import optimizers, strategies
from training.engine.subclasses import must_define
from training.vision.detection.settings import MAX_DETECTIONS
from training.vision.image_model import ImageModel


class Detector(ImageModel):
    """A detector of `classes` classes in images of image_size x image_size pixels.

    A system defines `losses`, `class_scores` and `pyramid_features`. The optional methods `propose`, `embed` and
    `matched_anchors` return None by default.

    image_size:      side length of the square images, in pixels
    classes:         number of classes, without the background
    loss_names:      keys of the result of `losses`
    score_threshold: detections with a lower score are dropped
    candidates:      number of best scores per image that enter non-maximum suppression
    iou_threshold:   of two detections of one class with a larger overlap, only the better one is kept
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        must_define(cls, Detector, "losses", "class_scores", "pyramid_features")

    def __init__(self, image_size, classes, loss_names, score_threshold=0.05, candidates=400, iou_threshold=0.5, **kwargs):
        super().__init__(loss_names, **kwargs)
        self.image_size = image_size
        self.classes = classes
        self.score_threshold = score_threshold
        self.candidates = candidates
        self.suppression = layers.NonMaxSuppression(MAX_DETECTIONS, iou_threshold, score_threshold, dtype="float32")

    def class_scores(self, images):
        """Returns the scores (batch, candidates, classes) and boxes_yxyx (batch, candidates, 1 or classes, 4)."""

    def propose(self, images):
        """Returns regions boxes_yxyx (batch, regions, 4) and scores (batch, regions), or None if the system proposes no
        regions."""
        return None

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, filters); the signature `embed` needs them."""

    def embed(self, images, boxes_yxyx):
        """Returns features of given boxes (batch, boxes, features), or None if boxes have no features."""
        return None

    def matched_anchors(self, boxes_yxyx, class_ids):
        """Returns which of `anchors` are matched to an object in training, (batch, anchors) bool, or None to show no
        anchors."""
        return None

    def call(self, inputs, training=False):
        return self.detect(inputs["image"])

    def detect(self, images):
        """Returns the detections of a batch, best first.

        Shape:
            images:  (batch, image_size, image_size, 3), RGB from 0 to 255
            returns: boxes_yxyx (batch, 100, 4) in pixels of these images, scores (batch, 100), class_ids (batch, 100)
                     int32, -1 where padded, count (batch,) int32
        """
        scores, boxes_yxyx = self.class_scores(images)
        return self.select(scores, boxes_yxyx)

    def select(self, scores, boxes_yxyx):
        """Returns the result of `detect` from candidates: scores (batch, places, classes), boxes (batch, places, 1 or classes,
        4)."""
        places, classes = scores.shape[1:]
        best, index = ops.top_k(ops.reshape(scores, (-1, places * classes)), min(self.candidates, places * classes))
        class_ids = index % classes
        if boxes_yxyx.shape[2] == 1:
            chosen = ops.take_along_axis(boxes_yxyx[:, :, 0], (index // classes)[..., None], axis=1)
        else:
            chosen = ops.take_along_axis(ops.reshape(boxes_yxyx, (-1, places * classes, 4)), index[..., None], axis=1)
        chosen = boxes.clip(chosen, self.image_size, self.image_size)
        kept, count = self.suppression(chosen, best, class_ids)
        valid = ops.arange(MAX_DETECTIONS) < count[:, None]
        return {
            "boxes_yxyx": ops.where(valid[..., None], ops.take_along_axis(chosen, kept[..., None], axis=1), 0.0),
            "scores": ops.where(valid, ops.take_along_axis(best, kept, axis=1), 0.0),
            "class_ids": ops.cast(ops.where(valid, ops.take_along_axis(class_ids, kept, axis=1), -1), "int32"),
            "count": count,
        }


def is_compiled(config):
    """Returns whether the training step must avoid operations that XLA does not support."""
    return config.xla or config.strategy == "tpu"


def share(total, count):
    """Returns this replica's part of a mean: its total divided by the count over all replicas."""
    return total / ops.maximum(strategies.global_sum(count), 1.0)


def optimizer(config, steps):
    """Returns AdamW with linear warmup and cosine decay to 0 over `steps`.

    The papers use SGD with momentum, a pretrained network and long schedules; AdamW is better for short trainings from random
    weights.
    """
    return optimizers.make("adam", optimizers.warmup_cosine(config.learning_rate, steps), weight_decay=config.weight_decay)
