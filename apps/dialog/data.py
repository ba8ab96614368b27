"""Dialogues as arrays of word numbers, one example per bot turn."""
import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from apps.dialog.encoder import SPEAKER_WORDS, Encoder, type_words
from training.config import UserError
from training.data import pipelines, sources, spec
from training.data.spec import Splits, spec_of
from training.text.vocabulary import Vocabulary, tokens

_OTHER_PARTS = {("dialog_babi", "task6"): "6"}
"""ending of the names of the parts that hold candidates and knowledge base, by configuration, where it is not empty"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(spec.Info):
    """What a system needs to know about a dialogue set."""

    SAME: ClassVar = ("words", "candidates", "knowledge")

    words: list[str]
    """the vocabulary: the words of the training split, optionally followed by words of the candidates and the knowledge base
    that do not occur in training"""
    trained_words: int
    """number of words that occur in the training split"""
    candidates: list[str]
    """all responses"""
    knowledge: list[str]
    """the facts of the knowledge base, "subject relation value\""""


def datasets(config):
    """Returns the Splits of a dialogue set, with an `Info`.

    inputs:  "history" int32 (batch, memories, words): the latest lines before the user's last utterance, oldest first, each
             starting with a word for the speaker; 0 is padding
             "query" int32 (batch, words): the user's last utterance
             "entities" int32 (batch, any): entities of the knowledge base in history and query
    targets: "response" int32 (batch,), its position in `Info.candidates`. Validation and test also have "dialog_id" int64 and
             "is_oov" bool (batch,): the test split includes the split "test_oov" if it exists.

    The shapes are static: there are `memory_size` memories, or fewer if the longest dialogue of the data set is shorter.

    Raises:
        UserError: the data set does not exist, or does not contain dialogues.
    """
    prepared = sources.builder(config.dataset, config)
    if not {"history", "response", "dialog_id", "turn"} <= set(prepared.info.features):
        raise UserError(f"{config.dataset} contains no dialogues with responses")
    splits = {name: _Turns(prepared, name, config.memory_size) for name in prepared.info.splits}
    candidates = _part(prepared, "candidates", config, lambda example: example["response"])
    knowledge = _part(prepared, "kb", config, lambda example: tf.strings.join(
        [example["subject"], example["relation"], example["object"]], " "))
    train = splits["train"]
    vocabulary = Vocabulary.of([_words(train.all_texts()), SPEAKER_WORDS, type_words(knowledge)]).words
    unseen = sorted(_words(candidates + knowledge) - set(vocabulary)) if config.keeps_unseen_words else []
    info = Info(words=[*vocabulary, *unseen], trained_words=len(vocabulary), candidates=candidates, knowledge=knowledge)
    lines = _Lines(splits.values(), Encoder(info, config.marks_types))
    numbers = {response: number for number, response in enumerate(candidates)}
    memories = min(config.memory_size, max(1, *(turns.longest for turns in splits.values())))
    parts = {name: _arrays(turns, lines, numbers, memories, name) for name, turns in splits.items()}

    inputs, targets = parts["train"]
    places = pipelines.in_memory((inputs, {"response": targets["response"]}), config.batch_size, config.seed)

    def batches(epoch, skip, context):
        return places(epoch, skip, context).map(lines.expand, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    test = parts["test"]
    if "test_oov" in parts:
        test = tf.nest.map_structure(lambda *each: np.concatenate(each), test, parts["test_oov"])
    return Splits(batches, _evaluation_batches(parts["validation"], lines), _evaluation_batches(test, lines),
                  spec_of(batches(0, 0, tf.distribute.InputContext()), info))


def _words(texts):
    return {word.decode() for word in tokens(tf.constant(texts)).flat_values.numpy()}


def _evaluation_batches(arrays, lines):
    batches = tf.data.Dataset.from_tensor_slices(arrays).batch(128)
    return batches.map(lines.expand, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _part(prepared, name, config, text_of):
    """Returns the texts of the part "candidates" or "kb" that belongs to a set of dialogues."""
    name += _OTHER_PARTS.get((prepared.name, prepared.info.config_name), "")
    part = sources.builder(f"{prepared.name}/{name}", config)
    return [value.decode() for value in sources.read(part, name).map(text_of).as_numpy_iterator()]


class _Turns:
    """The examples of a split; every distinct line is kept once."""

    def __init__(self, prepared, split, memory_size):
        self.lines = {}
        """(speaker, text) -> its position"""
        self.rows, lengths, self.responses, dialog_ids = [], [], [], []
        examples = sources.read(prepared, split)
        examples = examples.map(lambda example: example | {  # the query and what is kept before it
            "history": {name: part[-memory_size - 1:] for name, part in example["history"].items()}})
        for batch in examples.ragged_batch(1000):
            history = batch["history"]
            for line in zip(history["speaker"].flat_values.numpy().tolist(), history["text"].flat_values.numpy().tolist()):
                self.rows.append(self.lines.setdefault(line, len(self.lines)))
            lengths.append(history["speaker"].row_lengths().numpy())
            self.responses += [response.decode() for response in batch["response"].numpy()]
            dialog_ids.append(batch["dialog_id"].numpy())
        self.lengths, self.dialog_ids = np.concatenate(lengths), np.concatenate(dialog_ids)
        if not self.lengths.all():
            raise UserError(f"the {split} split of {prepared.name} contains a response that does not follow a user utterance")
        self.longest = int(self.lengths.max()) - 1

    def all_texts(self):
        """Returns every distinct text of the split."""
        return sorted({text for _, text in self.lines} | {response.encode() for response in self.responses})


class _Lines:
    """The words and entities of every distinct line of all splits."""

    def __init__(self, splits, encoder):
        self.places = {}
        for turns in splits:
            for line in turns.lines:
                self.places.setdefault(line, len(self.places) + 1)  # 0 is no line
        speakers, texts = (tf.constant(part) for part in zip(*self.places))
        words, entities = encoder.lines(tf.cast(speakers, tf.int32), texts), encoder.entities(texts)
        self.words, self.entities = (tf.pad(
            part.to_tensor(shape=[None, max(2, int(tf.reduce_max(part.row_lengths())))]), [[1, 0], [0, 0]])
            for part in (words, entities))

    def expand(self, inputs, targets):
        """Replaces line numbers by words and entities."""
        history, query = inputs["history"], inputs["query"]
        entities = tf.gather(self.entities, tf.concat([history, query[:, tf.newaxis]], axis=1))
        return {
            "history": tf.gather(self.words, history),
            "query": tf.gather(self.words, query)[:, 1:],  # that the user says it is no news
            "entities": tf.reshape(entities, [-1, (history.shape[1] + 1) * self.entities.shape[1]]),
        }, targets


def _arrays(turns, lines, numbers, memories, split):
    """Returns (inputs, targets) of a split, with numbers of lines in place of their words."""
    places = np.array([lines.places[line] for line in turns.lines], np.int32)[turns.rows]
    history = np.zeros((len(turns.lengths), memories), np.int32)
    query = np.zeros(len(turns.lengths), np.int32)
    ends = np.cumsum(turns.lengths)
    for row, (end, length) in enumerate(zip(ends, turns.lengths)):
        before = places[max(end - length, end - 1 - memories):end - 1]
        history[row, :len(before)] = before
        query[row] = places[end - 1]
    unknown = next((response for response in turns.responses if response not in numbers), None)
    if unknown is not None:
        raise UserError(f"the response {unknown[:80]!r} of the {split} split is not among the candidates")
    response = np.array([numbers[response] for response in turns.responses], np.int32)
    return {"history": history, "query": query}, {
        "response": response, "dialog_id": turns.dialog_ids, "is_oov": np.full(len(response), split == "test_oov")}
