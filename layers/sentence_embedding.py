"""Vectors of sentences from the words in them."""
import keras
import tensorflow as tf
from keras import ops

MOST_COUNTED_WORDS = 1024
"""up to this vocabulary, words are counted and multiplied by the table; a larger one is looked up word by word"""


@keras.saving.register_keras_serializable(package="layers")
class SentenceEmbedding(keras.layers.Layer):
    """Sums the vectors of a sentence's words, weighted by their place in it.

        out[..., t, k] = sum_j l(j, k) * table[word[..., j], t, k]
        l(j, k) = 2 (1 - j / J) - 2 (k / d) (1 - 2 j / J)   position encoding; j = 1..J words, k = 1..d units
        l(j, k) = 1                                         bag of words

    J is the number of words of that sentence. Several tables are read at once, since the hops of a memory network, and
    networks that are trained side by side, see the same words. l is a sum of two products of a function of j and one
    of k, so each word needs two numbers, not d: for small vocabularies the sentence becomes two rows of weighted counts
    and all tables are read by one matrix product.

    The initializer is a Gaussian of deviation 0.1, as in the paper, unless another one is given.

    Shape:
        inputs:  (batch, ..., words) int32, the words first, then 0 where there is none, which adds nothing
        returns: (batch, ..., tables, units)

    Raises:
        ValueError: vocabulary_size, units or tables below 1, or an unknown encoding.

    Keras's Embedding knows no sentences.

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", section 4.1. What differs: l is twice the paper's, as in
    the authors' code, so that it is 1 on average as for a bag of words; the rate of learning depends on it.
    """

    def __init__(self, vocabulary_size, units, tables=1, encoding="position", initializer=None, **kwargs):
        super().__init__(**kwargs)
        if min(vocabulary_size, units, tables) < 1:
            raise ValueError(f"vocabulary_size, units and tables must be at least 1, got {vocabulary_size}, {units}, {tables}")
        if encoding not in ("position", "bag"):
            raise ValueError(f"encoding is position or bag, got {encoding!r}")
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.tables = tables
        self.encoding = encoding
        self.initializer = keras.initializers.get(initializer or keras.initializers.RandomNormal(stddev=0.1))

    def build(self, inputs_shape):
        self.table = self.add_weight(name="table", shape=(self.vocabulary_size, self.tables, self.units),
                                     initializer=self.initializer)

    def call(self, inputs):
        words = inputs.shape[-1]
        ids = ops.reshape(inputs, (-1, words))
        table = ops.cast(ops.reshape(self.table, (self.vocabulary_size, -1)), self.compute_dtype)
        weights = [ops.cast(w, table.dtype) for w in self._weights(ids)]
        if self.vocabulary_size <= MOST_COUNTED_WORDS:
            sums = [ops.matmul(self._counts(ids, w), table) for w in weights]
        else:
            vectors = ops.take(table, ids, axis=0)  # (sentences, words, tables * units)
            sums = [ops.sum(w[..., None] * vectors, axis=1) for w in weights]
        sums = [ops.reshape(s, (-1, self.tables, self.units)) for s in sums]
        if self.encoding == "position":
            unit = ops.cast((ops.arange(self.units, dtype="float32") + 1) / self.units, table.dtype)
            sums = [sums[0] - unit * sums[1]]
        return ops.reshape(sums[0], (-1, *inputs.shape[1:-1], self.tables, self.units))

    def _weights(self, ids):
        """Returns what l needs of each word, (sentences, words) once or twice; 0 for padding."""
        present = ops.cast(ids != 0, "float32")
        if self.encoding == "bag":
            return [present]
        place = ops.arange(1, ids.shape[1] + 1, dtype="float32") / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1)
        return [present * (2 - 2 * place), present * (2 - 4 * place)]

    def _counts(self, ids, weights):
        """Returns each word's weight in each sentence, (sentences, vocabulary)."""
        sentences = tf.shape(ids)[0]
        row = tf.repeat(tf.range(sentences), ids.shape[1])
        where = tf.stack([row, tf.cast(tf.reshape(ids, [-1]), tf.int32)], axis=1)
        return tf.scatter_nd(where, tf.reshape(weights, [-1]), [sentences, self.vocabulary_size])

    def compute_output_shape(self, inputs_shape):
        return (*inputs_shape[:-1], self.tables, self.units)

    def get_config(self):
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size, "units": self.units, "tables": self.tables, "encoding": self.encoding,
            "initializer": keras.initializers.serialize(self.initializer)}
