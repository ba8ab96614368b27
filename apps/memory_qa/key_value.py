"""Key-value memory network (M2), in the four parts of the memory network framework."""
import keras
from keras import ops

import layers
from apps.memory_qa.answerer import Answerer
from apps.memory_qa.systems import is_knowledge_base
from training import UserError

_WINDOW = 11
"""words; 7 in the paper, whose text has longer sentences: here a window should hold a sentence"""
_LARGEST_GRADIENT = 10.0
_TIME_NOISE = 0.1


def build_model(config, spec, steps):
    """Returns a compiled KeyValue, with cosine decay of the learning rate to 0 over `steps`.

    Raises:
        UserError: `memory` is "triple" for stories.
    """
    has_facts = is_knowledge_base(config.dataset)
    if config.memory == "triple" and not has_facts:
        raise UserError(f"--memory triple needs a knowledge base, but {config.dataset} has stories: use sentence or window")
    model = KeyValue(
        len(spec.info.words), spec.inputs["story"].shape[1], embedding_size=config.embedding_size, hops=config.hops,
        memory=config.memory, has_facts=has_facts, seed=config.seed)
    rate = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate, global_clipnorm=_LARGEST_GRADIENT))
    return model


class KeyValue(Answerer):
    """Answers a question by addressing memories by their keys and reading their values, in several hops.

        I: q_1 = embed_A(question)
        G: k_i = embed_A(key words) [+ T(i)],  v_i = embed_A(value words)
               triple:    key = subject and relation of a fact, value = its object
               sentence:  key = value = the words of a sentence
               window:    key = the words around a word, value = that word
        O: q_(h+1) = (q_h + sum_i softmax(q_h . k_i) v_i) . R_h             `layers.KeyValueHop`
        R: answer = argmax softmax(B q_(H+1))

    embed_A sums word vectors. T encodes how long ago a sentence of a story was written; facts have no time. The answer to a
    question about a knowledge base is one of the entities in the retrieved facts: all others have probability 0. If several
    answers are correct, the loss is -log of the sum of their probabilities.

    vocabulary_size: number of words, including padding and the unknown word
    memories:        size of the memory, in sentences of a story or in facts
    embedding_size:  size of the vectors of words and memories
    hops:            number of memory hops
    memory:          content of a memory: "sentence", "window" or "triple"
    has_facts:       whether the memories are facts of a knowledge base, with three words each, rather than sentences of a
                     story
    seed:            seed of the empty memories between the sentences in training

    Example:
        >>> import numpy as np
        >>> from apps.memory_qa.key_value import KeyValue
        >>> model = KeyValue(vocabulary_size=20, memories=2, embedding_size=8)
        >>> story, question = np.array([[[3, 4, 5], [6, 4, 0]]]), np.array([[7, 3]])
        >>> logits, attention = model({"story": story, "question": question})
        >>> logits.shape, attention.shape
        (TensorShape([1, 1, 20]), TensorShape([1, 2, 1, 2]))

    Source: Miller et al., 2016, "Key-Value Memory Networks for Directly Reading Documents", section 3; parts: Weston et
    al., 2015, "Memory Networks", section 2.
    What differs: an entity is represented by a marker local to the question (`knowledge_reader.Reader`), because the vectors
    of entities in no training question would be untrained; hence only entities in the memory are candidates, and the facts of
    further hops are in the memory from the start, whereas in the paper they are hashed by the question alone. Stories are not
    hashed but read completely, with time. Every word has a window, not only the entities. B starts as A and is not tied to it.
    Adam with cosine decay; 100 dimensions instead of 500.
    """

    def __init__(self, vocabulary_size, memories, *, embedding_size=100, hops=2, memory="sentence", has_facts=False, seed=0):
        super().__init__(name="key_value")
        self.places, self.memory, self.has_facts, self.embedding_size = memories, memory, has_facts, embedding_size
        self.embed = layers.SentenceEmbedding(vocabulary_size, embedding_size, 1, "bag", name="embed")
        self.embed.build((None, 1))
        if not has_facts:
            self.time_index = layers.TimeIndex(_TIME_NOISE, seed=seed)
            self.times = layers.SentenceEmbedding(
                self.time_index.largest(memories) + 1, embedding_size, 1, "bag", name="times")
            self.times.build((None, 1))
        self.hops = [layers.KeyValueHop(name=f"hop_{number}") for number in range(1, hops + 1)]
        for hop in self.hops:
            hop.build((None, embedding_size))
        # B starts as A: a value that is read is then an answer that is given, and attention means what it seems to
        start = keras.initializers.Constant(ops.convert_to_numpy(self.embed.table)[:, 0])
        self.answer_table = self.add_weight(name="answer_table", shape=(vocabulary_size, embedding_size), initializer=start)
        self.built = True

    def input_features(self, inputs):
        """I: returns the question's vector (batch, embedding_size) and a mask of the sentences or facts (batch, memories)."""
        return self._sum(inputs["question"]), ops.any(inputs["story"] != 0, axis=-1)

    def generalization(self, story, mask, training=False):
        """G: returns keys and values (batch, places, embedding_size) and a mask of the places (batch, places).

        A place is a memory or, with windows, a word of a memory, in text order.
        """
        if self.memory == "triple":
            return self._sum(story[..., :-1]), self._sum(story[..., -1:]), mask
        keys = self._sum(self._windows(story) if self.memory == "window" else story)  # (batch, memories, …)
        values = self._sum(story[..., None]) if self.memory == "window" else keys
        if not self.has_facts:
            time = self._sum(self.time_index(mask, training=training)[..., None], self.times)
            keys = keys + (time[:, :, None] if self.memory == "window" else time)
        if self.memory == "window":
            keys, values = (ops.reshape(x, (-1, story.shape[1] * story.shape[2], self.embedding_size)) for x in (keys, values))
            mask = ops.reshape(story != 0, (-1, story.shape[1] * story.shape[2]))
        return keys, values, mask

    def output_features(self, query, keys, values, mask):
        """O: returns the last query (batch, embedding_size) and attention (batch, hops, places)."""
        attentions = []
        for hop in self.hops:
            query, attention = hop(query, keys, values, mask)
            attentions.append(attention)
        return query, ops.stack(attentions, axis=1)

    def response(self, query, story):
        """R: returns the logits of all words (batch, words), lowest for words that cannot be an answer."""
        logits = ops.cast(ops.matmul(query, ops.transpose(ops.cast(self.answer_table, query.dtype))), "float32")
        if not self.has_facts:
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

    def loss_of(self, inputs, targets):
        answers = targets["answers"] if "answers" in targets else targets["answer"][:, None]
        logits, _ = self(inputs, training=True)
        return ops.mean(_cross_entropy(logits[:, 0], answers))

    def _sum(self, words, embed=None):
        """Returns the sum of the vectors of words, (..., words) as (..., embedding_size)."""
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
