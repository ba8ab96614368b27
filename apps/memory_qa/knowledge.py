"""Questions about a knowledge base in the form of stories: the facts near the topic, each a sentence of three words."""
import numpy as np
import tensorflow as tf

from apps.memory_qa import knowledge_reader
from apps.memory_qa.info import Info
from training.config import UserError
from training.data import pipelines, sources
from training.data.spec import Splits, spec_of
from training.text.vocabulary import tokens

_VALIDATION = 0.1  # share of the training questions, where the data set has no validation split
_AT_ONCE = 500  # questions that are read in one call


def datasets(config):
    """Returns the Splits of a data set of questions about a knowledge base.

    inputs:  "story" int32 (batch, memories, 3): facts as subject, relation and object, 0 is padding, see
             `knowledge_reader.Reader`;
             "question" int32 (batch, words), in which the word <topic> stands for its topic
    targets: "answer" int32 (batch,), the marker of a correct answer, 1 (unknown) if none is in the retrieved facts;
             "answers" int32 (batch, most answers), the markers of all correct answers, 0 is padding;
             "task" int32 (batch,), all 0
    info:    the words are those of the training questions, relations, inverse relations (!relation) and markers; all questions
             belong to one task with the name of the data set

    Training questions are dropped if none of their answers is in the retrieved facts; in the other splits, such a question
    counts as wrong. Without a validation split, a tenth of the training questions is held out.

    Raises:
        UserError: the data set contains no such questions.
    """
    prepared = sources.builder(config.dataset, config)
    if not {"question", "answers", "path"} <= set(prepared.info.features):
        raise UserError(f"{config.dataset} contains no questions about a knowledge base")
    questions = {split: _Questions(prepared, split) for split in prepared.info.splits}
    known = facts(config)
    words = knowledge_reader.vocabulary(known, questions["train"].texts, config.memory_size)
    reader = reader_of(config, words, known)
    width = min(knowledge_reader.MOST_QUESTION_WORDS, max(part.width for part in questions.values()))
    read = {split: _arrays(part, reader, width) for split, part in questions.items()}
    random = np.random.default_rng(config.seed)
    if "validation" not in read:
        order = random.permutation(len(questions["train"].texts))
        held_out = round(_VALIDATION * len(order))
        read["validation"], read["train"] = (
            tf.nest.map_structure(lambda array: array[rows], read["train"]) for rows in (order[:held_out], order[held_out:]))
    is_answered = read["train"][1]["answers"].any(axis=1)
    train = tf.nest.map_structure(lambda array: array[is_answered], read["train"])
    batches = pipelines.in_memory(_with_other_markers(train, reader, random), config.batch_size, config.seed)
    spec = spec_of(batches(0, 0, tf.distribute.InputContext()), Info(words=words, tasks=[config.dataset]))
    validation, test = (tf.data.Dataset.from_tensor_slices(read[split]).batch(250) for split in ("validation", "test"))
    return Splits(batches, validation, test, spec)


def reader_of(config, words, known):
    """Returns the `knowledge_reader.Reader` of a data set for its vocabulary and the result of `facts`."""
    return knowledge_reader.Reader(known, words, config.memory_size, hops(config.dataset))


def hops(dataset):
    """Returns the maximum number of facts between topic and answer, which is the number in the name: 2 for "metaqa/2-hop"."""
    number = dataset.partition("/")[2][:1]
    return int(number) if number.isdigit() else 1


def facts(config):
    """Returns the facts of a data set's knowledge base as a list of (subject, relation, object)."""
    name, _, part = config.dataset.partition("/")
    prepared = sources.builder(f"{name}/kb" if name == "metaqa" else f"{name}/{part}-kb", config)
    found = []
    for batch in sources.read(prepared, "kb").batch(10_000).as_numpy_iterator():
        found += zip(*(batch[place].tolist() for place in ("subject", "relation", "object")))
    return [tuple(part.decode() for part in fact) for fact in found]


class _Questions:
    """The questions of a split: their texts, lists of their answers, and the number of words of the longest one."""

    def __init__(self, prepared, split):
        self.texts, self.answers = [], []
        for example in sources.read(prepared, split).as_numpy_iterator():
            self.texts.append(example["question"])
            self.answers.append(example["answers"].tolist())
        self.width = int(tf.reduce_max(tokens(knowledge_reader.without_topic(tf.constant(self.texts))).row_lengths()))


def _arrays(questions, reader, width):
    """Returns (inputs, targets) of a split."""
    parts = [reader(tf.constant(questions.texts[first:first + _AT_ONCE])) for first in range(0, len(questions.texts), _AT_ONCE)]
    story, question, entities = (
        np.concatenate([part[name].numpy() for part in parts]) for name in ("story", "question", "entities"))
    number_of = {name: number for number, name in enumerate(reader.names.numpy())}
    right = [_right({number_of.get(answer, 0) for answer in answers} - {0}, row, reader)
             for answers, row in zip(questions.answers, entities)]
    answers = np.zeros((len(right), max(1, *map(len, right))), np.int32)
    for row, markers in enumerate(right):
        answers[row, :len(markers)] = markers
    one = np.where(answers[:, 0], answers[:, 0], 1)
    return ({"story": story, "question": question[:, :width]},
            {"answer": one.astype(np.int32), "answers": answers, "task": np.zeros(len(right), np.int32)})


def _right(wanted, entities, reader):
    """Returns the markers of the wanted entities among those read, without repetition."""
    numbers, first = np.unique(entities, return_index=True)
    return sorted(reader.first_marker + place for number, place in zip(numbers.tolist(), first) if number in wanted)


def _with_other_markers(arrays, reader, random):
    """Returns arrays whose markers, but not the topic's, are exchanged at random in each row, so that all get trained."""
    inputs, targets = arrays
    first = reader.first_marker + 1
    exchanged = np.tile(np.arange(first + reader.memories, dtype=np.int32), (len(targets["answer"]), 1))
    exchanged[:, first:] = random.permuted(exchanged[:, first:], axis=1)

    def exchange(array):
        return np.take_along_axis(exchanged, array.reshape(len(array), -1), axis=1).reshape(array.shape)

    return inputs | {"story": exchange(inputs["story"])}, targets | {
        name: exchange(targets[name]) for name in ("answer", "answers")}
