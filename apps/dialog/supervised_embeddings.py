"""Supervised word embeddings: a dialogue and a response are near where they belong together."""
import keras
from keras import ops

import layers
from apps.dialog.selector import Selector

MONITOR = ("per_response", "max")


def build_model(config, spec):
    """Returns a compiled SupervisedEmbeddings."""
    model = SupervisedEmbeddings(config, spec)
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate))
    return model


class SupervisedEmbeddings(Selector):
    """Scores a response by the product of its vector with the dialogue's, both sums of their words' vectors.

        f(x, y) = (A bag(x)) . (B bag(y))
        loss = mean over drawn wrong responses z of max(0, margin - f(x, y) + f(x, z))

    x is the whole dialogue where `use_history`, else the user's last utterance.

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog", section 4.2.
    What differs: Adam, and the drawn responses are shared by the examples of a step.
    """

    def __init__(self, config, spec):
        super().__init__(config, spec, name="supervised_embeddings")
        self.use_history, self.margin, self.negatives = config.use_history, config.margin, config.negatives
        self.embed = layers.SentenceEmbedding(self.vocabulary_size, config.units, encoding="bag", name="embed")
        self.embed_response = layers.SentenceEmbedding(self.vocabulary_size, config.units, encoding="bag", name="embed_response")
        for layer in (self.embed, self.embed_response):
            layer.build((None, 1))
        self.generator = keras.random.SeedGenerator(config.seed)
        self.drawable = self.choosable.nonzero()[0].astype("int32")
        self.built = True

    def logits(self, inputs, training=False):
        x = self.embed(inputs["query"])
        if self.use_history:
            history = inputs["history"]
            x = x + self.embed(ops.reshape(history, (-1, history.shape[1] * history.shape[2])))
        return ops.matmul(x[:, 0], ops.transpose(self.embed_response(self.candidates)[:, 0]))

    def loss_of(self, logits, responses):
        """Returns the mean margin ranking loss over wrong responses drawn at random."""
        drawn = keras.random.randint((self.negatives,), 0, len(self.drawable), seed=self.generator)
        drawn = ops.take(self.drawable, drawn)
        right = ops.take_along_axis(logits, ops.cast(responses, "int32")[:, None], axis=1)
        is_wrong = ops.cast(drawn[None] != ops.cast(responses, "int32")[:, None], logits.dtype)
        return ops.mean(is_wrong * ops.relu(self.margin - right + ops.take(logits, drawn, axis=1)))
