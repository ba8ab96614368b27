"""Memory network over a dialogue (G1)."""
import keras
from keras import ops

import layers
from apps.dialog.selector import Selector

_LARGEST_GRADIENT = 40.0


def build_model(config, spec, steps):
    """Returns a compiled MemN2N for dialogues."""
    model = MemN2N(
        spec.info, memory_size=spec.inputs["history"].shape[1], embedding_size=config.embedding_size, hops=config.hops,
        noise=config.noise, tied=config.tied, match_type=config.match_type, seed=config.seed)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate, epsilon=1e-8, global_clipnorm=_LARGEST_GRADIENT))
    return model


class MemN2N(Selector):
    """Reads the dialogue in several hops, then selects a response.

        I: u_1 = A bag(query)                                    the user's last utterance becomes a vector
        G: m_i = A bag(line_i, who says it) + T[ago_i]           the memory: every earlier line, and how many came after it
        O: u_(k+1) = u_k + R sum_i softmax(u_k . m_i) m_i        `hops` reads with the same A and R
        R: argmax_y u . (W bag(y) + sum_t match(y, t) W_t)       over all candidates y

    A memory has `memory_size` places; empty places take part in the softmax with score and value 0. With `tied`, W = A, and R
    is initialized with the identity: the score of a response then depends on the words that it shares with the read lines,
    including words that do not occur in training, which keep their random initial vectors.

    match(y, t) is 1 if y contains an entity of type t that also occurs in the dialogue (`layers.MatchType`): this lets the
    network select a phone number that it has never seen. With match types, lines also contain a word for the type of each of
    their entities.

    info:           `data.Info` of the data set
    memory_size:    maximum number of lines before the user's last utterance in the memory
    embedding_size: size of the vectors of words and lines
    hops:           number of memory hops before the response
    noise:          maximum number of empty memories inserted during training, as a fraction of the number of memories
    tied:           whether dialogue and responses share one embedding matrix
    match_type:     whether to use match types
    seed:           seed of the empty memories

    Example:
        >>> import numpy as np
        >>> from apps.dialog.data import Info
        >>> from apps.dialog.memn2n import MemN2N
        >>> words = ["", "<unknown>", "##food", "#bot", "#kb", "#user", "food", "greek", "hello", "what"]
        >>> info = Info(words=words, trained_words=10, candidates=["hello", "what food"], knowledge=["bell food greek"])
        >>> model = MemN2N(info, memory_size=4, embedding_size=8, hops=2)
        >>> history = np.array([[[5, 8], [3, 8], [0, 0], [0, 0]]])  # user: hello, bot: hello
        >>> inputs = {"history": history, "query": np.array([[7, 6]]), "entities": np.array([[1]])}
        >>> logits, attention = model.attend(inputs)
        >>> logits.shape, attention.shape
        (TensorShape([1, 2]), TensorShape([1, 2, 4]))

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog", section 4.3 and appendix A; parts:
    Weston et al., 2015, "Memory Networks", section 2.
    What differs: `tied`; lines are numbered from the latest one backwards, with random empty memories in training
    (`layers.TimeIndex`), not from the first one; words for types are in the lines too, not only in the candidates; words that
    do not occur in training are ignored unless `tied`; Adam on the cross-entropy over all candidates that consist of training
    words, with gradient clipping at norm 40 and cosine decay of the learning rate.
    """

    def __init__(self, info, *, memory_size=100, embedding_size=32, hops=3, noise=0.3, tied=False, match_type=True, seed=0):
        super().__init__(info, memory_size, match_type, name="memn2n")
        self.hops = hops
        self.embed = layers.SentenceEmbedding(self.vocabulary_size, embedding_size, encoding="bag", name="embed")
        self.embed_response = self.embed if tied else layers.SentenceEmbedding(
            self.vocabulary_size, embedding_size, encoding="bag", name="embed_response")
        self.time_index = layers.TimeIndex(noise, seed=seed)
        self.times = layers.SentenceEmbedding(
            self.time_index.largest(memory_size) + 1, embedding_size, encoding="bag", name="times")
        for layer in {id(layer): layer for layer in (self.embed, self.embed_response, self.times)}.values():
            layer.build((None, 1))
        self.hop = layers.MemoryHop()
        initializer = "identity" if tied else keras.initializers.RandomNormal(stddev=0.1)
        self.rotation = keras.layers.Dense(embedding_size, use_bias=False, kernel_initializer=initializer, name="rotation")
        self.rotation.build((None, embedding_size))
        self.match_type = None
        if match_type:
            self.match_type = layers.MatchType(self.encoder.types, self.candidate_entities)
            self.type_vectors = self.add_weight(
                name="type_vectors", shape=(len(self.encoder.type_words), embedding_size),
                initializer=keras.initializers.RandomNormal(stddev=0.1))
        self.built = True

    def input_features(self, query):
        """I: returns the vector of the user's last utterance, (batch, embedding_size)."""
        return self.embed(query)[:, 0]

    def generalization(self, history, training=False):
        """G: returns the memories of all lines and of an empty place, (batch, memory_size + 1, embedding_size), and their counts.

        The counts (batch, memory_size + 1) are the multiplicities of the memories in the softmax.
        """
        mask = ops.any(history != 0, axis=-1)
        ago = self.time_index(mask, training=training)
        memory = (self.embed(history) + self.times(ago[..., None]))[:, :, 0]
        copies = layers.memory_hop.with_empty_places(ops.cast(mask, memory.dtype), self.memory_size)
        return ops.pad(memory, ((0, 0), (0, 1), (0, 0))), copies

    def output_features(self, u, memory, copies):
        """O: returns the vector after the last hop (batch, embedding_size) and attention (batch, hops, memory_size)."""
        attentions = []
        for _ in range(self.hops):
            read, attention = self.hop(u, memory, memory, copies)
            u = u + self.rotation(read)
            attentions.append(attention[:, :-1])
        return u, ops.stack(attentions, axis=1)

    def response(self, u, entities):
        """R: returns the logits of all candidates, (batch, candidates)."""
        logits = ops.matmul(u, ops.transpose(self.response_vectors()))
        if self.match_type is not None:
            of_types = ops.matmul(u, ops.transpose(ops.cast(self.type_vectors, u.dtype)))  # (batch, types)
            logits = logits + ops.einsum("bct,bt->bc", self.match_type(entities), of_types)
        return logits

    def logits(self, inputs, training=False):
        """Returns the logits of all candidates, (batch, candidates)."""
        return self._read(inputs, training)[0]

    def attend(self, inputs):
        """Returns logits (batch, candidates) and attention (batch, hops, memory_size)."""
        logits, attention = self._read({name: ops.cast(value, "int32") for name, value in inputs.items()})
        return ops.cast(logits, "float32"), ops.cast(attention, "float32")

    def word_vectors(self):
        """Returns the vectors of the words of the vocabulary, (words, embedding_size)."""
        return self.embed.table[:, 0]

    def response_vectors(self):
        """Returns the vectors of the candidates, (candidates, embedding_size)."""
        return self.embed_response(self.candidates)[:, 0]

    def _read(self, inputs, training=False):
        u, attention = self.output_features(
            self.input_features(inputs["query"]), *self.generalization(inputs["history"], training))
        return self.response(u, inputs["entities"]), attention
