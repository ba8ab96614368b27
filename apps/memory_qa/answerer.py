"""Common parts of the systems: a training step, and parallel networks of which one gives the answers."""
import keras
import tensorflow as tf
from keras import ops

from training.engine import step


class Answerer(keras.Model):
    """A network that answers questions by reading a memory: the sentences of a story, or the facts of a knowledge base.

        logits, attention = model({"story": story, "question": question})

    A system implements `call` and has the word vectors in its `layers.SentenceEmbedding` `embed`. It may contain several
    networks, its members, which are computed in parallel. `chosen`, `loss_of`, `end_epoch` and `memory_vectors` have defaults.

    Shape:
        story:     (batch, memories, words) int32, the latest memory last, 0 is padding
        question:  (batch, words) int32, 0 is padding
        logits:    (batch, members, words of the vocabulary) float32
        attention: (batch, hops, members, memories); a system without a memory has no hops
    """

    chosen = 0
    """the member that gives the answers, a number or an integer variable; 0: the first or only member"""
    places = None
    """number of memories: `memory_size`, or the length of the longest training story if that is smaller; None: any number"""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.loss_mean]

    def train_step(self, batch):
        inputs, targets = batch
        loss = step.gradient_step(self.optimizer, self.trainable_variables, lambda: self.loss_of(inputs, targets))
        return self._track(loss)

    def _track(self, loss):
        """Returns the logs of a training step after its mean loss is counted."""
        self.loss_mean.update_state(loss)
        return {"loss": self.loss_mean.result()}

    def loss_of(self, inputs, targets):
        """Returns the loss of a training batch, a scalar: the mean over this replica's questions.

        By default, it is the cross-entropy of a system with one network.
        """
        logits, _ = self(inputs, training=True)
        return ops.mean(ops.sparse_categorical_crossentropy(targets["answer"], logits[:, 0], from_logits=True))

    def end_epoch(self, losses, errors):
        """Receives the validation loss and error of each member, (members,); does nothing by default."""

    def word_vectors(self):
        """Returns the vectors of the words of the chosen member, (words, embedding_size)."""
        return tf.convert_to_tensor(self.embed.table)[:, self.chosen_index()]

    def memory_vectors(self, story):
        """Returns the chosen member's vectors of memories, (batch, memories, embedding_size), or None if they are not
        shown."""
        return None

    def chosen_index(self):
        """Returns `chosen` as an integer scalar, also in a graph."""
        return tf.convert_to_tensor(self.chosen, tf.int32)
