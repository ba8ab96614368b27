"""Adversarial training (A7): each image is accompanied by a perturbed copy that increases the loss."""
import keras
import tensorflow as tf

from training.engine import step


class AdversarialTraining(keras.Model):
    """A classifier that learns from images and from adversarial copies, in which each pixel is moved by `epsilon`.

        x' = x + epsilon sign(dJ(x)/dx),   J' = (J(x) + J(x')) / 2

    The metrics and the displayed loss are those of the original images. The perturbation is treated as a constant: no gradient
    flows through it.

    inputs, outputs: inputs and outputs of the functional model; the input is {"image": pixels (batch, side, side, channels)}
    scale:           the layer after the input; perturbed pixels are not integers, and enter the network here
    epsilon:         size of the perturbation, in units of the pixels

    Example:
        >>> import keras, numpy as np
        >>> from training.vision.adversarial import AdversarialTraining
        >>> image = keras.Input((4, 4, 1), dtype="uint8", name="image")
        >>> scale = keras.layers.Rescaling(1 / 255)
        >>> logits = keras.layers.Dense(3, name="label")(keras.layers.Flatten()(scale(image)))
        >>> model = AdversarialTraining({"image": image}, {"label": logits}, scale, epsilon=25.5)
        >>> model.compile("sgd", {"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
        >>> history = model.fit({"image": np.zeros((6, 4, 4, 1), "uint8")}, {"label": np.zeros(6, "int32")}, verbose=0)
        >>> model({"image": np.zeros((6, 4, 4, 1), "uint8")})["label"].shape
        TensorShape([6, 3])

    Source: Goodfellow et al., 2015, "Explaining and Harnessing Adversarial Examples", section 6, with alpha = 0.5. As there,
    perturbed pixels may leave the range of an image; dropout uses a new mask for x'.
    """

    def __init__(self, inputs, outputs, scale, epsilon, **kwargs):
        super().__init__(inputs, outputs, **kwargs)
        self.epsilon = epsilon
        self.__dict__["parts"] = scale, keras.Model(scale.output, outputs)  # no attribute: its weights would count twice

    def train_step(self, data):
        inputs, targets = data
        pixels, variables = tf.cast(inputs["image"], tf.float32), self.trainable_variables
        (loss, logits), [*gradients, by_pixels] = self._gradients(pixels, targets, [*variables, pixels])
        _, gradients_there = self._gradients(pixels + self.epsilon * tf.sign(by_pixels), targets, variables)
        step.apply_scaled(self.optimizer, [(one + other) / 2 for one, other in zip(gradients, gradients_there)], variables)
        self._loss_tracker.update_state(loss * tf.distribute.get_strategy().num_replicas_in_sync)
        return self.compute_metrics(inputs, targets, logits)

    def _gradients(self, pixels, targets, sources):
        """Returns (loss, logits) for pixels, and the loss's gradients by the sources times the optimizer's loss scale."""
        scale, network = self.__dict__["parts"]

        def losses_of():
            logits = network(scale(pixels), training=True)
            return self.compute_loss(pixels, targets, logits, training=True), logits

        return step.scaled_gradients(self.optimizer, sources, losses_of, is_share=True)
