"""Mask R-CNN: Faster R-CNN with a mask for each detection (S4)."""
import keras
import tensorflow as tf
from keras import ops

import layers
from training.vision.detection import detector, faster_rcnn

MASK_SIDE = 28
"""side length of the predicted masks"""


class MaskRCNN(faster_rcnn.FasterRCNN):
    """Faster R-CNN with a second head, which predicts for each region a mask of every class.

        features = RoIAlign 14x14(pyramid, regions)
        hidden = ReLU(conv3x3(…))                                         `mask_layers` times
        mask logits = conv1x1(ReLU(transposed conv2x2(hidden)))           28x28 for each class

        loss = that of Faster R-CNN + mean over the object regions of BCE(mask of the true class, true mask within the region)

    The masks of the other classes have no part in the loss, so that classes do not compete for pixels. The true mask is cut to
    the region at 28x28. At inference, the mask of the detected class is computed for the detected boxes only.

    mask_layers:  convolutional layers of the mask head before its transposed convolution
    mask_filters: channels of each of them
    detector:     arguments of `FasterRCNN`

    `losses` needs two more targets: "masks" uint8 (batch, objects, side, side), 0 to 255, and "mask_frames_yxyx" (batch, objects,
    4), the rectangle in pixels that each mask fills. An object whose frame is 0 has no mask and takes no part in the mask loss.

    Example:
        >>> import numpy as np
        >>> from training.vision.detection.mask_rcnn import MaskRCNN
        >>> model = MaskRCNN(64, 3, mask_layers=1, mask_filters=16, backbone_kind="small", pyramid_filters=16, extra_levels=0,
        ...                  min_anchor_stride=8, anchor_scale=2.0, proposals=20, region_levels=1, head_units=32)
        >>> found = model({"image": np.zeros((2, 64, 64, 3), "uint8")})
        >>> found["boxes_yxyx"].shape, found["masks"].shape
        (TensorShape([2, 100, 4]), TensorShape([2, 100, 28, 28]))

    Source: He et al., 2017, "Mask R-CNN", sections 3 and 3.1, and figure 4 (right).
    What differs: all that differs in `FasterRCNN`; true masks are stored at 56x56 before they are cut to a region.
    """

    LOSSES = (*faster_rcnn.FasterRCNN.LOSSES, "mask")

    def __init__(self, image_size, classes, *, mask_layers=4, mask_filters=256, name="mask_rcnn", **detector):
        super().__init__(image_size, classes, name=name, **detector)
        self.mask_align = layers.RoIAlign(
            MASK_SIDE // 2, self.align.strides, canonical_size=self.align.canonical_size, xla=self.align.xla, name="mask_align")
        regions = keras.Input((MASK_SIDE // 2, MASK_SIDE // 2, self.backbone.output_shape[0][-1]))
        x = regions
        for number in range(mask_layers):
            x = keras.layers.Conv2D(mask_filters, 3, padding="same", activation="relu", kernel_initializer="he_normal",
                                    name=f"mask_convolution{number + 1}")(x)
        x = keras.layers.Conv2DTranspose(mask_filters, 2, strides=2, activation="relu", kernel_initializer="he_normal",
                                         name="mask_upsampling")(x)
        logits = keras.layers.Conv2D(classes, 1, dtype="float32", name="mask_logits")(x)
        self.mask_head = keras.Model(regions, logits, name="mask_head")
        self.mask_crop = layers.MaskCrop(MASK_SIDE, dtype="float32")
        self.built = True

    def region_losses(self, pyramid, regions, matches, weights, targets, training):
        losses = super().region_losses(pyramid, regions, matches, weights, targets, training)
        most = self.region_sampler.positives  # the regions with objects come first
        regions, index = regions[:, :most], ops.maximum(matches[:, :most], 0)
        frames_yxyx = ops.take_along_axis(targets["mask_frames_yxyx"], index[..., None], axis=1)
        has_mask = ops.all(frames_yxyx[..., 2:] > frames_yxyx[..., :2], axis=-1)
        weights = weights[:, :most] * ops.cast(ops.logical_and(matches[:, :most] >= 0, has_mask), "float32")
        masks = ops.cast(tf.gather(targets["masks"], index, batch_dims=1), "float32") / 255
        wanted = ops.cast(self.mask_crop(masks, frames_yxyx, regions) >= 0.5, "float32")
        logits = self._mask_logits(pyramid, regions, ops.take_along_axis(targets["class_ids"], index, axis=1))
        entropy = ops.mean(ops.binary_crossentropy(wanted, logits, from_logits=True), axis=(2, 3))
        return losses | {"mask": detector.share(ops.sum(weights * entropy), ops.sum(weights))}

    def detect(self, images):
        """Returns the detections of a batch, best first, as `Detector.detect`, with "masks" float32 (batch, 100, 28, 28): the
        probability that a cell of the box belongs to the object, 0 where padded."""
        pyramid = self.backbone(images, training=False)
        found = self.select(*self.region_scores(pyramid))
        class_ids = found["class_ids"]
        masks = ops.sigmoid(self._mask_logits(pyramid, found["boxes_yxyx"], ops.maximum(class_ids, 0)))
        return found | {"masks": ops.where((class_ids >= 0)[..., None, None], masks, 0.0)}

    def _mask_logits(self, pyramid, regions, class_ids):
        """Returns the logits of one class per region: (batch, regions, 4) and (batch, regions) give (batch, regions, 28, 28)."""
        aligned = self.mask_align(regions, pyramid[:len(self.mask_align.strides)])
        logits = self.mask_head(ops.reshape(aligned, (-1, *aligned.shape[2:])))
        of_class = ops.one_hot(ops.reshape(class_ids, (-1,)), self.classes, dtype="float32")[:, None, None]
        return ops.reshape(ops.sum(logits * of_class, axis=-1), (-1, regions.shape[1], MASK_SIDE, MASK_SIDE))
