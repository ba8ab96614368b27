"""Adversarial training (A7): beside every image stands one that was changed so that the network errs more."""
import keras
import tensorflow as tf

from training.engine import step


class AdversarialTraining(keras.Model):
    """A classifier that learns from images and from the same images, each pixel moved by `epsilon` against it.

        x' = x + epsilon sign(dJ(x)/dx),   J' = (J(x) + J(x')) / 2

    Metrics, and the loss that is shown, are of the images as they are. The direction of x' counts as given: no gradient
    goes through it.

    inputs, outputs: of the functional model; the input is {"image": pixels (batch, side, side, channels)}
    scale:           the layer after the input; moved pixels are no whole numbers, and enter the network here
    epsilon:         how far each pixel is moved, in the pixels' unit

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
    moved pixels may leave the range of an image; dropout draws again for x'.
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
