"""Stories with questions, as arrays of word numbers."""
import numpy as np
import tensorflow as tf

from apps.memory_qa.info import Info
from training.config import UserError
from training.data import pipelines, sources
from training.data.spec import Splits, spec_of
from training.text.vocabulary import Vocabulary, tokens

_VALIDATION = 0.1  # share of the training stories, as in the paper


def datasets(config):
    """Returns the Splits of a data set of stories.

    inputs:  "story" int32 (batch, memories, words): the latest `memory_size` sentences, oldest first, 0 is padding;
             "question" int32 (batch, words)
    targets: "answer" int32 (batch,), a word; "task" int32 (batch,), its position in `info.tasks`
    info:    the words are those of the training split, including answers

    A tenth of the training stories is the validation split. A list of answers ("milk,football") is one word, as in the paper.

    Raises:
        UserError: the data set does not exist, has none of these tasks, or does not contain stories.
    """
    return splits(*read(config), config)


def read(config):
    """Returns the Stories of the training split and of the test split, and the names of all tasks of the data set.

    Raises:
        UserError: the data set does not exist, has none of these tasks, or does not contain stories.
    """
    prepared = sources.builder(config.dataset, config)
    if not {"story", "question", "answers", "task"} <= set(prepared.info.features):
        raise UserError(f"{config.dataset} contains no stories with questions")
    names = prepared.info.features["task"].names
    unknown = [str(task) for task in config.tasks if not 1 <= task <= len(names)]
    if unknown:
        raise UserError(f"--tasks of {config.dataset} must be between 1 and {len(names)}, got {', '.join(unknown)}")
    return Stories.read(prepared, "train", config), Stories.read(prepared, "test", config), names


def splits(train, test, names, config):
    """Returns the Splits from the result of `read`."""
    tasks = sorted(set(train.tasks))
    is_validation = _validation_stories(train, config.seed)
    vocabulary = Vocabulary.of(train.words())
    memories = min(config.memory_size, train.longest)
    width = max(train.width, test.width)
    train, test = (part.arrays(vocabulary, memories, width, tasks) for part in (train, test))
    fitting, validation = (tf.nest.map_structure(lambda array: array[keep], train) for keep in (~is_validation, is_validation))
    lengths = fitting[0]["story"].any(axis=-1).sum(axis=-1)
    batches = pipelines.in_memory(fitting, config.batch_size, config.seed, lengths)
    info = Info(words=vocabulary.words, tasks=[names[task] for task in tasks])
    spec = spec_of(batches(0, 0, tf.distribute.InputContext()), info)
    return Splits(batches, _evaluation_batches(validation), _evaluation_batches(test), spec)


def _evaluation_batches(arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(250)


def _validation_stories(stories, seed):
    """Returns which questions are for validation: those of a tenth of each task's stories, and of one story at least."""
    chosen = np.zeros(len(stories.tasks), bool)
    for task in np.unique(stories.tasks):
        own = stories.tasks == task
        numbers = np.unique(stories.story_ids[own])
        taken = np.random.default_rng([seed, task]).permutation(numbers)[:max(1, round(_VALIDATION * len(numbers)))]
        chosen |= own & np.isin(stories.story_ids, taken)
    return chosen


class Stories:
    """The questions of a split with the sentences of their stories.

    sentences: every distinct sentence of the split once
    rows:      positions in `sentences`: those of the first question's story, then those of the second one's, and so on
    lengths:   number of sentences in the story of each question, (questions,)
    questions: texts, (questions,)
    answers:   one lower-case word each, (questions,)
    tasks:     numbers from 0, (questions,)
    story_ids: one number per story, (questions,)
    """

    def __init__(self, sentences, rows, lengths, questions, answers, tasks, story_ids):
        used, self.rows = np.unique(rows, return_inverse=True)
        self.sentences = [sentences[row] for row in used]
        self.lengths, self.questions, self.answers, self.tasks, self.story_ids = lengths, questions, answers, tasks, story_ids
        self.longest = max(1, int(lengths.max()))
        self.sentence_words = tokens(tf.constant(self.sentences or [b""]))
        self.question_words = tokens(tf.constant(self.questions))
        self.width = int(max(tf.reduce_max(part.row_lengths()) for part in (self.sentence_words, self.question_words)))

    @classmethod
    def read(cls, prepared, split, config):
        """Returns the Stories of a split of a prepared data set: those of `config.tasks`, each with its latest sentences.

        Raises:
            UserError: the split contains no questions of these tasks.
        """
        wanted = [task - 1 for task in config.tasks]
        examples = sources.read(prepared, split)
        if wanted:
            examples = examples.filter(lambda example: tf.reduce_any(example["task"] == wanted))
        places, rows, columns = {}, [], []
        for batch in examples.map(lambda example: example | {"story": example["story"][-config.memory_size:]}).ragged_batch(1000):
            rows += [places.setdefault(sentence, len(places)) for sentence in batch["story"].flat_values.numpy().tolist()]
            columns.append((batch["story"].row_lengths().numpy(), batch["question"].numpy(),
                            tf.strings.lower(batch["answers"].to_tensor()[:, 0]).numpy(), batch["task"].numpy(),
                            batch["story_id"].numpy()))
        if not columns:
            raise UserError(f"the {split} split of {config.dataset} contains no questions of the tasks "
                            f"{', '.join(map(str, config.tasks))}")
        return cls(list(places), np.array(rows, np.int64), *(np.concatenate(column) for column in zip(*columns)))

    def of_task(self, task):
        """Returns the Stories of one task."""
        keep = self.tasks == task
        return Stories(self.sentences, self.rows[np.repeat(keep, self.lengths)], *(
            column[keep] for column in (self.lengths, self.questions, self.answers, self.tasks, self.story_ids)))

    def words(self):
        """Returns two lists of words: those of all sentences and questions of the split, and those of the answers."""
        found = tf.concat([self.sentence_words.flat_values, self.question_words.flat_values], axis=0)
        return [[word.decode() for word in tf.unique(found)[0].numpy()], [word.decode() for word in set(self.answers)]]

    def arrays(self, vocabulary, memories, width, tasks):
        """Returns (inputs, targets) of all questions, see `datasets`.

        vocabulary: the Vocabulary
        memories:   number of latest sentences of a story
        width:      number of words to which sentences and questions are padded
        tasks:      numbers of the tasks in the order of `Info.tasks`
        """
        def ids(words):
            return vocabulary.ids(words).to_tensor(shape=[None, width]).numpy()

        sentences = np.concatenate([ids(self.sentence_words), np.zeros((1, width), np.int32)])  # the last one is padding
        places = np.full((len(self.tasks), memories), len(sentences) - 1, np.int32)
        start = np.concatenate([[0], np.cumsum(self.lengths)])
        for row, (first, last) in enumerate(zip(start, start[1:])):
            kept = self.rows[max(first, last - memories):last]
            places[row, :len(kept)] = kept
        answers = vocabulary.ids(tf.constant(self.answers)).numpy()
        return ({"story": sentences[places], "question": ids(self.question_words)},
                {"answer": answers, "task": np.searchsorted(tasks, self.tasks).astype(np.int32)})
