"""SSD (D7)."""
import keras
from keras import ops

import layers
from training.errors import UserError
from training.vision import losses
from training.vision.detection import detector, pyramid


def build_model(config, spec, steps):
    """Returns a compiled SSD for images of config.image_size.

    Raises:
        UserError: the backbone has no map of the stride `finest_stride`, there are too many extra maps, or the scales do not
            increase.
    """
    model = SSD(
        config.image_size, len(spec.info.class_names), backbone_kind=config.backbone, finest_stride=config.finest_stride,
        extra_maps=config.extra_maps, extra_filters=config.extra_filters, min_scale=config.min_scale, max_scale=config.max_scale,
        anchor_ratios=config.anchor_ratios, is_compiled=detector.is_compiled(config))
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class SSD(detector.Detector):
    """A one-stage detector: a convolution at each of several feature maps classifies and refines that map's default boxes.

        maps = those of the backbone from stride `finest_stride` on, and `extra_maps` more, each at half the resolution
        class logits, offsets = conv3x3(maps[k]), other conv3x3(maps[k])

        map k of m has default boxes of the scale s_k = min_scale + (max_scale - min_scale) * (k - 1) / (m - 1), as a fraction
        of the image's side, one for each aspect ratio, and a square of the scale sqrt(s_k * s_(k+1))

        loss = (sum of softmax cross-entropy over matched and mined boxes + sum of smooth_l1 over matched boxes) / matched boxes

    Default boxes with an IoU of 0.5 or more with an object, or the best IoU for an object, are matched; all others are
    background, of which the three of largest cross-entropy are mined for each matched box of an image.

    image_size:           side length of the square images, in pixels
    classes:              number of classes, without the background
    backbone_kind:        "small" or "resnet18"
    finest_stride:        stride in pixels of the finest map with default boxes
    extra_maps:           number of maps that follow those of the backbone
    extra_filters:        channels of each of them
    min_scale, max_scale: scales of the first and the last map; the scale after the last one continues the series
    anchor_ratios:        aspect ratios (height / width)
    is_compiled:          whether the model must avoid operations that XLA does not support

    Example:
        >>> import numpy as np
        >>> from apps.detection.ssd import SSD
        >>> model = SSD(64, 3, backbone_kind="small", extra_maps=1, extra_filters=16)
        >>> model({"image": np.zeros((2, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([2, 100, 4])

    Source: Liu et al., 2016, "SSD: Single Shot MultiBox Detector", section 2.
    What differs: training from random weights with a ResNet as the backbone, and batch normalization in the additional layers;
    because of it the maps have similar magnitudes, so the finest one needs no L2 normalization with a learned scale; every map
    has the same aspect ratios, and the first one's scale is no exception; all ties for the best default box are matched; AdamW
    (see `detector.optimizer`); the non-maximum suppression is that of all detectors here, at IoU 0.5 instead of 0.45.
    """

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", finest_stride=8, extra_maps=4, extra_filters=256,
                 min_scale=0.1, max_scale=0.9, anchor_ratios=(1.0, 2.0, 0.5, 3.0, 1 / 3), is_compiled=False):
        super().__init__(image_size, classes, ("class", "offsets"), name="ssd")
        images = keras.Input((image_size, image_size, 3), name="image")
        maps = pyramid.KINDS[backbone_kind](keras.layers.Rescaling(1 / 64, -2.0)(images))
        strides = [4 * 2 ** level for level in range(len(maps))]
        if finest_stride not in strides:
            raise UserError(
                f"--finest-stride {finest_stride} must be a stride of the backbone: {', '.join(map(str, strides))}")
        most = (-(-image_size // strides[-1]) - 1).bit_length()  # halvings until the map has one cell
        if extra_maps > most:
            raise UserError(f"--extra-maps {extra_maps} must be at most {most} at --image-size {image_size}: a map of one cell "
                            "cannot be halved")
        maps = maps[strides.index(finest_stride):]
        for number in range(1, extra_maps + 1):
            maps.append(_half(maps[-1], extra_filters, f"extra{number}"))
        strides = tuple(finest_stride * 2 ** level for level in range(len(maps)))
        scales = default_scales(len(maps), min_scale, max_scale)
        anchor_layer = layers.Anchors(
            strides, [(scale * image_size,) for scale in scales[:-1]], anchor_ratios,
            square_sizes=[((low * high) ** 0.5 * image_size,) for low, high in zip(scales, scales[1:])])
        self.anchors = anchor_layer.of(image_size, image_size)
        per_cell = len(anchor_ratios) + 1
        flat = [keras.layers.Concatenate(axis=1, dtype="float32", name=name)([
            keras.layers.Reshape((-1, size))(keras.layers.Conv2D(
                per_cell * size, 3, padding="same", dtype="float32", name=f"{name}_{stride}")(x))
            for stride, x in zip(strides, maps)]) for name, size in (("class_logits", classes + 1), ("box_offsets", 4))]
        self.backbone = keras.Model(images, maps, name="backbone")
        self.network = keras.Model(images, flat, name="network")
        self.is_compiled = is_compiled
        self.coder = layers.BoxCoder((10.0, 10.0, 5.0, 5.0))  # variances of 0.1 and 0.2 in the authors' code
        self.matcher = layers.BoxMatcher(0.5, 0.5, force=True)
        self.mining = layers.HardNegativeMining(3)
        self.built = True

    def losses(self, images, targets, training):
        objects, class_ids = targets["boxes_yxyx"], targets["class_ids"]
        logits, offsets = self.network(images, training=training)
        anchors = ops.convert_to_tensor(self.anchors)
        matches = self.matcher(anchors, objects, class_ids >= 0, targets["ignore"])
        is_object = ops.cast(matches >= 0, "float32")
        index = ops.maximum(matches, 0)
        labels = ops.where(matches >= 0, ops.take_along_axis(class_ids, index, axis=1), self.classes)
        entropy = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        wanted = self.coder.encode(ops.take_along_axis(objects, index[..., None], axis=1), anchors)
        difference = offsets - ops.where(is_object[..., None] > 0, wanted, 0.0)
        error = ops.sum(losses.smooth_l1(difference, beta=1.0), axis=-1)
        count = ops.sum(is_object)
        return {"class": detector.share(ops.sum(self.mining(entropy, matches) * entropy), count),
                "offsets": detector.share(ops.sum(is_object * error), count)}

    def class_scores(self, images):
        logits, offsets = self.network(images, training=False)
        return ops.softmax(logits)[..., :-1], self.coder(offsets, ops.convert_to_tensor(self.anchors))[:, :, None]

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, channels)."""
        return self.backbone(images, training=False)

    def embed(self, images, boxes_yxyx):
        """Returns averaged features of the finest map in given boxes: (batch, boxes, 4) in pixels give (batch, boxes,
        channels)."""
        maps = self.backbone(images, training=False)[0]
        align = layers.RoIAlign(3, (self.image_size // maps.shape[1],), xla=self.is_compiled, dtype=maps.dtype)
        return ops.mean(align(boxes_yxyx, [maps]), axis=(2, 3))

    def matched_anchors(self, boxes_yxyx, class_ids):
        """Returns which of `anchors` are matched to an object in training: (batch, anchors) bool."""
        present = class_ids >= 0
        return self.matcher(ops.convert_to_tensor(self.anchors), boxes_yxyx, present, ops.zeros_like(present)) >= 0


def default_scales(maps, min_scale, max_scale):
    """Returns the scales of the default boxes by eq. 4 of the paper, a list of one for each map and the one that would follow.

    >>> from apps.detection.ssd import default_scales
    >>> [round(scale, 2) for scale in default_scales(6, 0.2, 0.9)]
    [0.2, 0.34, 0.48, 0.62, 0.76, 0.9, 1.04]

    Raises:
        UserError: max_scale is not above min_scale.
    """
    if max_scale <= min_scale:
        raise UserError(f"--max-scale {max_scale} must be above --min-scale {min_scale}")
    step = (max_scale - min_scale) / max(1, maps - 1)
    return [min_scale + step * number for number in range(maps + 1)]


def _half(x, filters, name):
    """Returns a map of half the resolution: a 1x1 convolution to half of the channels, and a 3x3 one with a stride of 2."""
    for size, strides, channels in ((1, 1, max(1, filters // 2)), (3, 2, filters)):
        x = keras.layers.Conv2D(channels, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal",
                                name=f"{name}_convolution{size}")(x)
        x = keras.layers.ReLU()(layers.BatchNormalization(name=f"{name}_normalization{size}")(x))
    return x
