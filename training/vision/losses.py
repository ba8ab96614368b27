"""Losses that several systems share. The functions are elementwise; the classes are Keras losses, which also reduce."""
import keras
from keras import ops


def focal(labels, logits, alpha=0.25, gamma=2.0):
    """Returns the focal loss of each logit, see `FocalLoss`.

    labels: floats, 1 for an object of the class and 0 otherwise, in the shape of `logits`
    """
    entropy = ops.binary_crossentropy(labels, logits, from_logits=True)
    probability = ops.sigmoid(logits)
    of_truth = labels * probability + (1 - labels) * (1 - probability)
    weight = labels * alpha + (1 - labels) * (1 - alpha)
    return weight * (1 - of_truth) ** gamma * entropy


def smooth_l1(difference, beta=1 / 9):
    """Returns the smooth L1 loss of each difference, see `SmoothL1`."""
    size = ops.abs(difference)
    return ops.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


@keras.saving.register_keras_serializable(package="training")
class FocalLoss(keras.losses.Loss):
    """Cross-entropy that gives easy examples less weight, so that many of them do not outweigh a few hard ones.

        p_t = p where the label is 1, else 1 - p;  alpha_t likewise;  p = sigmoid(logit)
        focal = -alpha_t * (1 - p_t)^gamma * log(p_t)

    Keras's BinaryFocalCrossentropy takes the logarithm of a clipped probability and averages over the last axis. This loss takes
    it from the logit, so that a confident error still has its full gradient, and has a value for each class.

    alpha: weight of label 1; label 0 has weight 1 - alpha
    gamma: exponent that reduces the weight of easy examples; with 0 the loss is a weighted cross-entropy

    Shape:
        y_true, y_pred: (batch, ..., classes), labels 0 and 1, and logits
        returns:        a scalar, the mean over all values, unless `reduction` says otherwise

    Example:
        >>> from training.vision.losses import FocalLoss
        >>> loss = FocalLoss(reduction="none")
        >>> print(loss([[1.0, 1.0]], [[-2.0, 2.0]]).numpy().round(4))  # an error, and an easy example
        [[0.4124 0.0005]]

    Source: Lin et al., 2017, "Focal Loss for Dense Object Detection", eq. 5.
    """

    def __init__(self, alpha=0.25, gamma=2.0, name="focal_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true, y_pred):
        """Returns the loss of each value."""
        y_pred = ops.convert_to_tensor(y_pred)
        return focal(ops.cast(y_true, y_pred.dtype), y_pred, self.alpha, self.gamma)

    def get_config(self):
        return super().get_config() | {"alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="training")
class SmoothL1(keras.losses.Loss):
    """Squared error for small differences and absolute error for large ones, with a continuous slope.

        smooth_l1(d) = 0.5 * d^2 / beta where |d| < beta, else |d| - 0.5 * beta

    Keras's Huber is `beta` times this loss and averages over the last axis.

    beta: difference at which the two parts meet

    Shape:
        y_true, y_pred: (batch, ..., any)
        returns:        a scalar, the mean over all values, unless `reduction` says otherwise

    Example:
        >>> from training.vision.losses import SmoothL1
        >>> print(SmoothL1(beta=1.0, reduction="none")([[0.0, 0.0]], [[0.5, -3.0]]).numpy())
        [[0.125 2.5  ]]

    Source: Girshick, 2015, "Fast R-CNN", eq. 3, with beta = 1; the factor beta is that of later detectors.
    """

    def __init__(self, beta=1.0, name="smooth_l1", **kwargs):
        super().__init__(name=name, **kwargs)
        self.beta = beta

    def call(self, y_true, y_pred):
        """Returns the loss of each value."""
        y_pred = ops.convert_to_tensor(y_pred)
        return smooth_l1(y_pred - ops.cast(y_true, y_pred.dtype), self.beta)

    def get_config(self):
        return super().get_config() | {"beta": self.beta}
