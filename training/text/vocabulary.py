"""The words of a text and their numbers; the same functions make training data and run inside an export."""
import tensorflow as tf

PADDING = ""
"""word 0, which pads shorter texts"""
UNKNOWN = "<unknown>"
"""word 1, which replaces every word that is not in the vocabulary"""


def tokens(texts):
    """Returns the lower-case words of each text: (batch,) strings give a ragged (batch, words).

    A word is a run of letters, digits and the characters _ < > ' -; all other characters separate words. The function works in
    a graph.

    >>> import tensorflow as tf
    >>> from training.text.vocabulary import tokens
    >>> tokens(tf.constant(["Where's the milk?", ""])).to_list()
    [[b"where's", b'the', b'milk'], []]
    """
    plain = tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), r"[^\pL\pM\pN_<>'-]+", " ")
    return tf.strings.split(plain)


class Vocabulary:
    """The words that a network knows, by number: 0 is padding, and 1 is the unknown word.

    words: list of all words in the order of their numbers, str or UTF-8 bytes; the first two are `PADDING` and `UNKNOWN`

    Raises:
        ValueError: the list does not begin with these two, or contains a word twice.

    Example:
        >>> import tensorflow as tf
        >>> from training.text.vocabulary import Vocabulary
        >>> vocabulary = Vocabulary.of([["where", "is", "mary"], ["mary", "left"]])
        >>> vocabulary.words
        ['', '<unknown>', 'is', 'left', 'mary', 'where']
        >>> vocabulary.ids(tf.constant(["mary", "slept"])).numpy().tolist()
        [4, 1]
    """

    def __init__(self, words):
        self.words = [tf.compat.as_text(word) for word in words]
        if self.words[:2] != [PADDING, UNKNOWN] or len(set(self.words)) < len(self.words):
            raise ValueError("the word list must begin with padding and unknown, and must not contain duplicates")
        keys = tf.constant(self.words)
        # a model that keeps this table as an attribute carries it into its export
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(self.words), dtype=tf.int32)), default_value=1)

    @classmethod
    def of(cls, texts):
        """Returns the Vocabulary of all words in an iterable of lists of words, in alphabetical order."""
        found = {tf.compat.as_text(word) for words in texts for word in words}
        return cls([PADDING, UNKNOWN, *sorted(found - {PADDING, UNKNOWN})])

    def ids(self, words):
        """Returns the numbers of words as int32 of the same shape, ragged or dense; works in a graph."""
        if isinstance(words, tf.RaggedTensor):
            return words.with_flat_values(self.table.lookup(words.flat_values))
        return self.table.lookup(words)

    def missing(self, words):
        """Returns the words of each text that are not in the vocabulary, joined by spaces: ragged (batch, words) give
        (batch,)."""
        return tf.strings.reduce_join(tf.ragged.boolean_mask(words, self.ids(words) == 1), axis=1, separator=" ")

    def __len__(self):
        return len(self.words)
