"""Lines of a dialogue as numbers: training, exports and the terminal share this code."""
import tensorflow as tf

from training.text.vocabulary import PADDING, UNKNOWN, Vocabulary, tokens

SPEAKERS = ("user", "bot", "kb")
SPEAKER_WORDS = tuple(f"#{speaker}" for speaker in SPEAKERS)
"""words that cannot occur in a text, because `training.text.vocabulary.tokens` treats # as a separator"""


def type_words(knowledge):
    """Returns a word for each relation of a knowledge base, such as ##cuisine for the cuisines of its restaurants."""
    return tuple(sorted({f"##{fact.split(' ')[1].lower()}" for fact in knowledge}))


class Encoder:
    """Converts texts to numbers of words and of entities of the knowledge base; works in a graph.

    Words that are not in `info.words` are dropped, since a bag of words needs no placeholder for them.

    info:  `data.Info` of the data set
    typed: whether each entity in a line adds a word for its type, so that an unseen place is still recognized as a place
    """

    def __init__(self, info, typed):
        self.typed = typed
        self.vocabulary = Vocabulary(info.words)
        self.trained_words = info.trained_words
        self.type_words = type_words(info.knowledge)
        kinds = {}
        for fact in info.knowledge:
            _, relation, value = fact.lower().split(" ")
            kinds.setdefault(value, f"##{relation}")  # a word of several types belongs to the first
        self.types = [self.type_words.index(kind) for kind in kinds.values()]
        """types of the entities 1, 2, …, as positions in `type_words`"""
        self.known_entities = Vocabulary([PADDING, UNKNOWN, *kinds])

    def words(self, texts):
        """Returns the known words, ragged int32 (texts, words)."""
        return _without(self.vocabulary.ids(tokens(texts)), 1)

    def are_known(self, texts):
        """Returns whether all words of each text occur in the training split: bool (texts,)."""
        ids = self.vocabulary.ids(tokens(texts))
        return tf.reduce_all((ids > 1) & (ids < self.trained_words), axis=1)

    def entities(self, texts):
        """Returns the entities named in each text, 1, 2, …: ragged int32 (texts, entities)."""
        return _without(self.known_entities.ids(tokens(texts)), 1) - 1

    def utterances(self, texts):
        """Returns the known words and, if `typed`, the words for types: ragged int32 (texts, words)."""
        words = self.words(texts)
        if not self.typed:
            return words
        numbers = self.vocabulary.ids(tf.constant(self.type_words))
        return tf.concat([words, tf.gather(numbers, tf.gather(self.types, self.entities(texts) - 1))], axis=1)

    def lines(self, speakers, texts):
        """Returns the result of `utterances` with a word for the speaker in front.

        speakers: positions in `SPEAKERS`, int (texts,)
        texts:    their utterances, string (texts,)
        """
        marks = self.vocabulary.ids(tf.gather(tf.constant(SPEAKER_WORDS), speakers))
        return tf.concat([tf.RaggedTensor.from_tensor(marks[:, tf.newaxis]), self.utterances(texts)], axis=1)


def _without(ids, least):
    return tf.ragged.boolean_mask(ids, ids > least)
