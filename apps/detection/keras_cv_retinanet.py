"""keras-cv's RetinaNet with our data, metrics and export, as a baseline."""
import keras
import keras_cv
import tensorflow as tf
from keras import ops

from training.errors import UserError
from training.vision.detection import detector


def build_model(config, spec, steps):
    """Returns a compiled KerasCVRetinaNet for images of config.image_size.

    Raises:
        UserError: there is more than one replica.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise UserError("keras_cv_retinanet trains on one device only, because its loss fails with replicas: leave out "
                        "--strategy, or use --model retinanet")
    model = KerasCVRetinaNet(config.image_size, len(spec.info.class_names), anchor_scale=config.anchor_scale)
    model.compile(optimizer=detector.optimizer(config, steps))
    return model


class KerasCVRetinaNet(detector.Detector):
    """keras-cv's unchanged network, anchors, label encoder and losses, with its ResNet-18.

    Our own parts: images are RGB from 0 to 255, `anchor_scale` sets the anchor sizes (keras-cv's default is 4), the optimizer
    is `detector.optimizer`, and `layers.NonMaxSuppression` works per class. The losses are divided by the number of matched
    anchors of each replica, not of all replicas. Anchors on objects that should be ignored are trained as background.

    image_size:   side length of the square images, in pixels
    classes:      number of classes, without the background
    anchor_scale: side length of a level's smallest anchor, in strides of that level

    Example:
        >>> import numpy as np
        >>> from apps.detection.keras_cv_retinanet import KerasCVRetinaNet
        >>> model = KerasCVRetinaNet(64, 3)
        >>> model({"image": np.zeros((1, 64, 64, 3), "uint8")})["boxes_yxyx"].shape
        TensorShape([1, 100, 4])

    Source: keras-cv 0.9; Lin et al., 2017, "Focal Loss for Dense Object Detection".
    """

    def __init__(self, image_size, classes, *, anchor_scale=4.0):
        super().__init__(image_size, classes, ("detection",), name="keras_cv_retinanet")
        shape = (image_size, image_size, 3)
        backbone = keras_cv.models.ResNetBackbone(  # by its parts: its names for them fetch files from the network
            stackwise_filters=[64, 128, 256, 512], stackwise_blocks=[2, 2, 2, 2], stackwise_strides=[1, 2, 2, 2],
            include_rescaling=True, input_shape=shape, block_type="basic_block")
        strides = [2 ** level for level in range(3, 8)]
        anchors = keras_cv.layers.AnchorGenerator(
            bounding_box_format="yxyx", sizes=[anchor_scale * stride for stride in strides],
            scales=[2 ** (step / 3) for step in range(3)], aspect_ratios=[0.5, 1.0, 2.0], strides=strides, clip_boxes=True)
        self.network = keras_cv.models.RetinaNet(
            backbone, classes, "yxyx", anchor_generator=anchors,
            prediction_decoder=_Candidates(name="candidates", dtype="float32"))
        self.network.compile(optimizer=None, box_loss="smoothl1", classification_loss="focal")
        for layer in self._flatten_layers():  # what has no weights is not built before its first call
            layer.built = True

    def losses(self, images, targets, training):
        truth = {"boxes": targets["boxes_yxyx"],
                 "classes": ops.cast(ops.where(targets["ignore"], -1, targets["class_ids"]), "float32")}
        return {"detection": self.network.compute_loss(images, truth, self._predicted(images, training), None)}

    def class_scores(self, images):
        decoded = self.network.decode_predictions(self._predicted(images, training=False), images)
        return ops.sigmoid(decoded["logits"]), decoded["boxes"][:, :, None]

    def _predicted(self, images, training):
        """Returns keras-cv's dictionary of predictions in float32: its decoder fails on those in bfloat16."""
        predicted = self.network(ops.cast(images, "float32"), training=training)
        return {name: ops.cast(value, "float32") for name, value in predicted.items()}

    def pyramid_features(self, images):
        """Returns the feature maps, fine to coarse, each (batch, height, width, 256)."""
        features = self.network.feature_extractor(ops.cast(images, "float32"), training=False)
        return list(self.network.feature_pyramid(features, training=False))


@keras.saving.register_keras_serializable(package="apps.detection")
class _Candidates(keras.layers.Layer):
    """Takes the place of keras-cv's suppression and passes all candidates on: every system is evaluated with the same one."""

    bounding_box_format = "yxyx"

    def call(self, box_prediction, class_prediction, image_shape=None):
        return {"boxes": box_prediction, "logits": class_prediction}
