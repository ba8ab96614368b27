"""Supervised word embeddings, trained so that the vectors of a dialogue and of its response are close."""
import keras
from keras import ops

import layers
from apps.dialog.selector import Selector


def build_model(config, spec, steps):
    """Returns a compiled SupervisedEmbeddings."""
    model = SupervisedEmbeddings(
        spec.info, memory_size=spec.inputs["history"].shape[1], embedding_size=config.embedding_size, margin=config.margin,
        negatives=config.negatives, use_history=config.use_history, seed=config.seed)
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate))
    return model


class SupervisedEmbeddings(Selector):
    """Scores a response by the dot product of its vector and that of the dialogue, which are sums of word vectors.

        f(x, y) = (A bag(x)) . (B bag(y))
        loss = mean over sampled wrong responses z of max(0, margin - f(x, y) + f(x, z))

    With `use_history`, x is the whole dialogue, otherwise the user's last utterance.

    info:           `data.Info` of the data set
    memory_size:    maximum number of lines before the user's last utterance
    embedding_size: dimensions of a vector
    margin:         margin of the ranking loss between the correct response and a wrong one
    negatives:      wrong responses sampled per step
    use_history:    whether to compare responses with the whole dialogue
    seed:           seed of the sampled responses

    Example:
        >>> import numpy as np
        >>> from apps.dialog.data import Info
        >>> from apps.dialog.supervised_embeddings import SupervisedEmbeddings
        >>> words = ["", "<unknown>", "##food", "#bot", "#kb", "#user", "food", "greek", "hello", "what"]
        >>> info = Info(words=words, trained_words=10, candidates=["hello", "what food"], knowledge=["bell food greek"])
        >>> model = SupervisedEmbeddings(info, memory_size=4, embedding_size=8)
        >>> history = np.array([[[5, 8], [3, 8], [0, 0], [0, 0]]])  # user: hello, bot: hello
        >>> model({"history": history, "query": np.array([[7, 6]]), "entities": np.array([[1]])}).shape
        TensorShape([1, 2])

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog", section 4.2.
    What differs: Adam, and all examples of a step share the sampled responses.
    """

    def __init__(self, info, *, memory_size=100, embedding_size=32, margin=0.1, negatives=100, use_history=True, seed=0):
        super().__init__(info, memory_size, name="supervised_embeddings")
        self.use_history, self.margin, self.negatives = use_history, margin, negatives
        self.embed = layers.SentenceEmbedding(self.vocabulary_size, embedding_size, encoding="bag", name="embed")
        self.embed_response = layers.SentenceEmbedding(
            self.vocabulary_size, embedding_size, encoding="bag", name="embed_response")
        for layer in (self.embed, self.embed_response):
            layer.build((None, 1))
        self.generator = keras.random.SeedGenerator(seed)
        self.drawable = self.choosable.nonzero()[0].astype("int32")
        self.built = True

    def logits(self, inputs, training=False):
        """Returns the scores f of all candidates, (batch, candidates)."""
        x = self.embed(inputs["query"])
        if self.use_history:
            history = inputs["history"]
            x = x + self.embed(ops.reshape(history, (-1, history.shape[1] * history.shape[2])))
        return ops.matmul(x[:, 0], ops.transpose(self.response_vectors()))

    def word_vectors(self):
        """Returns the vectors of the words of the vocabulary, (words, embedding_size)."""
        return self.embed.table[:, 0]

    def response_vectors(self):
        """Returns the vectors of the candidates, (candidates, embedding_size)."""
        return self.embed_response(self.candidates)[:, 0]

    def loss_of(self, logits, responses):
        """Returns the mean margin ranking loss over wrong responses drawn at random."""
        drawn = keras.random.randint((self.negatives,), 0, len(self.drawable), seed=self.generator)
        drawn = ops.take(self.drawable, drawn)
        correct = ops.take_along_axis(logits, ops.cast(responses, "int32")[:, None], axis=1)
        is_wrong = ops.cast(drawn[None] != ops.cast(responses, "int32")[:, None], logits.dtype)
        return ops.mean(is_wrong * ops.relu(self.margin - correct + ops.take(logits, drawn, axis=1)))
