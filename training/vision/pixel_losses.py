"""Losses over the pixels of images.

On several replicas, `call` returns the replica's share of the loss of the global batch: the shares add up to it, and so do their
gradients. Keras leaves a scalar loss as it is.
"""
import keras
import tensorflow as tf
from keras import ops

from training.engine import strategies

VOID = -1
"""class id of a pixel without a label, which counts nowhere"""


@keras.saving.register_keras_serializable(package="training")
class PixelCrossEntropy(keras.losses.Loss):
    """Cross-entropy of class scores with the class of each pixel, weighted by class.

        loss = sum_i w[y_i] * -log softmax(logits_i)[y_i] / sum_i w[y_i]

    The sums are over the labeled pixels of the global batch, so that the loss is the same on any number of replicas.

    class_weights: weight of each class; None: 1

    Shape:
        y_true: (batch, height, width), integers; `VOID` where there is no label
        y_pred: (batch, height, width, classes), logits
    """

    def __init__(self, class_weights=None, **kwargs):
        super().__init__(**kwargs)
        self.class_weights = class_weights

    def call(self, y_true, y_pred):
        class_ids = ops.cast(y_true, "int32")
        weights = ops.cast(class_ids != VOID, "float32")
        class_ids = ops.maximum(class_ids, 0)
        if self.class_weights is not None:
            weights = weights * ops.take(ops.convert_to_tensor(self.class_weights, "float32"), class_ids)
        losses = ops.sparse_categorical_crossentropy(class_ids, ops.cast(y_pred, "float32"), from_logits=True)
        return ops.sum(weights * losses) / ops.maximum(strategies.global_sum(ops.sum(weights)), 1e-6)

    def get_config(self):
        return super().get_config() | {"class_weights": self.class_weights}


@keras.saving.register_keras_serializable(package="training")
class DiceLoss(keras.losses.Loss):
    """One minus the Dice coefficient of probabilities and truth, averaged over the classes that occur.

        dice_k = 2 * sum_i p_ik t_ik / (sum_i p_ik + sum_i t_ik),   p = softmax(logits), t one-hot
        loss = 1 - mean of dice_k over classes with sum_i t_ik > 0

    The sums are over the labeled pixels of the global batch. A batch without labels has the loss 0.

    Shape:
        y_true: (batch, height, width), integers; `VOID` where there is no label
        y_pred: (batch, height, width, classes), logits

    Source: Milletari et al., 2016, "V-Net", section 3. What differs: several classes, and no squares in the denominator.
    """

    def call(self, y_true, y_pred):
        class_ids = ops.cast(y_true, "int32")
        truth = ops.one_hot(class_ids, y_pred.shape[-1], dtype="float32")  # VOID gives zeros
        found = ops.softmax(ops.cast(y_pred, "float32")) * ops.cast(class_ids != VOID, "float32")[..., None]
        axes = tuple(range(len(y_pred.shape) - 1))
        shared, truths, founds = strategies.global_sum(
            [ops.sum(found * truth, axes), ops.sum(truth, axes), ops.sum(found, axes)])
        occurs = ops.cast(truths > 0, "float32")
        dice = 2 * shared / ops.maximum(truths + founds, 1e-6)
        loss = ops.sum(occurs * (1 - dice)) / ops.maximum(ops.sum(occurs), 1.0)
        return loss / tf.distribute.get_strategy().num_replicas_in_sync  # all replicas have the same


@keras.saving.register_keras_serializable(package="training")
class PixelLoss(keras.losses.Loss):
    """The cross-entropy of the pixels, plus the Dice loss times `dice_share`.

    class_weights: weight of each class in the cross-entropy; None: 1
    dice_share:    weight of the Dice loss
    """

    def __init__(self, class_weights=None, dice_share=0.0, **kwargs):
        super().__init__(**kwargs)
        self.class_weights, self.dice_share = class_weights, dice_share

    def call(self, y_true, y_pred):
        loss = PixelCrossEntropy(self.class_weights).call(y_true, y_pred)
        return loss + self.dice_share * DiceLoss().call(y_true, y_pred) if self.dice_share else loss

    def get_config(self):
        return super().get_config() | {"class_weights": self.class_weights, "dice_share": self.dice_share}
