"""End-to-end memory network (M1), in the four parts of the memory network framework (M3)."""
import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import layers
from apps.memory_qa.answerer import Answerer
from training.engine import step, strategies

_LARGEST_GRADIENT = 40.0
"""bound of the largest singular value of a matrix's gradient"""
_SIZES = (8, 16, 32)
"""shorter stories are read from a memory of so many sentences"""
_EMPTY = 1
"""the word that stands in empty places: the unknown one, which no training story has"""
LINEAR_EPOCHS = 20
"""epochs of the linear start, or a quarter of all epochs if that is less"""
_LOSS_SCALE = 32.0
"""the first one in float16: the gradients of a sum without softmax are large, and at Keras's 32768 ten steps would be skipped"""


def build_model(config, spec, steps):
    """Returns a compiled MemN2N."""
    memories, longest_sentence = spec.inputs["story"].shape[1:]
    model = MemN2N(
        len(spec.info.words), memories, longest_sentence, embedding_size=config.embedding_size, hops=config.hops,
        tying=config.tying, encoding=config.encoding, padded=config.padded, noise=config.noise, epochs=config.epochs,
        linear_start=config.linear_start, nonlinear=config.nonlinear, restarts=config.restarts, seed=config.seed)
    optimizer = keras.optimizers.SGD(config.learning_rate)
    if model.compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=_LOSS_SCALE)
    model.compile(optimizer=optimizer)
    return model


