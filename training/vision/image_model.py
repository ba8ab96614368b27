"""A network over images that is trained on several named losses."""
import keras
import tensorflow as tf

from training.engine import step


class ImageModel(keras.Model):
    """A model of images with its own losses, whose sum is minimized; each loss is tracked under its name.

    A system defines `losses`.

    loss_names: keys of the result of `losses`
    """

    def __init__(self, loss_names, **kwargs):
        super().__init__(**kwargs)
        self.trackers = {name: keras.metrics.Mean(name) for name in ("loss", *loss_names)}

    @property
    def metrics(self):
        return list(self.trackers.values())

    def train_step(self, data):
        inputs, targets = data

        def losses_of():
            losses = self.losses(inputs["image"], targets, training=True)
            return sum(losses.values()), losses

        total, losses = step.gradient_step(self.optimizer, self.trainable_variables, losses_of, is_share=True)
        return self._track(losses | {"loss": total})

    def test_step(self, data):
        inputs, targets = data
        losses = self.losses(inputs["image"], targets, training=False)
        return self._track(losses | {"loss": sum(losses.values())})

    def _track(self, losses):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for name, value in losses.items():  # each replica has its share of the sum over all
            self.trackers[name].update_state(value * replicas)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def losses(self, images, targets, training):
        """Returns {name: scalar}, each this replica's share: already divided by counts over all replicas."""
