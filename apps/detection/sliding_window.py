"""A sliding-window detector (D2)."""
import keras
import numpy as np
import tensorflow as tf
from keras import ops

import layers
from layers import backbones
from training.vision.detection import detector

SIDE = 16
"""side of a window in pixels of the resized image"""
STRIDE = 4
"""pixels of the resized image from one window to the next"""


def build_model(config, spec, steps):
    """Returns a compiled SlidingWindow for images of config.image_size."""
    model = SlidingWindow(
        config.image_size, len(spec.info.class_names), filters=config.filters, window_heights=config.window_heights,
        window_ratios=config.window_ratios)
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class SlidingWindow(detector.Detector):
    """One classifier looks at windows of all positions, scales and shapes; a detection is a window that it does not reject.

        resized[h, r] = image resized by SIDE / h in height and SIDE * r / h in width     for each height h and ratio r
        class logits = dense(ReLU(conv4x4(features(resized[h, r]))))                      at each place, with stride STRIDE
        box = the window

    So the classifier always sees a window of SIDE x SIDE pixels, whatever part of the image it shows. It is computed as a
    convolution: neighboring windows share nearly all of their features. Windows with an IoU of 0.5 or more are objects, those
    below 0.4 background. The loss is the mean cross-entropy of the objects and, in each image, of the most difficult
    background windows: three times as many, and at least `LEAST_BACKGROUND`.

    image_size:     side length of the square images, in pixels
    classes:        number of classes, without the background
    filters:        channels of the classifier's convolutions; the first ones have half
    window_heights: heights of the windows, in pixels
    window_ratios:  shapes of the windows, height / width

    Example:
        >>> import numpy as np
        >>> from apps.detection.sliding_window import SlidingWindow
        >>> model = SlidingWindow(64, 3, filters=16, window_heights=(16, 32), window_ratios=(1.0, 2.0))
        >>> model({"image": np.zeros((2, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([2, 100, 4])

    Source: Sermanet et al., 2013, "OverFeat: Integrated Recognition, Localization and Detection using Convolutional Networks",
    sections 3.3 and 5.
    What differs: there is no regression of boxes, which makes this the baseline for regions and refined boxes; windows have
    several shapes; one non-maximum suppression instead of the greedy merging of boxes; batch normalization; AdamW (see
    `detector.optimizer`).
    """

    LEAST_BACKGROUND = 24
    """background windows of an image that are trained, also without an object"""

    def __init__(self, image_size, classes, *, filters=128, window_heights=(32, 64, 128, 256), window_ratios=(0.5, 1.0, 2.0)):
        super().__init__(image_size, classes, ("class",), iou_threshold=0.3, name="sliding_window")
        self.sizes, windows = [], []
        for height in window_heights:
            for ratio in window_ratios:
                resized = [max(SIDE, round(image_size * SIDE * factor / height)) for factor in (1, ratio)]
                self.sizes.append(tuple(resized))
                windows.append(_windows(image_size, resized))
        self.windows = np.concatenate(windows).astype("float32")  # (windows, 4)
        images = keras.Input((None, None, 3), name="image")
        x = keras.layers.Rescaling(1 / 64, -2.0)(images)  # about zero mean and unit variance for photographs
        parts = backbones.ReLUBlocks()
        for number, (channels, strides) in enumerate([(filters // 2, 2), (filters // 2, 1), (filters, 2), (filters, 1)], start=1):
            x = parts.convolution(x, channels, 3, strides, f"convolution{number}")
        self.features = keras.Model(images, x, name="features")
        x = keras.layers.Conv2D(2 * filters, SIDE // STRIDE, use_bias=False, kernel_initializer="he_normal", name="window")(x)
        x = keras.layers.ReLU()(layers.BatchNormalization(name="window_normalization")(x))
        logits = keras.layers.Conv2D(classes + 1, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                                     dtype="float32", name="class_logits")(x)
        self.classifier = keras.Model(images, logits, name="classifier")
        self.matcher = layers.BoxMatcher(0.5, 0.4)
        self.mining = layers.HardNegativeMining(3, self.LEAST_BACKGROUND)
        self.built = True

    def losses(self, images, targets, training):
        class_ids = targets["class_ids"]
        matches = self.matcher(ops.convert_to_tensor(self.windows), targets["boxes_yxyx"], class_ids >= 0, targets["ignore"])
        labels = ops.where(matches >= 0, ops.take_along_axis(class_ids, ops.maximum(matches, 0), axis=1), self.classes)
        entropy = ops.sparse_categorical_crossentropy(labels, self._logits(images, training), from_logits=True)
        weights = self.mining(entropy, matches)
        return {"class": detector.share(ops.sum(weights * entropy), ops.sum(weights))}

    def class_scores(self, images):
        scores = ops.softmax(self._logits(images, training=False), axis=-1)[..., :-1]
        windows = ops.convert_to_tensor(self.windows)[None, :, None]
        return scores, ops.broadcast_to(windows, (ops.shape(images)[0], *windows.shape[1:]))

    def pyramid_features(self, images):
        """Returns the features of each resized image, each (batch, height, width, filters)."""
        return [self.features(resized, training=False) for resized in self._resized(images)]

    def matched_anchors(self, boxes_yxyx, class_ids):
        """Returns which of `anchors` are matched to an object in training: (batch, anchors) bool."""
        present = class_ids >= 0
        return self.matcher(ops.convert_to_tensor(self.windows), boxes_yxyx, present, ops.zeros_like(present)) >= 0

    @property
    def anchors(self):
        """The windows, (windows, 4) in pixels."""
        return self.windows

    def _logits(self, images, training):
        """Returns the class logits of all windows, (batch, windows, classes + 1)."""
        logits = [self.classifier(resized, training=training) for resized in self._resized(images)]
        return ops.concatenate([ops.reshape(level, (-1, level.shape[1] * level.shape[2], self.classes + 1)) for level in logits],
                               axis=1)

    def _resized(self, images):
        images = ops.cast(images, "float32")
        # the filter that averages when an image gets smaller does not compile under XLA as an operation, but as two products
        return [tf.einsum("yh,bhwc,xw->byxc", _resizing(self.image_size, height), images, _resizing(self.image_size, width))
                for height, width in self.sizes]


def _windows(image_size, resized):
    """Returns the boxes of the windows in an image that is resized to (height, width), row by row: (windows, 4) in pixels."""
    corners = [np.arange((-(-side // STRIDE)) - SIDE // STRIDE + 1) * STRIDE for side in resized]
    y, x = (grid.ravel() for grid in np.meshgrid(*corners, indexing="ij"))
    factors = image_size / np.array(resized * 2)
    return np.stack([y, x, y + SIDE, x + SIDE], axis=-1) * factors


def _resizing(side, new_side):
    """Returns the matrix (new_side, side) that resizes one side by linear interpolation, as wide as a step when it shrinks."""
    scale = side / new_side
    centers = (np.arange(new_side) + 0.5) * scale - 0.5
    weights = np.maximum(1 - np.abs(centers[:, None] - np.arange(side)) / max(scale, 1.0), 0)
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")
