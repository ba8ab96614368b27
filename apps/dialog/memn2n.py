"""Memory network over a dialogue (G1)."""
import keras
from keras import ops

import layers
from apps.dialog.selector import Selector

MONITOR = ("per_response", "max")

_LARGEST_GRADIENT = 40.0


def build_model(config, spec):
    """Returns a compiled MemN2N for dialogues."""
    model = MemN2N(config, spec)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, spec.info["steps"])
    model.compile(optimizer=keras.optimizers.Adam(rate, epsilon=1e-8, global_clipnorm=_LARGEST_GRADIENT))
    return model


class MemN2N(Selector):
    """Reads the dialogue several times, then chooses the response that fits what was read.

        I: u_1 = A bag(query)                                    the user's last utterance becomes a vector
        G: m_i = A bag(line_i, who says it) + T[ago_i]           the memory: every earlier line, and how many came after it
        O: u_(k+1) = u_k + R sum_i softmax(u_k . m_i) m_i        `hops` reads with the same A and R
        R: argmax_y u . (W bag(y) + sum_t match(y, t) W_t)       over all candidates y

    A memory has `memory_size` places, of which empty ones take part in the softmax with score and value 0. With `tied`,
    W = A and R begins as the identity: a response then fits what was read by the words that it shares with it, also by
    words that training never shows and whose vectors are as they were drawn.

    match(y, t) is 1 where y names an entity of the type t that the dialogue names too (`layers.MatchType`): it is what
    lets the network say a phone number that it has never seen. With match types, lines have a word for the type of each
    entity in them as well.

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog", section 4.3 and appendix A; parts:
    Weston et al., 2015, "Memory Networks", section 2.
    What differs: `tied`; lines are counted back from the latest, with random blanks in training (`layers.TimeIndex`), not
    from the first; the types' words in the lines, not only in the candidates; words that training never shows add nothing,
    unless `tied`; Adam on the cross-entropy over all candidates that the training split can express, gradients above norm 40
    scaled to it, the rate falling to nothing along a cosine.
    """

    def __init__(self, config, spec):
        super().__init__(config, spec, name="memn2n")
        self.hops, units = config.hops, config.units
        self.embed = layers.SentenceEmbedding(self.vocabulary_size, units, encoding="bag", name="embed")
        self.embed_response = self.embed if config.tied else layers.SentenceEmbedding(
            self.vocabulary_size, units, encoding="bag", name="embed_response")
        self.time_index = layers.TimeIndex(config.noise, seed=config.seed)
        self.times = layers.SentenceEmbedding(self.time_index.largest(self.memories) + 1, units, encoding="bag", name="times")
        for layer in {id(layer): layer for layer in (self.embed, self.embed_response, self.times)}.values():
            layer.build((None, 1))
        self.hop = layers.MemoryHop()
        start = "identity" if config.tied else keras.initializers.RandomNormal(stddev=0.1)
        self.rotation = keras.layers.Dense(units, use_bias=False, kernel_initializer=start, name="rotation")
        self.rotation.build((None, units))
        self.match_type = None
        if config.match_type:
            self.match_type = layers.MatchType(self.encoder.types, self.candidate_entities)
            self.type_vectors = self.add_weight(
                name="type_vectors", shape=(len(self.encoder.type_words), units),
                initializer=keras.initializers.RandomNormal(stddev=0.1))
        self.built = True

    def input_features(self, query):
        """I: returns the vector of the user's last utterance, (batch, units)."""
        return self.embed(query)[:, 0]

    def generalization(self, history, training=False):
        """G: returns what is kept of each line and of none, (batch, memories + 1, units), and how many there are of each."""
        mask = ops.any(history != 0, axis=-1)
        ago = self.time_index(mask, training=training)
        memory = (self.embed(history) + self.times(ago[..., None]))[:, :, 0]
        copies = layers.memory_hop.with_empty_places(ops.cast(mask, memory.dtype), self.memories)
        return ops.pad(memory, ((0, 0), (0, 1), (0, 0))), copies

    def output_features(self, u, memory, copies):
        """O: returns the vector after the last hop (batch, units) and attention (batch, hops, memories)."""
        attentions = []
        for _ in range(self.hops):
            read, attention = self.hop(u, memory, memory, copies)
            u = u + self.rotation(read)
            attentions.append(attention[:, :-1])
        return u, ops.stack(attentions, axis=1)

    def response(self, u, entities):
        """R: returns the logits of all candidates, (batch, candidates)."""
        vectors = self.embed_response(self.candidates)[:, 0]  # (candidates, units)
        logits = ops.matmul(u, ops.transpose(vectors))
        if self.match_type is not None:
            of_types = ops.matmul(u, ops.transpose(ops.cast(self.type_vectors, u.dtype)))  # (batch, types)
            logits = logits + ops.einsum("bct,bt->bc", self.match_type(entities), of_types)
        return logits

    def logits(self, inputs, training=False):
        return self._read(inputs, training)[0]

    def attend(self, inputs):
        logits, attention = self._read({name: ops.cast(value, "int32") for name, value in inputs.items()})
        return ops.cast(logits, "float32"), ops.cast(attention, "float32")

    def _read(self, inputs, training=False):
        u, attention = self.output_features(
            self.input_features(inputs["query"]), *self.generalization(inputs["history"], training))
        return self.response(u, inputs["entities"]), attention
