"""Monitors of the layers during training: activations, dead and saturated units, gradients."""
import keras
import numpy as np
import tensorflow as tf

from apps.classification import pictures
from apps.classification.lenet5 import TANH_SCALE, ScaledTanh
from training.engine import tensorboard

_IMAGES = 64
_NEAR = 0.05
"""share of the distance between both limits: as close to one of them a unit counts as saturated"""


def callbacks(model, splits, config, folder):
    """Returns the callbacks that monitor this training; they write to the run's folder."""
    batches = splits.train(0, 0, tf.distribute.InputContext()) if splits.validation is None else splits.validation
    return [Monitors(batches, folder)]


class Monitors(keras.callbacks.Callback):
    """Writes the state of the layers for TensorBoard, before the first step and after each epoch.

    It uses the first images of the validation split, or of the training split if there is no validation split:

        activations/<depth>_<layer>   histogram of the outputs of the layer
        dead_units/<layer>            fraction of units, or of maps, with the same output for every image
        saturated_units/<layer>       fraction of outputs within 5 % of a limit of sigmoid or tanh
        gradient_norm/<layer>         Euclidean norm of the gradient of the loss with respect to the layer's weights, without
        dropout

    batches: dataset of (inputs, targets)
    folder:  folder of the run
    """

    def __init__(self, batches, folder):
        super().__init__()
        self.batches, self.folder = batches, folder

    def on_train_begin(self, logs=None):
        inputs, targets = next(iter(self.batches))
        self.images, self.labels = inputs["image"][:_IMAGES], targets["label"][:_IMAGES]
        self.gradients = tf.function(self._gradients)
        if (self.params or {}).get("position", (0, 0)) == (0, 0):  # a resumed training has written it before
            self._write(0)

    def on_epoch_end(self, epoch, logs=None):
        self._write(epoch + 1)

    def _write(self, step):
        outputs = pictures.outputs(self.model, self.images)
        scalars = {}
        for name, values in outputs.items():
            if name == "label":
                continue
            scalars[f"dead_units/{name}"] = dead(values)
            if (found := limits(self.model.get_layer(name))) is not None:
                scalars[f"saturated_units/{name}"] = saturated(values, *found)
        squares = {}
        for weight, gradient in zip(self.model.trainable_weights, self.gradients()):
            layer = weight.path.rpartition("/")[0] or weight.path
            squares[layer] = squares.get(layer, 0.0) + float(tf.reduce_sum(tf.cast(gradient, tf.float32) ** 2))
        scalars |= {f"gradient_norm/{layer}": np.sqrt(total) for layer, total in squares.items()}
        tensorboard.scalars(self.folder / "train", scalars, step)
        tensorboard.activations(self.folder / "train", pictures.by_depth(outputs), step)

    def _gradients(self):
        weights = [weight.value for weight in self.model.trainable_weights]
        with tf.GradientTape() as tape:
            logits = self.model({"image": self.images}, training=False)["label"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(self.labels, logits))
        return tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def limits(layer):
    """Returns the limits (lowest, highest) of a layer's function, such as sigmoid or tanh, or None without limits."""
    if isinstance(layer, ScaledTanh):
        return -TANH_SCALE, TANH_SCALE
    if isinstance(layer, keras.layers.Activation):
        return {keras.activations.sigmoid: (0.0, 1.0), keras.activations.tanh: (-1.0, 1.0)}.get(layer.activation)
    return None


def dead(values):
    """Returns the fraction of units of (images, ..., units) with the same output for every image and position."""
    values = values.reshape(-1, values.shape[-1])
    return float((values.max(axis=0) - values.min(axis=0) <= 1e-6 * (1 + np.abs(values).max(axis=0))).mean())


def saturated(values, lowest, highest):
    """Returns the fraction of values within 5 % of a limit."""
    margin = _NEAR * (highest - lowest)
    return float(((values < lowest + margin) | (values > highest - margin)).mean())
