"""The response most similar to the dialogue by TF-IDF."""
import keras
import numpy as np
import tensorflow as tf
from keras import ops

import layers
from apps.dialog.selector import Selector

_SHARPNESS = 20.0  # of the softmax whose cross-entropy is reported; the order of the responses does not depend on it


def build_model(config, spec, steps):
    """Returns a TfIdf, which has no trainable weights."""
    model = TfIdf(spec.info, memory_size=spec.inputs["history"].shape[1], match_type=config.match_type,
                  use_history=config.use_history)
    model.compile(optimizer=None)
    return model


class TfIdf(Selector):
    """Scores a response by the cosine similarity of its TF-IDF vector and that of the dialogue.

        f(x, y) = cos(v(x), v(y)),   v(x)[w] = count of w in x * log(candidates / candidates with w)

    With `use_history`, x is the whole dialogue, otherwise the user's last utterance. With match types, each entity type is an
    additional word: a response contains it if it names an entity of this type that the dialogue names too, and the dialogue
    contains it if any response does.

    info:        `data.Info` of the data set
    memory_size: maximum number of lines before the user's last utterance
    match_type:  whether to use match types
    use_history: whether to compare responses with the whole dialogue

    Example:
        >>> import numpy as np
        >>> from apps.dialog.data import Info
        >>> from apps.dialog.tfidf import TfIdf
        >>> words = ["", "<unknown>", "##food", "#bot", "#kb", "#user", "food", "greek", "hello", "what"]
        >>> info = Info(words=words, trained_words=10, candidates=["hello", "what food"], knowledge=["bell food greek"])
        >>> model = TfIdf(info, memory_size=4)
        >>> history = np.array([[[5, 8], [3, 8], [0, 0], [0, 0]]])  # user: hello, bot: hello
        >>> model({"history": history, "query": np.array([[7, 6]]), "entities": np.array([[1]])}).shape
        TensorShape([1, 2])

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog", section 4.1.
    What differs: document frequencies are those of the candidates, all of which are known.
    """

    def __init__(self, info, *, memory_size=100, match_type=True, use_history=False):
        super().__init__(info, memory_size, match_type, name="tfidf")
        self.use_history = use_history
        counts = np.zeros((len(self.candidates), self.vocabulary_size), np.float32)
        np.add.at(counts, (np.arange(len(counts))[:, None], self.candidates), 1)
        counts[:, 0] = 0
        self.weights_of_words = self._constant("weights_of_words", _rarity(counts))
        self.vectors = np.transpose(counts * _rarity(counts))  # (words, candidates)
        self.match_type = None
        if match_type:
            self.match_type = layers.MatchType(self.encoder.types, self.candidate_entities)
            kinds = np.zeros((len(counts), len(self.encoder.type_words)), np.float32)
            for row, named in zip(kinds, self.candidate_entities):
                row[[self.encoder.types[entity - 1] for entity in named]] = 1
            self.weights_of_types = self._constant("weights_of_types", _rarity(kinds))
        self.built = True

    def _constant(self, name, values):
        """Returns a weight that is counted from the candidates and never trained."""
        return self.add_weight(name=name, shape=values.shape, initializer=keras.initializers.Constant(values), trainable=False,
                               autocast=False)  # counts are float32 under every policy

    def logits(self, inputs, training=False):
        """Returns the cosines times 20, (batch, candidates)."""
        words = inputs["query"]
        if self.use_history:
            history = inputs["history"]
            words = ops.concatenate([words, ops.reshape(history, (-1, history.shape[1] * history.shape[2]))], axis=1)
        x = _counts(words, self.vocabulary_size) * self.weights_of_words
        products, norms = ops.matmul(x, self.vectors), np.square(self.vectors).sum(axis=0)
        norm = ops.sum(x * x, axis=1, keepdims=True)
        if self.match_type is not None:
            matches = ops.cast(self.match_type(inputs["entities"]), "float32")  # (batch, candidates, types)
            squares = ops.sum(matches * ops.square(self.weights_of_types), axis=2)
            products, norms = products + squares, norms + squares
            norm = norm + ops.sum(ops.max(matches, axis=1) * ops.square(self.weights_of_types), axis=1, keepdims=True)
        return _SHARPNESS * products / ops.sqrt(ops.maximum(norm * norms, 1e-12))

    def scores(self, logits):
        """Returns the cosines, (batch, candidates)."""
        return logits / _SHARPNESS


def _rarity(counts):
    """Returns the weight of each column of (documents, words): log of how few documents have it, 0 where none has."""
    documents = (counts > 0).sum(axis=0)
    return np.where(documents > 0, np.log(len(counts) / np.maximum(documents, 1)), 0).astype(np.float32)


def _counts(ids, size):
    """Returns how often each word occurs: ids int32 (batch, words) give float32 (batch, size), nothing for padding."""
    row = tf.repeat(tf.range(tf.shape(ids)[0]), ids.shape[1])
    where = tf.stack([row, tf.reshape(ids, [-1])], axis=1)
    present = tf.cast(tf.reshape(ids, [-1]) > 0, tf.float32)
    return tf.scatter_nd(where, present, [tf.shape(ids)[0], size])
