"""RetinaNet (D8)."""
import math

import keras
from keras import ops

import layers
from apps.detection import detector, trunk

MONITOR = ("ap", "max")


def build_model(config, spec):
    """Returns a compiled RetinaNet for images of config.image_size.

    Raises:
        UserError: the backbone has no map of the stride `finest_anchors`.
    """
    model = RetinaNet(config, len(spec.info["class_names"]))
    model.compile(optimizer=detector.optimizer(config, spec.info["steps"]))
    return model


class RetinaNet(detector.Detector):
    """One stage: every anchor of every pyramid level is classified and refined by two small convolutional towers.

        pyramid = FPN(backbone(image)), strides `finest_anchors` (8 in the paper) and coarser
        class logits = conv3x3(tower(pyramid[l])),  offsets = conv3x3(other tower(pyramid[l]))
        focal(p) = -alpha_t * (1 - p_t)^gamma * log(p_t),   alpha = 0.25, gamma = 2

        loss = (sum of focal over all anchors and classes + sum of smooth_l1 over matched anchors) / matched anchors

    Anchors above IoU 0.5 (or best for an object) are objects, below 0.4 background. The last class bias starts at
    -log((1 - 0.01) / 0.01), so that the many background anchors do not drown the first steps.

    Source: Lin et al., 2017, "Focal Loss for Dense Object Detection", sections 3 and 4.
    What differs: from random weights, so with batch normalisation in backbone, pyramid and towers (per level, the
    convolutions shared); the best anchor of an object is always matched; AdamW (see `detector.optimizer`).
    """

    def __init__(self, config, classes):
        super().__init__(config.image_size, classes, ("class", "offsets"), name="retinanet")
        self.trunk, strides = trunk.build(config, finest=config.finest_anchors)
        self.is_compiled = detector.is_compiled(config)
        anchor_layer = layers.Anchors(strides, trunk.anchor_sizes(config, strides), config.anchor_ratios)
        self.anchors = anchor_layer.of(config.image_size, config.image_size)
        per_cell = config.anchor_octaves * len(anchor_layer.ratios)
        maps = [keras.Input(shape[1:]) for shape in self.trunk.output_shape]
        prior = keras.initializers.Constant(-math.log((1 - 0.01) / 0.01))
        logits = _tower(maps, config, per_cell * classes, "class", prior)
        offsets = _tower(maps, config, per_cell * 4, "offsets", "zeros")
        flat = [keras.layers.Concatenate(axis=1, dtype="float32", name=name)(
            [keras.layers.Reshape((-1, size))(x) for x in outputs])
            for name, outputs, size in (("class_logits", logits, classes), ("box_offsets", offsets, 4))]
        self.head = keras.Model(maps, flat, name="head")
        self.coder = layers.BoxCoder()
        self.matcher = layers.BoxMatcher(0.5, 0.4, force=True)
        self.built = True

    def losses(self, images, targets, training):
        objects, class_ids = targets["boxes_yxyx"], targets["class_ids"]
        logits, offsets = self.head(self.trunk(images, training=training), training=training)
        anchors = ops.convert_to_tensor(self.anchors)
        matches = self.matcher(anchors, objects, class_ids >= 0, targets["ignore"])
        is_object = ops.cast(matches >= 0, "float32")
        index = ops.maximum(matches, 0)
        labels = ops.where(matches >= 0, ops.take_along_axis(class_ids, index, axis=1), -1)  # -1: all zeros
        focal = focal_loss(ops.one_hot(labels, self.classes, dtype="float32"), logits)
        counted = ops.cast(matches != -2, "float32")
        wanted = self.coder.encode(ops.take_along_axis(objects, index[..., None], axis=1), anchors)
        error = ops.sum(detector.smooth_l1(offsets - ops.where(is_object[..., None] > 0, wanted, 0.0)), axis=-1)
        count = ops.sum(is_object)
        return {"class": detector.share(ops.sum(counted * ops.sum(focal, axis=-1)), count),
                "offsets": detector.share(ops.sum(is_object * error), count)}

    def class_scores(self, images):
        logits, offsets = self.head(self.trunk(images, training=False), training=False)
        return ops.sigmoid(logits), self.coder(offsets, ops.convert_to_tensor(self.anchors))[:, :, None]

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, filters)."""
        return self.trunk(images, training=False)

    def embed(self, images, boxes_yxyx):
        """Returns averaged features of given boxes: (batch, boxes, 4) in pixels give (batch, boxes, filters)."""
        maps = self.trunk(images, training=False)[0]
        align = layers.RoIAlign(3, (self.image_size // maps.shape[1],), xla=self.is_compiled, dtype=maps.dtype)
        aligned = align(boxes_yxyx, [maps])
        return ops.mean(aligned, axis=(2, 3))

    def matched_anchors(self, boxes_yxyx, class_ids):
        """Returns which of `anchors` stand for an object in training: (batch, anchors) bool."""
        present = class_ids >= 0
        return self.matcher(ops.convert_to_tensor(self.anchors), boxes_yxyx, present, ops.zeros_like(present)) >= 0


def focal_loss(labels, logits, alpha=0.25, gamma=2.0):
    """Returns the focal loss elementwise; labels are 0 or 1. Source: Lin et al., 2017, eq. 5."""
    entropy = ops.binary_crossentropy(labels, logits, from_logits=True)
    probability = ops.sigmoid(logits)
    of_truth = labels * probability + (1 - labels) * (1 - probability)
    weight = labels * alpha + (1 - labels) * (1 - alpha)
    return weight * (1 - of_truth) ** gamma * entropy


def _tower(maps, config, channels, name, bias):
    """Returns per level the output of `head_layers` convolutions and a last one to `channels`."""
    normal = keras.initializers.RandomNormal(stddev=0.01)
    for number in range(config.head_layers):
        convolution = keras.layers.Conv2D(config.pyramid_filters, 3, padding="same", use_bias=False,
                                          kernel_initializer="he_normal", name=f"{name}_convolution{number + 1}")
        maps = [keras.layers.ReLU()(layers.BatchNormalization(name=f"{name}_normalization{number + 1}_{level}")(
            convolution(x))) for level, x in enumerate(maps)]
    last = keras.layers.Conv2D(channels, 3, padding="same", kernel_initializer=normal, bias_initializer=bias,
                               dtype="float32", name=f"{name}_output")
    return [last(x) for x in maps]
