"""RetinaNet (D8)."""
import math

import keras
from keras import ops

import layers
from training.vision import losses
from training.vision.detection import detector, pyramid


def build_model(config, spec, steps):
    """Returns a compiled RetinaNet for images of config.image_size.

    Raises:
        UserError: the backbone has no map of the stride `min_anchor_stride`.
    """
    model = RetinaNet(
        config.image_size, len(spec.info.class_names), backbone_kind=config.backbone, pyramid_filters=config.pyramid_filters,
        extra_levels=config.extra_levels, min_anchor_stride=config.min_anchor_stride, anchor_scale=config.anchor_scale,
        anchor_octaves=config.anchor_octaves, anchor_ratios=config.anchor_ratios, head_layers=config.head_layers,
        class_loss=config.class_loss, is_compiled=detector.is_compiled(config))
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class RetinaNet(detector.Detector):
    """A one-stage detector: two small convolutional towers classify and refine every anchor of every pyramid level.

        pyramid = FPN(backbone(image)), strides `min_anchor_stride` (8 in the paper) and coarser
        class logits = conv3x3(tower(pyramid[l])),  offsets = conv3x3(other tower(pyramid[l]))
        focal(p) = -alpha_t * (1 - p_t)^gamma * log(p_t),   alpha = 0.25, gamma = 2

        loss = (sum of focal over all anchors and classes + sum of smooth_l1 over matched anchors) / matched anchors

    Anchors with an IoU above 0.5, or the best IoU for an object, are objects, and those below 0.4 are background. The last
    class bias starts at -log((1 - 0.01) / 0.01), so that the many background anchors do not dominate the first steps.

    image_size:        side length of the square images, in pixels
    classes:           number of classes, without the background
    backbone_kind:     "small" or "resnet18", the network below the pyramid
    pyramid_filters:   channels of each level of the pyramid, and of the towers
    extra_levels:      coarser levels in addition to those of the backbone
    min_anchor_stride: stride of the finest level, in pixels; all levels have anchors
    anchor_scale, anchor_octaves, anchor_ratios: side length of a level's smallest anchor in strides, number of sizes per
                       level, and aspect ratios (height / width)
    head_layers:       convolutional layers of each tower before its output layer
    class_loss:        "focal", or "cross_entropy" in its place: alpha_t = 1 and gamma = 0
    is_compiled:       whether the model must avoid operations that XLA does not support

    Example:
        >>> import numpy as np
        >>> from apps.detection.retinanet import RetinaNet
        >>> model = RetinaNet(64, 3, backbone_kind="small", pyramid_filters=16, extra_levels=0, head_layers=1)
        >>> model({"image": np.zeros((2, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([2, 100, 4])

    Source: Lin et al., 2017, "Focal Loss for Dense Object Detection", sections 3 and 4.
    What differs: training from random weights, and therefore batch normalization in backbone, pyramid and towers (per level,
    with shared convolutions); the best anchor of an object is always matched; AdamW (see `detector.optimizer`).
    """

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", pyramid_filters=256, extra_levels=2, min_anchor_stride=8,
                 anchor_scale=4.0, anchor_octaves=3, anchor_ratios=(0.5, 1.0, 2.0), head_layers=4, class_loss="focal",
                 is_compiled=False):
        super().__init__(image_size, classes, ("class", "offsets"), name="retinanet")
        self.backbone, strides = pyramid.build(image_size, backbone_kind, pyramid_filters, extra_levels, min_anchor_stride)
        self.class_loss = class_loss
        self.is_compiled = is_compiled
        anchor_layer = layers.Anchors(strides, pyramid.anchor_sizes(strides, anchor_scale, anchor_octaves), anchor_ratios)
        self.anchors = anchor_layer.of(image_size, image_size)
        per_cell = anchor_octaves * len(anchor_layer.ratios)
        maps = [keras.Input(shape[1:]) for shape in self.backbone.output_shape]
        prior = keras.initializers.Constant(-math.log((1 - 0.01) / 0.01))
        logits = _tower(maps, head_layers, pyramid_filters, per_cell * classes, "class", prior)
        offsets = _tower(maps, head_layers, pyramid_filters, per_cell * 4, "offsets", "zeros")
        flat = [keras.layers.Concatenate(axis=1, dtype="float32", name=name)(
            [keras.layers.Reshape((-1, size))(x) for x in outputs])
            for name, outputs, size in (("class_logits", logits, classes), ("box_offsets", offsets, 4))]
        self.head = keras.Model(maps, flat, name="head")
        self.coder = layers.BoxCoder()
        self.matcher = layers.BoxMatcher(0.5, 0.4, force=True)
        self.built = True

    def losses(self, images, targets, training):
        objects, class_ids = targets["boxes_yxyx"], targets["class_ids"]
        logits, offsets = self.head(self.backbone(images, training=training), training=training)
        anchors = ops.convert_to_tensor(self.anchors)
        matches = self.matcher(anchors, objects, class_ids >= 0, targets["ignore"])
        is_object = ops.cast(matches >= 0, "float32")
        index = ops.maximum(matches, 0)
        labels = ops.where(matches >= 0, ops.take_along_axis(class_ids, index, axis=1), -1)  # -1: all zeros
        labels = ops.one_hot(labels, self.classes, dtype="float32")
        if self.class_loss == "focal":
            class_error = losses.focal(labels, logits)
        else:
            class_error = ops.binary_crossentropy(labels, logits, from_logits=True)
        counted = ops.cast(matches != -2, "float32")
        wanted = self.coder.encode(ops.take_along_axis(objects, index[..., None], axis=1), anchors)
        error = ops.sum(losses.smooth_l1(offsets - ops.where(is_object[..., None] > 0, wanted, 0.0)), axis=-1)
        count = ops.sum(is_object)
        return {"class": detector.share(ops.sum(counted * ops.sum(class_error, axis=-1)), count),
                "offsets": detector.share(ops.sum(is_object * error), count)}

    def class_scores(self, images):
        logits, offsets = self.head(self.backbone(images, training=False), training=False)
        return ops.sigmoid(logits), self.coder(offsets, ops.convert_to_tensor(self.anchors))[:, :, None]

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, filters)."""
        return self.backbone(images, training=False)

    def embed(self, images, boxes_yxyx):
        """Returns averaged features of given boxes: (batch, boxes, 4) in pixels give (batch, boxes, filters)."""
        maps = self.backbone(images, training=False)[0]
        align = layers.RoIAlign(3, (self.image_size // maps.shape[1],), xla=self.is_compiled, dtype=maps.dtype)
        aligned = align(boxes_yxyx, [maps])
        return ops.mean(aligned, axis=(2, 3))

    def matched_anchors(self, boxes_yxyx, class_ids):
        """Returns which of `anchors` are matched to an object in training: (batch, anchors) bool."""
        present = class_ids >= 0
        return self.matcher(ops.convert_to_tensor(self.anchors), boxes_yxyx, present, ops.zeros_like(present)) >= 0


def _tower(maps, convolutions, filters, channels, name, bias):
    """Returns per level the output of several convolutions with `filters` channels and a last one to `channels`."""
    normal = keras.initializers.RandomNormal(stddev=0.01)
    for number in range(convolutions):
        convolution = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False,
                                          kernel_initializer="he_normal", name=f"{name}_convolution{number + 1}")
        maps = [keras.layers.ReLU()(layers.BatchNormalization(name=f"{name}_normalization{number + 1}_{level}")(
            convolution(x))) for level, x in enumerate(maps)]
    last = keras.layers.Conv2D(channels, 3, padding="same", kernel_initializer=normal, bias_initializer=bias,
                               dtype="float32", name=f"{name}_output")
    return [last(x) for x in maps]
