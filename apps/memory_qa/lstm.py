"""A baseline without a memory: an LSTM that reads the story and then the question."""
import keras
from keras import ops

import layers
from apps.memory_qa.answerer import Answerer

_LARGEST_GRADIENT = 10.0
_WORDS_PER_MEMORY = 4
"""words that are read at most, for each memory that other systems have: stories of short sentences are read whole"""


def build_model(config, spec, steps):
    """Returns a compiled StoryLSTM."""
    model = StoryLSTM(len(spec.info.words), embedding_size=config.embedding_size, memory_size=config.memory_size)
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate, global_clipnorm=_LARGEST_GRADIENT))
    return model


class StoryLSTM(Answerer):
    """Answers from the state of an LSTM after the last word of the question.

        h = LSTM(embed(story's words), embed(question's words)),  answer = argmax softmax(W h + b)

    The words follow each other without padding between them; of a longer text, only the latest words are read. Without a
    memory, there is no attention.

    vocabulary_size: number of words, including padding and the unknown word
    embedding_size:  size of the words' vectors, and of the state of the LSTM
    memory_size:     a quarter of the maximum number of words

    Example:
        >>> import numpy as np
        >>> from apps.memory_qa.lstm import StoryLSTM
        >>> model = StoryLSTM(vocabulary_size=20, embedding_size=8)
        >>> story, question = np.array([[[3, 4, 5], [6, 4, 0]]]), np.array([[7, 3]])
        >>> logits, attention = model({"story": story, "question": question})
        >>> logits.shape, attention.shape
        (TensorShape([1, 1, 20]), TensorShape([1, 0, 1, 2]))

    Source: Weston et al., 2016, "Towards AI-Complete Question Answering", section 4, the LSTM baseline.
    What differs: Adam; the number of words is limited.
    """

    def __init__(self, vocabulary_size, *, embedding_size=50, memory_size=50):
        super().__init__(name="lstm")
        self.most_words = memory_size * _WORDS_PER_MEMORY
        self.embed = layers.SentenceEmbedding(vocabulary_size, embedding_size, 1, "bag", name="embed")
        self.embed.build((None, 1))
        self.lstm = keras.layers.LSTM(embedding_size, name="lstm")
        self.lstm.build((None, None, embedding_size))
        self.answer = keras.layers.Dense(vocabulary_size, dtype="float32", name="answer")
        self.answer.build((None, embedding_size))
        self.built = True

    def call(self, inputs, training=False):
        """Returns logits (batch, 1, words) and attention of no hops (batch, 0, 1, memories)."""
        story, question = (ops.cast(inputs[name], "int32") for name in ("story", "question"))
        words = self.sequence(story, question)
        state = self.lstm(self.embed(words[..., None])[..., 0, :], mask=words != 0, training=training)
        return self.answer(state)[:, None], ops.zeros((ops.shape(story)[0], 0, 1, story.shape[1]))

    def sequence(self, story, question):
        """Returns the words of story and question in one row (batch, words), with padding in front."""
        flat = ops.concatenate([ops.reshape(story, (-1, story.shape[1] * story.shape[2])), question], axis=1)
        width = flat.shape[1]
        # a number for each place, so that the words keep their order and all padding comes before them
        rank = ops.where(flat != 0, width, 0) + ops.arange(width)
        return ops.take_along_axis(flat, ops.argsort(rank, axis=1), axis=1)[:, -self.most_words:]