class MemN2N(Answerer):
    """Answers a question by reading the memory of a story in several hops.

        I: u_1 = embed_B(question)                                  x_i, the sentences, and the question become words' vectors
        G: m_i = embed_A(x_i) + T_A(i),  c_i = embed_C(x_i) + T_C(i)    the memories, with how long ago they were written
        O: u_(k+1) = u_k + sum_i softmax(u_k . m_i) c_i             `layers.MemoryHops`
        R: answer = argmax softmax(W u)

    With adjacent tying A_(k+1) = C_k, B = A_1 and W^T = C_K; with layer-wise tying A and C are those of every hop, B and W
    are their own. The memory has `memories` places, and an empty place contains a special word, as in the authors' code; here
    this is also the unknown word. Its vector is 0 in all tables except the last one, where it is learned: if no sentence
    matches the question, little is read, and the amount that is read carries information. Without it, a fifth of the yes/no
    questions are answered incorrectly. With `padded`, the same word also pads the sentences to the longest one of the data
    set.

    `restarts` networks are trained as one program on the same batches, each with its own weights, learning rate and linear
    start; `chosen` is the one with the lowest validation error.

    The network is trained as in the authors' code: stochastic gradient descent on the sum of the cross-entropies of 32
    questions, with the rate halved after each quarter of the epochs with softmax. These follow the linear start: 20 epochs
    without softmax, or a quarter of all epochs if there are fewer than 80. With a linear start all rates are half of those
    without one. Gradients of tables and matrices are clipped to norm 40, where the norm is the largest singular value.

    vocabulary_size:  number of words, including padding and the unknown word
    memories:         size of the memory in sentences
    longest_sentence: number of words of the longest sentence, to which `padded` pads
    embedding_size:   size of the vectors of words and memories
    hops:             number of memory hops
    tying:            "adjacent" or "layer_wise"
    encoding:         "position", or "bag", which ignores word order
    padded:           whether to pad sentences
    noise:            empty memories inserted during training, as a fraction of the number of memories
    epochs:           number of training epochs, which determines the linear start and the learning rate
    linear_start:     whether training begins without softmax
    nonlinear:        whether to apply a ReLU after each hop
    restarts:         number of networks
    seed:             seed of the empty memories

    Example:
        >>> import numpy as np
        >>> from apps.memory_qa.memn2n import MemN2N
        >>> model = MemN2N(vocabulary_size=20, memories=2, longest_sentence=3, embedding_size=8, hops=3, restarts=5)
        >>> story, question = np.array([[[3, 4, 5], [6, 4, 0]]]), np.array([[7, 3]])
        >>> logits, attention = model({"story": story, "question": question})
        >>> logits.shape, attention.shape
        (TensorShape([1, 5, 20]), TensorShape([1, 3, 5, 2]))

    Source: Sukhbaatar et al., 2015, "End-To-End Memory Networks", sections 2 and 4, and its code; parts: Weston et al.,
    2015, "Memory Networks", section 2.
    What differs: J of the position encoding is the length of each sentence, unless `padded`; the number of time steps is
    limited by memory size and noise; all restarts share the empty memories; restarts are selected by validation error, not by
    training error.
    """

    def __init__(self, vocabulary_size, memories, longest_sentence, *, embedding_size=50, hops=3, tying="adjacent",
                 encoding="position", padded=False, noise=0.1, epochs=80, linear_start=True, nonlinear=False,
                 restarts=1, seed=0):
        super().__init__(name="memn2n")
        self.members, self.embedding_size = restarts, embedding_size
        self.linear_epochs = min(LINEAR_EPOCHS, epochs // 4) if linear_start else 0
        self.softmax_epochs = epochs - self.linear_epochs
        self.adjacent = tying == "adjacent"
        self.hops = layers.MemoryHops(hops, tying, nonlinear)
        tables = self.hops.tables
        self.places = memories
        self.sizes = [*(size for size in _SIZES if size < memories), memories]
        self.time_index = layers.TimeIndex(noise, seed=seed)
        self.padded_to = longest_sentence if padded else 0
        self.embed = layers.SentenceEmbedding(vocabulary_size, embedding_size, tables * restarts, encoding, name="embed")
        self.times = layers.SentenceEmbedding(  # a time is the last word of its sentence
            self.time_index.largest(memories) + 1, embedding_size, tables * restarts, encoding, name="times")
        for layer in (self.embed, self.times):
            layer.build((None, None, 1))
        self.hops.build((None, restarts, embedding_size), (None, memories + 1, tables, restarts, embedding_size))
        if not self.adjacent:
            self.embed_question = layers.SentenceEmbedding(
                vocabulary_size, embedding_size, restarts, encoding, name="embed_question")
            self.embed_question.build((None, 1))
            self.answer_table = self.add_weight(
                name="answer_table", shape=(vocabulary_size, restarts, embedding_size),
                initializer=keras.initializers.RandomNormal(stddev=0.1))
        # of the empty word only the last table's vector is trained
        self.is_trained = np.ones((*self.embed.table.shape[:2], 1), "float32")
        self.is_trained[_EMPTY, :-restarts] = 0
        self.embed.table.assign(self.embed.table * self.is_trained)

        def state(name, start):
            return self.add_weight(name=name, shape=(restarts,), initializer=keras.initializers.Constant(start),
                                   dtype="float32", trainable=False)

        self.linear = state("linear", float(self.linear_epochs > 0))
        self.first_rate = 0.5 if linear_start else 1.0
        self.rate = state("rate", self.first_rate)
        self.age = state("age", 0.0)  # epochs since the start, or since the softmax came in
        self.chosen = self.add_weight(name="chosen", shape=(), initializer="zeros", dtype="int32", trainable=False)
        self.built = True

    def input_features(self, question):
        """I: returns the question's vectors, (batch, members, embedding_size)."""
        question = self._padded(ops.cast(question, "int32"))
        return self._tables(self.embed(question))[:, 0] if self.adjacent else self.embed_question(question)

    def generalization(self, story, training=False):
        """G: returns the memories of all sentences and of the empty one, and their counts.

        story (batch, memories, words) gives (batch, memories + 1, tables, members, embedding_size) and (batch, memories + 1).
        The last memory is the empty sentence, which represents all empty places.
        """
        story = ops.cast(story, "int32")
        mask = ops.any(story != 0, axis=-1)
        ago = self.time_index(mask, training=training)
        empty = ops.broadcast_to(_EMPTY * ops.eye(1, story.shape[2], dtype="int32"), ops.shape(story[:, :1]))
        sentences, ago = self._padded(ops.concatenate([story, empty], axis=1)), ops.pad(ago, ((0, 0), (0, 1)))
        copies = layers.memory_hop.with_empty_places(ops.cast(mask, "float32"), self.places)
        return self._tables(self.embed(sentences) + self.times(ago[..., None])), copies

    def output_features(self, u, memory, copies):
        """O: returns the output of the last hop and the attention of all hops.

        They are (batch, members, embedding_size) and (batch, hops, members, memories).
        """
        u, attention = self.hops(u, memory, copies, self.linear > 0)
        return u, attention[..., :-1]

    def response(self, u):
        """R: returns the logits of all words, (batch, members, words)."""
        if self.adjacent:
            table = ops.reshape(self.embed.table, (-1, self.hops.tables, self.members, self.embedding_size))[:, -1]
        else:
            table = self.answer_table
        return ops.cast(ops.einsum("bmu,vmu->bmv", u, ops.cast(table, u.dtype)), "float32")

    def call(self, inputs, training=False):
        """Returns logits (batch, members, words) and attention (batch, hops, members, memories)."""
        u, attention = self.output_features(
            self.input_features(inputs["question"]), *self.generalization(inputs["story"], training))
        return self.response(u), attention

    def train_step(self, batch):
        inputs, targets = batch
        # the program for the shortest memory that holds the stories of this batch: most are far shorter than the longest
        longest = ops.max(ops.sum(ops.cast(ops.any(inputs["story"] != 0, axis=-1), "int32"), axis=-1))
        program = ops.sum(ops.cast(longest > ops.convert_to_tensor(self.sizes[:-1], "int32"), "int32"))
        # the two halves of `step.gradient_step`: differentiated as a whole, each program would hold room for all of them
        losses, gradients = tf.switch_case(
            program, [functools.partial(self._scaled_gradients, inputs, targets, size) for size in self.sizes])
        step.apply_scaled(self.optimizer, gradients, self.trainable_variables, change=self._whole_steps)
        return self._track(ops.mean(losses))

    def _scaled_gradients(self, inputs, targets, memories):
        """Returns cross-entropies (batch, members) and scaled gradients of their sum, for stories of so many sentences."""
        def losses_of():
            logits, _ = self(inputs | {"story": inputs["story"][:, :memories]}, training=True)
            answers = ops.broadcast_to(targets["answer"][:, None], ops.shape(logits)[:2])
            losses = ops.sparse_categorical_crossentropy(answers, logits, from_logits=True)
            return ops.sum(losses), losses

        (_, losses), gradients = step.scaled_gradients(self.optimizer, self.trainable_variables, losses_of, is_share=True)
        return losses, gradients

    def end_epoch(self, losses, errors):
        """Receives the validation loss and error of each member; ends the linear start, sets rates, and selects the best
        member."""
        linear, age = (ops.convert_to_numpy(v.value) for v in (self.linear, self.age))
        ends = (linear > 0) & (age + 1 >= self.linear_epochs)
        linear = (linear > 0) & ~ends
        age = (~ends) * (age + 1)
        quarter = max(1, self.softmax_epochs // 4)
        self.linear.assign(linear.astype("float32"))
        self.age.assign(age.astype("float32"))
        self.rate.assign((self.first_rate * np.where(linear, 1.0, 0.5 ** (age // quarter))).astype("float32"))
        self.chosen.assign(min(range(self.members), key=lambda member: (errors[member], losses[member])))

    def memory_vectors(self, story):
        """Returns the chosen member's memories of the first hop, (batch, memories, embedding_size)."""
        return self.generalization(story)[0][:, :-1, 0, self.chosen_index()]

    def _padded(self, words):
        """Returns word numbers (batch, ..., words) with those behind a sentence's end filled up to the longest sentence."""
        missing = ops.logical_and(words == 0, ops.arange(words.shape[-1]) < self.padded_to)
        return ops.where(missing, _EMPTY, words)

    def _tables(self, vectors):
        """Returns (..., tables * members, embedding_size) as (..., tables, members, embedding_size)."""
        return ops.reshape(vectors, (-1, *vectors.shape[1:-2], self.hops.tables, self.members, self.embedding_size))

    def _whole_steps(self, gradients):
        """Returns this replica's part of the steps: a norm is that of the whole batch's gradient, which all replicas see."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return self._steps(strategies.global_sum(gradients), self.rate / replicas)  # the optimizer sums over the replicas

    def _steps(self, gradients, rates):
        """Returns the gradients with those of each matrix bounded, times each network's rate."""
        tables = [self.embed.table.path, self.times.table.path]  # words and times are rows of one matrix
        steps = {variable.path: gradient for variable, gradient in zip(self.trainable_variables, gradients)}
        for paths in [tables, *([path] for path in steps if path not in tables)]:
            matrices = ops.concatenate([steps[path] for path in paths])  # (rows, tables * members, columns)
            bound = ops.maximum(1.0, largest_singular_values(matrices) / _LARGEST_GRADIENT)
            factor = ops.tile(rates, matrices.shape[1] // self.members) / bound
            steps |= {path: steps[path] * factor[:, None] for path in paths}
        steps[tables[0]] *= self.is_trained
        return list(steps.values())


def largest_singular_values(matrices):
    """Returns the largest singular value of each of several matrices (rows, matrices, columns), by powers of M^T M."""
    gram = ops.einsum("rmi,rmj->mij", matrices, matrices)
    power = gram
    for _ in range(6):
        power = power / ops.maximum(ops.trace(power, axis1=1, axis2=2), 1e-30)[:, None, None]
        power = ops.matmul(power, power)
    share = ops.trace(ops.matmul(gram, power), axis1=1, axis2=2) / ops.maximum(ops.trace(power, axis1=1, axis2=2), 1e-30)
    return ops.sqrt(share)
