"""Key-value memory network (M2), in the four parts of the memory network framework."""
import keras
import tensorflow as tf
from keras import ops

import layers
from apps.memory_qa import knowledge
from training.config import UserError

MONITOR = ("error", "min")

_WINDOW = 11  # words; 7 in the paper, whose text has longer sentences: here a window should hold a sentence
_LARGEST_GRADIENT = 10.0
_TIME_NOISE = 0.1


def build_model(config, spec):
    """Returns a KeyValue with the optimizer in it, whose rate falls to 0 as a cosine.

    Raises:
        UserError: triples are asked of a story.
    """
    is_knowledge = knowledge.TOPIC in spec.info["words"]
    if config.memory == "triple" and not is_knowledge:
        raise UserError(f"--memory triple needs a knowledge base, and {config.dataset} has stories: take sentence or window")
    model = KeyValue(config, len(spec.info["words"]), spec.inputs["story"].shape[1], is_knowledge)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, spec.info["steps"])
    model.compile(optimizer=keras.optimizers.Adam(rate, global_clipnorm=_LARGEST_GRADIENT))
    return model


class KeyValue(keras.Model):
    """Answers a question by finding memories by their keys and reading their values, several times.

        I: q_1 = embed_A(question)
        G: k_i = embed_A(key words) [+ T(i)],  v_i = embed_A(value words)
               triple:    key = subject and relation of a fact, value = its object
               sentence:  key = value = the words of a sentence
               window:    key = the words around a word, value = that word
        O: q_(h+1) = (q_h + sum_i softmax(q_h . k_i) v_i) . R_h             `layers.KeyValueHop`
        R: answer = argmax softmax(B q_(H+1))

    embed_A sums the vectors of words. T tells how long ago a sentence of a story was written; facts have no time.
    The questions to a knowledge base are answered by one of the entities that are in the facts read: all others score 0.
    Where several answers are right, the loss is -log of the sum of their probabilities.

    Source: Miller et al., 2016, "Key-Value Memory Networks for Directly Reading Documents", section 3; parts: Weston et
    al., 2015, "Memory Networks", section 2.
    What differs: an entity is a marker local to the question (`knowledge.Reader`), since the vectors of entities that no
    training question names would be untrained; hence only entities that were read are candidates, and the facts of further
    rings are in the memory from the start, as the paper's are hashed by the question alone. Stories are not hashed but
    read whole, with time, which documents do not need. Every word has a window, not entities alone. B starts as A and is
    not tied to it. Adam, with a rate that falls; 100 dimensions and not 500.
    """

    def __init__(self, config, vocabulary_size, memories, is_knowledge):
        super().__init__(name="key_value")
        self.memory, self.is_knowledge, self.units = config.memory, is_knowledge, config.units
        self.embed = layers.SentenceEmbedding(vocabulary_size, config.units, 1, "bag", name="embed")
        self.embed.build((None, 1))
        if not is_knowledge:
            self.time_index = layers.TimeIndex(_TIME_NOISE, seed=config.seed)
            self.times = layers.SentenceEmbedding(self.time_index.largest(memories) + 1, config.units, 1, "bag", name="times")
            self.times.build((None, 1))
        self.hops = [layers.KeyValueHop(name=f"hop_{number}") for number in range(1, config.hops + 1)]
        for hop in self.hops:
            hop.build((None, config.units))
        # B starts as A: a value that is read is then an answer that is given, and attention means what it seems to
        start = keras.initializers.Constant(ops.convert_to_numpy(self.embed.table)[:, 0])
        self.answer_table = self.add_weight(name="answer_table", shape=(vocabulary_size, config.units), initializer=start)
        self.loss_mean = keras.metrics.Mean("loss")
        self.built = True

    @property
    def metrics(self):
        return [self.loss_mean]

    def input_features(self, inputs):
        """I: returns the question's vector (batch, units) and which sentences or facts there are (batch, memories)."""
        return self._sum(inputs["question"]), ops.any(inputs["story"] != 0, axis=-1)

    def generalization(self, story, mask, training=False):
        """G: returns keys and values (batch, places, units) and which places there are (batch, places).

        A place is a memory, or with windows a word of one, in the order of the text.
        """
        if self.memory == "triple":
            return self._sum(story[..., :-1]), self._sum(story[..., -1:]), mask
        keys = self._sum(self._windows(story) if self.memory == "window" else story)  # (batch, memories, [words,] units)
        values = self._sum(story[..., None]) if self.memory == "window" else keys
        if not self.is_knowledge:
            time = self._sum(self.time_index(mask, training=training)[..., None], self.times)
            keys = keys + (time[:, :, None] if self.memory == "window" else time)
        if self.memory == "window":
            keys, values = (ops.reshape(x, (-1, story.shape[1] * story.shape[2], self.units)) for x in (keys, values))
            mask = ops.reshape(story != 0, (-1, story.shape[1] * story.shape[2]))
        return keys, values, mask

    def output_features(self, query, keys, values, mask):
        """O: returns the last query (batch, units) and attention (batch, hops, places)."""
        attentions = []
        for hop in self.hops:
            query, attention = hop(query, keys, values, mask)
            attentions.append(attention)
        return query, ops.stack(attentions, axis=1)

    def response(self, query, story):
        """R: returns the logits of all words (batch, words), lowest for those that stand for nothing."""
        logits = ops.cast(ops.matmul(query, ops.transpose(ops.cast(self.answer_table, query.dtype))), "float32")
        if not self.is_knowledge:
            return logits
        read = ops.any(ops.one_hot(story[..., -1], logits.shape[-1], dtype="bool"), axis=1)
        return ops.where(read & (ops.arange(logits.shape[-1]) > 0), logits, -1e9)

    def call(self, inputs, training=False):
        """Returns logits (batch, 1, words) and attention to the sentences or facts (batch, hops, 1, memories)."""
        story = ops.cast(inputs["story"], "int32")
        query, mask = self.input_features(inputs | {"story": story})
        query, attention = self.output_features(query, *self.generalization(story, mask, training))
        if self.memory == "window":  # a sentence is read as much as its words together
            attention = ops.sum(ops.reshape(attention, (-1, len(self.hops), *story.shape[1:])), axis=-1)
        return self.response(query, story)[:, None], attention[:, :, None]

    def train_step(self, batch):
        inputs, targets = batch
        answers = targets["answers"] if "answers" in targets else targets["answer"][:, None]
        with tf.GradientTape() as tape:
            logits, _ = self(inputs, training=True)
            loss = ops.mean(_cross_entropy(logits[:, 0], answers))
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            scaled = loss / replicas  # the optimizer adds the gradients of all replicas
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, [v.value for v in variables]), variables)
        self.loss_mean.update_state(loss)
        return {"loss": self.loss_mean.result()}

    def _sum(self, words, embed=None):
        """Returns the sum of the vectors of words, (..., words) as (..., units)."""
        return (embed or self.embed)(ops.cast(words, "int32"))[..., 0, :]

    def _windows(self, story):
        """Returns the words around each word, (batch, memories, words, window)."""
        half, width = _WINDOW // 2, story.shape[-1]
        padded = ops.pad(story, [[0, 0], [0, 0], [half, half]])
        return ops.stack([padded[..., shift:shift + width] for shift in range(_WINDOW)], axis=-1)


def _cross_entropy(logits, answers):
    """Returns -log of the probability of all answers (batch, most answers; 0 is padding) together: (batch,)."""
    each = ops.take_along_axis(ops.log_softmax(logits), answers, axis=1)
    return -ops.logsumexp(ops.where(answers > 0, each, -1e9), axis=1)
