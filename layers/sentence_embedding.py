"""Vectors of sentences from the vectors of their words."""
import keras
import tensorflow as tf
from keras import ops

MOST_COUNTED_WORDS = 1024
"""up to this vocabulary, words are counted and multiplied by the table; a larger one is looked up word by word"""


@keras.saving.register_keras_serializable(package="layers")
class SentenceEmbedding(keras.layers.Layer):
    """Sums the vectors of a sentence's words, weighted by their position.

        out[..., t, k] = sum_j l(j, k) * table[word[..., j], t, k]
        l(j, k) = 2 (1 - j / J) - 2 (k / d) (1 - 2 j / J)   position encoding; j = 1..J words, k = 1..d units
        l(j, k) = 1                                         bag of words

    J is the number of words of that sentence. Keras's Embedding does not sum over sentences.

    Several tables are read at once, because the hops of a memory network, and networks that are trained side by side,
    read the same words. l is a sum of two terms, each of which is a function of j times a function of k, so each word
    needs two numbers instead of d. With a small vocabulary the sentence becomes two rows of weighted word counts, and
    one matrix product reads all tables.

    Args:
        vocabulary_size: number of words, including the padding 0.
        units: size of the vectors.
        tables: number of tables of word vectors.
        encoding: "position" or "bag".
        initializer: initializer of the tables; by default a normal distribution with standard deviation 0.1, as in the
            paper.

    Shape:
        inputs:  (batch, ..., words) int32, a known number: the words from 1 on, then 0 as padding, which adds nothing;
                 a sentence of padding alone gives 0
        returns: (batch, ..., tables, units)

    Raises:
        ValueError: `vocabulary_size`, `units` or `tables` is below 1, or `encoding` is unknown.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> sentences = np.array([[3, 1, 0], [0, 0, 0]])
        >>> bag = layers.SentenceEmbedding(vocabulary_size=9, units=2, encoding="bag", initializer="ones")
        >>> print(bag(sentences).numpy()[:, 0])  # the number of words
        [[2. 2.]
         [0. 0.]]
        >>> layers.SentenceEmbedding(vocabulary_size=9, units=2, tables=4)(sentences).shape
        TensorShape([2, 4, 2])

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", section 4.1. What differs: l is twice the paper's, as
    in the authors' code, so that its mean is about 1, as for a bag of words. The learning rate depends on this factor.
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
        """Returns the factors of l that depend on j, one or two arrays (sentences, words); 0 for padding."""
        present = ops.cast(ids != 0, "float32")
        if self.encoding == "bag":
            return [present]
        place = ops.arange(1, ids.shape[1] + 1, dtype="float32") / ops.maximum(ops.sum(present, axis=1, keepdims=True), 1)
        return [present * (2 - 2 * place), present * (2 - 4 * place)]

    def _counts(self, ids, weights):
        """Returns each word's total weight in each sentence, (sentences, vocabulary)."""
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
