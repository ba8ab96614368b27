"""Retrieval of the facts for a question, in a graph that training and exports share."""
import numpy as np
import tensorflow as tf

from training.text.vocabulary import PADDING, UNKNOWN, Vocabulary, tokens

TOPIC = "<topic>"
"""the word that represents the topic entity of a question"""
MOST_SHARED = 1000
"""words in more facts than this are not used for retrieval, as in the paper"""
MOST_QUESTION_WORDS = 32
"""maximum number of words of a question"""
_LONGEST_NAME = 8
"""words of a topic that stands in no brackets"""


def vocabulary(facts, questions, memories):
    """Returns the vocabulary of a network: the words of the questions, relations, and markers.

    facts:     (subject, relation, object) each
    questions: texts with the topic in [brackets]
    memories:  most facts that are read for a question
    """
    asked = {word.decode() for word in tokens(without_topic(tf.constant(questions))).flat_values.numpy()}
    relations = sorted({relation for _, relation, _ in facts})
    first = sorted(asked - {TOPIC, UNKNOWN} | {*relations, *("!" + relation for relation in relations)})
    return [PADDING, UNKNOWN, *first, TOPIC, *(f"<{number}>" for number in range(1, memories + 1))]


def without_topic(questions):
    """Returns texts in which <topic> replaces the [topic in brackets]."""
    return tf.strings.regex_replace(questions, r"(?s)\[.*\]", f" {TOPIC} ")


