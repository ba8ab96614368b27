"""Classification and localization of one object from shared features (D1)."""
import keras
from keras import ops

import layers
from layers import backbones, boxes
from training.errors import UserError
from training.vision.detection import detector
from training.vision.image_model import ImageModel
from training.vision.losses import smooth_l1


def build_model(config, spec, steps):
    """Returns a compiled Localizer for images of config.image_size.

    Raises:
        UserError: the backbone has no map of the stride `stride`.
    """
    model = Localizer(
        config.image_size, len(spec.info.class_names), backbone_kind=config.backbone, stride=config.stride,
        has_box_per_class=config.boxes == "per_class", has_separate_heads=config.head == "separate",
        hidden_units=config.hidden_units, dropout=config.dropout, box_weight=config.box_weight)
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class Localizer(ImageModel):
    """One network predicts the class of an image's object and its box.

        map = backbone(image) at `stride`
        hidden = ReLU(BN(conv3x3(map))),  scores = conv1x1(hidden)              once for both tasks, or once for each
        features, position = AttentionPooling(hidden, scores)
        class logits = dense(features)
        box = (ty, tx, th, tw) = dense(features), decoded by layers.BoxCoder around `position` with sides of `ANCHOR`

        loss = cross-entropy + box_weight * smooth_l1(box - truth, in tenths of the image's side), summed over the four sides

    each a mean over the images with an object. With a box per class, the loss reads the box of the true class only, and the
    prediction is the box of the predicted class.

    image_size:         side length of the square images, in pixels
    classes:            number of classes
    backbone_kind:      "small" or "resnet18"
    stride:             pixels per cell of the map from which class and box are predicted, one of the backbone's
    has_box_per_class:  whether each class has a box of its own, instead of one box for all classes
    has_separate_heads: whether class and box each have their own hidden layer and attention
    hidden_units:       channels of each hidden layer
    dropout:            dropout rate of the pooled features
    box_weight:         weight of the box's loss

    Example:
        >>> import numpy as np
        >>> from apps.localization.localizer import Localizer
        >>> model = Localizer(64, 3, backbone_kind="small", stride=16, has_box_per_class=True)
        >>> found = model({"image": np.zeros((2, 64, 64, 3), "uint8")})
        >>> found["label"].shape, found["boxes_yxyx"].shape
        (TensorShape([2, 3]), TensorShape([2, 3, 4]))

    Source: Sermanet et al., 2014, "OverFeat", section 4, class and box from the same features; Simonyan and Zisserman, 2015,
    "Very Deep Convolutional Networks", appendix A, one box for all classes ("SCR") or one per class ("PCR"); He et al., 2016,
    "Deep Residual Learning", appendix C, a box per class.
    What differs: both tasks are trained together from random weights, not the box after the class; one view of the image
    instead of a merge of many; attention over the cells of the map in place of fully connected layers, because a small
    training set does not have every digit at every place; AdamW (see `detector.optimizer`).
    """

    ANCHOR = 0.25
    """side of the box that is predicted where all offsets are 0, as a fraction of the image's side"""

    def __init__(self, image_size, classes, *, backbone_kind="resnet18", stride=32, has_box_per_class=False,
                 has_separate_heads=False, hidden_units=128, dropout=0.0, box_weight=1.0):
        super().__init__(("class", "box"), name="localizer")
        self.image_size, self.classes, self.box_weight = image_size, classes, box_weight
        self.has_box_per_class = has_box_per_class
        images = keras.Input((image_size, image_size, 3), name="image")
        x = keras.layers.Rescaling(1 / 64, -2.0)(images)  # about zero mean and unit variance for photographs
        maps = {2 ** level: x for level, x in enumerate(_BACKBONES[backbone_kind](x), start=2)}
        if stride not in maps:
            raise UserError(f"--stride {stride} must be a stride of the backbone: {', '.join(map(str, maps))}")
        heads = [_head(maps[stride], name, hidden_units, dropout)
                 for name in (("class", "box") if has_separate_heads else ("shared",))]
        (class_features, _), (box_features, position) = heads[0], heads[-1]
        logits = keras.layers.Dense(classes, dtype="float32", name="label")(class_features)
        count = classes if has_box_per_class else 1
        normal = keras.initializers.RandomNormal(stddev=0.01)
        offsets = keras.layers.Dense(count * 4, kernel_initializer=normal, dtype="float32", name="offsets")(box_features)
        offsets = keras.layers.Reshape((count, 4), dtype="float32")(offsets)
        self.network = keras.Model(images, [logits, offsets, position, class_features], name="network")
        self.coder = layers.BoxCoder()
        self.built = True

    def losses(self, images, targets, training):
        labels, truth = targets["label"], targets["box_yxyx"]
        is_object = ops.cast(labels >= 0, "float32")
        labels = ops.maximum(labels, 0)  # without an object the weight is 0
        logits, boxes_yxyx, _ = self._predicted(images, training)
        entropy = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        box_yxyx = self._box_of(boxes_yxyx, labels)
        error = ops.sum(smooth_l1((box_yxyx - truth) / (self.image_size / 10)), axis=-1)
        count = ops.sum(is_object)
        return {"class": detector.share(ops.sum(is_object * entropy), count),
                "box": self.box_weight * detector.share(ops.sum(is_object * error), count)}

    def call(self, inputs, training=False):
        logits, boxes_yxyx, _ = self._predicted(inputs["image"], training)
        return {"label": logits, "boxes_yxyx": boxes_yxyx}

    def locate(self, images):
        """Returns the predictions for a batch, with the box of the most probable class.

        Shape:
            images:  (batch, image_size, image_size, 3), RGB from 0 to 255
            returns: log_probabilities (batch, classes), box_yxyx (batch, 4) in pixels of these images and clipped to them
        """
        logits, boxes_yxyx, _ = self._predicted(images, training=False)
        box_yxyx = boxes.clip(self._box_of(boxes_yxyx, ops.argmax(logits, axis=-1)), self.image_size, self.image_size)
        return {"log_probabilities": ops.log_softmax(logits, axis=-1), "box_yxyx": box_yxyx}

    def embed(self, images):
        """Returns the features of which the class logits are an affine function, (batch, hidden_units) float32."""
        return self._predicted(images, training=False)[2]

    def _predicted(self, images, training):
        """Returns logits (batch, classes), boxes (batch, 1 or classes, 4) in pixels, and features (batch, hidden_units)."""
        logits, offsets, position, features = self.network(images, training=training)
        centers, half = position * self.image_size, self.ANCHOR * self.image_size / 2
        around = ops.concatenate([centers - half, centers + half], axis=-1)[:, None]  # (batch, 1, 4)
        return logits, self.coder(offsets, around), features

    def _box_of(self, boxes_yxyx, class_ids):
        """Returns the boxes (batch, 4) of these classes (batch,)."""
        if not self.has_box_per_class:
            return boxes_yxyx[:, 0]
        return ops.take_along_axis(boxes_yxyx, class_ids[:, None, None], axis=1)[:, 0]


_BACKBONES = {"small": backbones.small_resnet, "resnet18": backbones.resnet18}


def _head(x, name, units, dropout):
    """Returns the pooled features (batch, units) and the position (batch, 2) of a hidden layer with attention."""
    x = keras.layers.Conv2D(units, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_hidden")(x)
    x = keras.layers.ReLU()(layers.BatchNormalization(name=f"{name}_hidden_normalization")(x))
    scores = keras.layers.Conv2D(1, 1, dtype="float32", name=f"{name}_attention")(x)
    features, position = layers.AttentionPooling(dtype="float32", name=f"{name}_pooling")(x, scores)
    return keras.layers.Dropout(dropout, dtype="float32", name=f"{name}_dropout")(features), position
