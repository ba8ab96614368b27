"""Words of a text and their numbers: the same functions make training data and run inside an export."""
import tensorflow as tf

PADDING, UNKNOWN = "", "<unknown>"


def tokens(texts):
    """Returns the lower-case words of each text: (batch,) strings give a ragged (batch, words).

    A word is a run of letters, digits and _ < > ' -; everything else separates. Works in a graph.
    """
    plain = tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), r"[^\pL\pM\pN_<>'-]+", " ")
    return tf.strings.split(plain)


class Vocabulary:
    """Words by number: 0 is padding, 1 any word that is not among them.

    words: all of them in order, the first two being `PADDING` and `UNKNOWN`; str, or the UTF-8 that tensors hold

    Raises:
        ValueError: the list does not begin so, or has a word twice.
    """

    def __init__(self, words):
        self.words = [tf.compat.as_text(word) for word in words]
        if self.words[:2] != [PADDING, UNKNOWN] or len(set(self.words)) < len(self.words):
            raise ValueError("words begin with padding and unknown, each once")
        keys = tf.constant(self.words)
        # a model that keeps this table as an attribute carries it into its export
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(self.words), dtype=tf.int32)), default_value=1)

    @classmethod
    def of(cls, texts):
        """Returns the vocabulary of an iterable of word lists, sorted."""
        found = {tf.compat.as_text(word) for words in texts for word in words}
        return cls([PADDING, UNKNOWN, *sorted(found - {PADDING, UNKNOWN})])

    def ids(self, words):
        """Returns the numbers of strings, int32 and of the same shape, ragged or dense; works in a graph."""
        if isinstance(words, tf.RaggedTensor):
            return words.with_flat_values(self.table.lookup(words.flat_values))
        return self.table.lookup(words)

    def __len__(self):
        return len(self.words)