class Reader(tf.Module):
    """Processes questions in a graph: finds the topic, retrieves its facts by hashing, and numbers their entities.

    Each fact (subject, relation, object) is also stored as (object, !relation, subject). The facts that start with the topic
    come first; with more `hops`, they are followed by the facts that start where these end, rarest words first, until the
    memory is full. Words in more than `MOST_SHARED` facts are not followed.

    The entity of a new question may not occur in any training question, so its own vector would be untrained. Therefore
    entities are represented by markers: the topic is <topic>, and any other entity has the number of the first memory with
    this object. `names` maps markers to entities. A topic is in [brackets], or is the longest sequence of words that is a
    name.

    facts:    (subject, relation, object) each
    words:    result of `vocabulary` for these facts and memories
    memories: most facts that are read for a question
    hops:     maximum number of facts between topic and answer

    Source: key hashing, inverse relations and the limit of 1,000: Miller et al., 2016, "Key-Value Memory Networks for
    Directly Reading Documents", sections 3.1 and 3.2. Markers: Hermann et al., 2015, "Teaching Machines to Read and
    Comprehend", section 3.2; Miller's entities have vectors of their own, and ten times as many questions to train them.
    """

    def __init__(self, facts, words, memories, hops):
        super().__init__()
        self.memories, self.hops = memories, hops
        self.vocabulary = Vocabulary(words)
        self.vocabulary_table = self.vocabulary.table  # as a part of this module it comes into an export
        self.first_marker = len(words) - memories - 1  # of the topic; the others follow
        self.words = tf.constant(words)
        names = ["", *sorted({name for subject, _, value in facts for name in (subject, value)})]
        number_of = {name: number for number, name in enumerate(names)}
        word_of = {word: number for number, word in enumerate(words)}
        doubled = np.array([row for subject, relation, value in facts for row in (
            (number_of[subject], word_of[relation], number_of[value]),
            (number_of[value], word_of["!" + relation], number_of[subject]))], np.int64)
        frequency = np.bincount(doubled[:, 0], minlength=len(names))
        doubled = doubled[_interleaved(doubled)]
        self.start = tf.constant(np.searchsorted(doubled[:, 0], np.arange(len(names))), tf.int32)
        self.frequency = tf.constant(np.where(frequency > MOST_SHARED, 0, frequency), tf.int32)
        self.relation, self.value = (tf.constant(doubled[:, column], tf.int32) for column in (1, 2))
        self.names = tf.constant(names)
        self.exact = _table(names[1:], range(1, len(names)))
        spelt = tf.strings.reduce_join(tokens(self.names), axis=-1, separator=" ").numpy()
        by_spelling = {}
        for number in np.argsort(frequency, kind="stable"):  # of several that are written alike, the most frequent one
            by_spelling[spelt[number]] = number
        by_spelling.pop(b"", None)
        self.spelt = _table([*by_spelling], [*by_spelling.values()])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def topic_and_words(self, questions):
        """Returns the topic entity of each question, 0 for none, (batch,); and its words, padded with "" (batch, 32)."""
        marked = tf.strings.regex_full_match(questions, r"(?s)[^\[]*\[.+\].*")
        inside = tf.strings.strip(tf.strings.regex_replace(questions, r"(?s)^[^\[]*\[(.*)\][^\]]*$", r"\1"))
        spelt = tf.strings.reduce_join(tokens(inside), axis=-1, separator=" ")
        exact = self.exact.lookup(inside)
        named = tf.where(exact > 0, exact, self.spelt.lookup(spelt))
        words = tokens(without_topic(questions)).to_tensor(shape=[None, MOST_QUESTION_WORDS])
        run, first, length = self._longest_name(words)
        place = tf.range(MOST_QUESTION_WORDS)[None]
        source = tf.where(place <= first, place, place + length - 1)
        replaced = tf.gather(tf.pad(words, [[0, 0], [0, _LONGEST_NAME]]), source, batch_dims=1)
        replaced = tf.where(place == first, TOPIC, replaced)
        return tf.where(marked, named, run), tf.where((marked | (run == 0))[:, None], words, replaced)

    def _longest_name(self, words):
        """Returns entity (batch,), first place and number of words (batch, 1) of the longest run of words that is a name.

        A single word that training questions use otherwise is none.
        """
        padded = tf.pad(words, [[0, 0], [0, _LONGEST_NAME]])
        entities = places = lengths = tf.zeros_like(words[:, :1], tf.int32)
        run = words
        for length in range(1, _LONGEST_NAME + 1):
            if length > 1:
                run = run + " " + padded[:, length - 1:length - 1 + MOST_QUESTION_WORDS]
            found = self.spelt.lookup(run if length > 1 else tf.where(self.vocabulary.ids(words) == 1, words, ""))
            place = tf.argmax(found > 0, axis=1, output_type=tf.int32)[:, None]
            entity = tf.gather(found, place, batch_dims=1)
            entities, places, lengths = (
                tf.where(entity > 0, new, old) for new, old in ((entity, entities), (place, places), (length, lengths)))
        return entities[:, 0], places, lengths

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, questions):
        """Returns the arrays of texts (batch,), as a dict.

        story:    (batch, memories, 3) int32, words of the facts
        question: (batch, 32) int32, words
        entities: (batch, 1 + memories) int32, what the markers stand for; 0 where a marker is none
        """
        topic, words = self.topic_and_words(questions)
        keys, relations, values = self.hashed(topic)
        story = tf.stack([self._markers(keys, topic, values), relations, self._markers(values, topic, values)], axis=-1)
        return {"story": tf.where(relations[..., None] > 0, story, 0), "question": self.vocabulary.ids(words),
                "entities": tf.concat([topic[:, None], values], axis=1)}

    def hashed(self, topic):
        """Returns the retrieved facts for topics (batch,): entities, words of relations, and entities, each (batch,
        memories)."""
        place = tf.range(self.memories)[None]
        keys = relations = values = tf.zeros_like(topic[:, None] * place)
        used, frontier = tf.zeros_like(topic)[:, None], topic[:, None]
        for hop in range(self.hops):
            counts = tf.gather(self.frequency, frontier)  # (batch, frontier)
            ends = tf.cumsum(counts, axis=1)
            number = place - used  # of a fact among those of this hop
            which = tf.reduce_sum(tf.cast(ends[:, None] <= number[..., None], tf.int32), axis=2)  # (batch, memories)
            new = (number >= 0) & (which < tf.shape(frontier)[1])
            which = tf.where(new, which, 0)
            key = tf.gather(frontier, which, batch_dims=1)
            fact = tf.gather(self.start, key) + number - tf.gather(ends - counts, which, batch_dims=1)
            fact = tf.where(new, fact, 0)
            keys = tf.where(new, key, keys)
            relations = tf.where(new, tf.gather(self.relation, fact), relations)
            values = tf.where(new, tf.gather(self.value, fact), values)
            used = tf.minimum(self.memories, used + ends[:, -1:])
            if hop + 1 < self.hops:
                is_first = _first(values, values) == place
                rarity = tf.gather(self.frequency, values)
                unread = new & is_first & (values != topic[:, None]) & (rarity > 0)
                order = tf.argsort(tf.where(unread, rarity, MOST_SHARED + 1), axis=1, stable=True)
                frontier = tf.gather(tf.where(unread, values, 0), order, batch_dims=1)
        return keys, relations, values

    def sentences(self, read):
        """Returns the facts in the result of a call as text, padded with "": (batch, memories)."""
        name_of = tf.gather(self.names, read["entities"])  # (batch, 1 + memories)
        subject, value = (tf.gather(name_of, tf.maximum(read["story"][..., column] - self.first_marker, 0), batch_dims=1)
                          for column in (0, 2))
        relation = tf.gather(self.words, read["story"][..., 1])
        return tf.where(read["story"][..., 1] > 0, subject + " " + relation + " " + value, "")

    def _markers(self, entities, topic, values):
        """Returns the words that stand for entities (batch, memories)."""
        return self.first_marker + tf.where(entities == topic[:, None], 0, 1 + _first(entities, values))


def _first(entities, values):
    """Returns the place in `values` where each of `entities` is first, (batch, entities) int32."""
    return tf.argmax(entities[:, :, None] == values[:, None], axis=2, output_type=tf.int32)


def _table(keys, numbers):
    """Returns a table of strings that gives 0 for any other one."""
    keys, numbers = tf.constant(keys, tf.string), tf.constant(numbers, tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, numbers), default_value=0)


def _interleaved(doubled):
    """Returns the order of facts by first entity, and for each entity by turns of its relations: a full memory has of all."""
    order = np.lexsort((np.arange(len(doubled)), doubled[:, 1], doubled[:, 0]))
    groups = doubled[order, :2]
    starts = np.flatnonzero(np.concatenate([[True], (groups[1:] != groups[:-1]).any(axis=1)]))
    turn = np.empty(len(order), np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    return np.lexsort((doubled[:, 1], turn, doubled[:, 0]))
