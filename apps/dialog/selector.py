"""Common parts of the systems, which score each candidate response."""
import keras
import tensorflow as tf
from keras import ops

from apps.dialog.encoder import Encoder
from training.engine import step
from training.engine.subclasses import must_define

_NEVER = -1e9


class Selector(keras.Model):
    """A system that selects one of all candidates.

    A system implements `logits`. A system with a memory also implements `attend`, and one with vectors `word_vectors` and
    `response_vectors`. Candidates with a word that does not occur in the training split are excluded in training: they would
    always be wrong, and the system would learn to avoid them.

    info:        `data.Info` of the data set
    memory_size: maximum number of lines before the user's last utterance
    match_type:  whether lines contain a word for the type of each of their entities
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        must_define(cls, Selector, "logits")

    def __init__(self, info, memory_size, match_type=False, **kwargs):
        super().__init__(**kwargs)
        self.encoder = Encoder(info, match_type)
        # attributes of their own, so that an export takes the tables along
        self.word_table, self.entity_table = self.encoder.vocabulary.table, self.encoder.known_entities.table
        texts = tf.constant(info.candidates)
        self.candidates = self.encoder.words(texts).to_tensor().numpy()  # (candidates, words), 0 is padding
        self.candidate_entities = self.encoder.entities(texts).to_list()
        self.choosable = self.encoder.are_known(texts).numpy()
        self.vocabulary_size = len(info.words)
        self.memory_size = memory_size
        self.loss_mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        """The mean of the loss."""
        return [self.loss_mean]

    def call(self, inputs, training=False):
        """Returns the logits of all candidates, float32 (batch, candidates).

        inputs: {"history", "query", "entities"} as in `data.datasets`
        """
        inputs = {name: ops.cast(value, "int32") for name, value in inputs.items()}
        logits = ops.cast(self.logits(inputs, training), "float32")
        return ops.where(self.choosable, logits, _NEVER) if training else logits

    def logits(self, inputs, training=False):
        """Returns the logits of all candidates in any precision, (batch, candidates), for int32 inputs."""

    def scores(self, logits):
        """Returns the scores that clients receive: the probabilities, (batch, candidates)."""
        return ops.softmax(logits)

    def attend(self, inputs):
        """Returns logits (batch, candidates) and attention (batch, hops, memory_size); a system without a memory has no
        hops."""
        logits = self(inputs, training=False)
        return logits, ops.zeros((ops.shape(logits)[0], 0, self.memory_size))

    def word_vectors(self):
        """Returns the vectors of the words of the vocabulary (words, embedding_size), or None without vectors."""
        return None

    def response_vectors(self):
        """Returns the vectors of the candidates (candidates, embedding_size), or None without vectors."""
        return None

    def loss_of(self, logits, responses):
        """Returns the mean cross-entropy of logits (batch, candidates) for the correct candidates (batch,)."""
        return ops.mean(ops.sparse_categorical_crossentropy(responses, logits, from_logits=True))

    def train_step(self, batch):
        """Applies one gradient step on a batch (inputs, targets) and returns {"loss": the mean so far}."""
        inputs, targets = batch

        def losses_of():
            return self.loss_of(self(inputs, training=True), targets["response"])

        self.loss_mean.update_state(step.gradient_step(self.optimizer, self.trainable_variables, losses_of))
        return {"loss": self.loss_mean.result()}

    def test_step(self, batch):
        """Returns {"loss": the mean so far} after a batch (inputs, targets)."""
        inputs, targets = batch
        self.loss_mean.update_state(self.loss_of(self(inputs, training=False), targets["response"]))
        return {"loss": self.loss_mean.result()}
