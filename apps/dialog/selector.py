"""What every system of this application does: it gives each candidate response a score."""
import keras
import tensorflow as tf
from keras import ops

from apps.dialog.encoder import Encoder

_NEVER = -1e9


class Selector(keras.Model):
    """Chooses among all candidates.

    A system defines `logits(inputs, training)`: float32 (batch, candidates). In training, candidates with a word that the
    training split never shows take no part: they would be wrong each time, and be learnt as such.
    """

    def __init__(self, config, spec, name):
        super().__init__(name=name)
        self.encoder = Encoder(spec.info, bool(config.match_type))
        # attributes of their own, so that an export takes the tables along
        self.word_table, self.entity_table = self.encoder.vocabulary.table, self.encoder.known_entities.table
        texts = tf.constant(spec.info["candidates"])
        self.candidates = self.encoder.words(texts).to_tensor().numpy()  # (candidates, words), 0 is padding
        self.candidate_entities = self.encoder.entities(texts).to_list()
        self.choosable = self.encoder.are_known(texts).numpy()
        self.vocabulary_size = len(spec.info["words"])
        self.memories = spec.inputs["history"].shape[1]
        self.loss_mean = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.loss_mean]

    def call(self, inputs, training=False):
        """Returns logits (batch, candidates)."""
        inputs = {name: ops.cast(value, "int32") for name, value in inputs.items()}
        logits = ops.cast(self.logits(inputs, training), "float32")
        return ops.where(self.choosable, logits, _NEVER) if training else logits

    def scores(self, logits):
        """Returns what a client sees beside a response: its probability, (batch, candidates)."""
        return ops.softmax(logits)

    def attend(self, inputs):
        """Returns logits and attention (batch, hops, memories); without a memory there are no hops."""
        logits = self(inputs, training=False)
        return logits, ops.zeros((ops.shape(logits)[0], 0, self.memories))

    def loss_of(self, logits, responses):
        """Returns the mean cross-entropy."""
        return ops.mean(ops.sparse_categorical_crossentropy(responses, logits, from_logits=True))

    def train_step(self, batch):
        inputs, targets = batch
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            loss = self.loss_of(self(inputs, training=True), targets["response"])
            scaled = self.optimizer.scale_loss(loss / replicas) if self.optimizer else loss
        variables = self.trainable_variables
        if variables:
            self.optimizer.apply(tape.gradient(scaled, [v.value for v in variables]), variables)
        self.loss_mean.update_state(loss)
        return {"loss": self.loss_mean.result()}

    def test_step(self, batch):
        inputs, targets = batch
        self.loss_mean.update_state(self.loss_of(self(inputs, training=False), targets["response"]))
        return {"loss": self.loss_mean.result()}
