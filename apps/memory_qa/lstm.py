"""Baseline without a memory: an LSTM reads the story and then the question."""
import keras
import tensorflow as tf
from keras import ops

import layers

MONITOR = ("error", "min")

_LARGEST_GRADIENT = 10.0
_WORDS_PER_MEMORY = 4
"""words that are read at most, for each memory that other systems have: stories of short sentences are read whole"""


def build_model(config, spec):
    """Returns a StoryLSTM with the optimizer in it."""
    model = StoryLSTM(config, len(spec.info["words"]))
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate, global_clipnorm=_LARGEST_GRADIENT))
    return model


class StoryLSTM(keras.Model):
    """Answers from the state of an LSTM after the last word of the question.

        h = LSTM(embed(story's words), embed(question's words)),  answer = argmax softmax(W h + b)

    The words follow each other without the padding between them; of a longer text the latest words are read. It has no
    memory, so there is no attention to show.

    Source: Weston et al., 2016, "Towards AI-Complete Question Answering", section 4, the LSTM baseline.
    What differs: Adam; the number of words has a bound.
    """

    def __init__(self, config, vocabulary_size):
        super().__init__(name="lstm")
        self.most_words = config.memory_size * _WORDS_PER_MEMORY
        self.embed = layers.SentenceEmbedding(vocabulary_size, config.units, 1, "bag", name="embed")
        self.embed.build((None, 1))
        self.lstm = keras.layers.LSTM(config.units, name="lstm")
        self.lstm.build((None, None, config.units))
        self.answer = keras.layers.Dense(vocabulary_size, dtype="float32", name="answer")
        self.answer.build((None, config.units))
        self.loss_mean = keras.metrics.Mean("loss")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_mean]

    def call(self, inputs, training=False):
        """Returns logits (batch, 1, words) and attention of no hops (batch, 0, 1, memories)."""
        story, question = (ops.cast(inputs[name], "int32") for name in ("story", "question"))
        words = self.sequence(story, question)
        state = self.lstm(self.embed(words[..., None])[..., 0, :], mask=words != 0, training=training)
        return self.answer(state)[:, None], ops.zeros((ops.shape(story)[0], 0, 1, story.shape[1]))

    def sequence(self, story, question):
        """Returns the words of story and question in one row (batch, words), the padding in front."""
        flat = ops.concatenate([ops.reshape(story, (-1, story.shape[1] * story.shape[2])), question], axis=1)
        width = flat.shape[1]
        # a number for each place, so that the words keep their order and all padding comes before them
        rank = ops.where(flat != 0, width, 0) + ops.arange(width)
        return ops.take_along_axis(flat, ops.argsort(rank, axis=1), axis=1)[:, -self.most_words:]

    def train_step(self, batch):
        inputs, targets = batch
        with tf.GradientTape() as tape:
            logits, _ = self(inputs, training=True)
            loss = ops.mean(ops.sparse_categorical_crossentropy(targets["answer"], logits[:, 0], from_logits=True))
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            scaled = loss / replicas  # the optimizer adds the gradients of all replicas
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, [v.value for v in variables]), variables)
        self.loss_mean.update_state(loss)
        return {"loss": self.loss_mean.result()}
