"""Adversarial training (A7): beside every image stands one that was changed so that the network errs more."""
import keras
import tensorflow as tf


class AdversarialTraining(keras.Model):
    """A classifier that learns from images and from the same images, each pixel moved by `epsilon` against it.

        x' = x + epsilon sign(dJ(x)/dx),   J' = (J(x) + J(x')) / 2

    Metrics, and the loss that is shown, are of the images as they are. The direction of x' counts as given: no gradient
    goes through it.

    inputs, outputs: of the functional model; the input is {"image": pixels (batch, side, side, channels)}
    scale:           its layer after the input
    epsilon:         in the pixels' unit

    Source: Goodfellow et al., 2015, "Explaining and Harnessing Adversarial Examples", section 6, with alpha = 0.5. As there,
    moved pixels may leave the range of an image; dropout draws again for x'.
    """

    def __init__(self, inputs, outputs, scale, epsilon, **kwargs):
        super().__init__(inputs, outputs, **kwargs)
        self.epsilon = epsilon
        self.__dict__["parts"] = scale, keras.Model(scale.output, outputs)  # no attribute: its weights would count twice

    def train_step(self, data):
        inputs, targets = data
        pixels = tf.cast(inputs["image"], tf.float32)
        loss, answers, gradients, by_pixels = self._gradients(pixels, targets)
        gradients_there = self._gradients(pixels + self.epsilon * tf.sign(by_pixels), targets)[2]
        self.optimizer.apply([(one + other) / 2 for one, other in zip(gradients, gradients_there)], self.trainable_variables)
        self._loss_tracker.update_state(loss * tf.distribute.get_strategy().num_replicas_in_sync)
        return self.compute_metrics(inputs, targets, answers)

    def _gradients(self, pixels, targets):
        """Returns the loss, the answers, and the loss's gradients by the trained weights and by the pixels."""
        scale, network = self.__dict__["parts"]
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            answers = network(scale(pixels), training=True)
            loss = self.compute_loss(pixels, targets, answers, training=True)
            scaled = self.optimizer.scale_loss(loss)
        *gradients, by_pixels = tape.gradient(scaled, [*(v.value for v in self.trainable_variables), pixels])
        return loss, answers, gradients, by_pixels
