"""bAbI: twenty tasks of short stories with questions about them."""
import gzip
import pathlib
import re
import sys
import tarfile
import zlib

import numpy as np
import tensorflow_datasets as tfds

from training.config import UserError
from training.text import files as text_files

TASKS = (
    "single-supporting-fact", "two-supporting-facts", "three-supporting-facts", "two-arg-relations",
    "three-arg-relations", "yes-no-questions", "counting", "lists-sets", "simple-negation", "indefinite-knowledge",
    "basic-coreference", "conjunction", "compound-coreference", "time-reasoning", "basic-deduction", "basic-induction",
    "positional-reasoning", "size-reasoning", "path-finding", "agents-motivations",
)
SPLITS = ("train", "test")
MAX_SENTENCES = 1000  # of one story: every question holds all of its story, so a long one would be written out many times
MAX_FILE_BYTES = 2 ** 26
MAX_ARCHIVE_BYTES = 2 ** 30  # unpacked

_FOLDERS = {
    "en": "English, 1,000 questions of each task", "en-10k": "English, 10,000 questions of each task",
    "hn": "Hindi, 1,000 questions of each task", "hn-10k": "Hindi, 10,000 questions of each task",
    "shuffled": "English with shuffled letters, 1,000 questions of each task",
    "shuffled-10k": "English with shuffled letters, 10,000 questions of each task",
}
_TOP = "tasks_1-20_v1-2"
_MEMBER = re.compile(rf"{_TOP}/([\w-]+)/qa([1-9]|1\d|20)(?:_[a-z-]+)?_(train|test)\.txt")
_LINE = re.compile(r"(\d{1,6}) +(\S.*)")
_STORIES = 10 ** 9  # room for the ids of the stories of one file: no file within MAX_FILE_BYTES has as many lines


def features():
    """Returns the features of all data sets of stories with questions.

    story:      (sentences,) string, the oldest first
    answers:    (answers,) string
    supporting: (sentences,) int32, positions in `story`
    story_id:   the same for all questions of one story
    task:       one of bAbI's twenty in every set, so that the ids agree between the sets
    """
    # read in the same way as a Sequence, and written in half the time
    strings = tfds.features.Tensor(shape=(None,), dtype=np.str_)
    return tfds.features.FeaturesDict({
        "story": strings,
        "question": tfds.features.Text(),
        "answers": strings,
        "supporting": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        "story_id": np.int64,
        "task": tfds.features.ClassLabel(names=list(TASKS)),
    })


class Babi(tfds.core.GeneratorBasedBuilder):
    """bAbI v1.2: 20 tasks of reading and reasoning, 1,000 (or 10,000) training and 1,000 test questions each.

    `story` contains all statements before the question, oldest first, and `supporting` the positions of the supporting
    statements in it, in the order of the source; a list is one answer ("milk,football"). The questions of one story share a
    `story_id`, which is unique across both splits. There is no validation split: hold out some stories.

    Source: Weston et al., 2015, "Towards AI-Complete Question Answering: A Set of Prerequisite Toy Tasks" (CC BY 3.0).
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, description=text) for name, text in _FOLDERS.items()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    specify the folder that contains babi/tasks_1-20_v1-2.tar.gz, the archive of bAbI v1.2
    """
    NOTICE = "about 10 s, or 1 minute for a -10k one"
    pkg_dir_path = None

    def _info(self):
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://research.facebook.com/downloads/babi/", features=features())

    def _split_generators(self, dl_manager):
        path = pathlib.Path(dl_manager.manual_dir) / "babi" / f"{_TOP}.tar.gz"
        if not path.is_file():
            raise UserError(f"{path} does not exist: {' '.join(self.MANUAL_DOWNLOAD_INSTRUCTIONS.split())}")
        files = _files(path, self.builder_config.name)
        return {split: self._generate_examples(split, files[split], path) for split in SPLITS}

    def _generate_examples(self, split, files, path):
        for task, (name, content) in files.items():
            first = (SPLITS.index(split) * len(TASKS) + task) * _STORIES
            for story, question, answer, supporting, number, line in questions(content, f"{path}: {name}"):
                yield f"{task}_{line}", {
                    "story": story, "question": question, "answers": [answer], "supporting": supporting,
                    "story_id": first + number, "task": task}


def questions(content, source):
    """Yields (statements so far, question, answer, positions of the supporting statements, story number, line number).

    content: bytes of a file in bAbI's format
    source:  the file's name in error messages

    Raises:
        UserError: the file is not in this format, or a story is longer than all stories of bAbI.
    """
    lines = text_files.decoded(content, source).split("\n")
    statements, places, last, story, count = [], {}, 0, -1, 0
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if not match or int(match[1]) not in (1, last + 1):
            raise UserError(f"{source}, line {place}: expected a statement or question with the number "
                            f"{'1' if not last else f'{last + 1} or 1'}, not {line[:60]!r}")
        last = int(match[1])
        if last == 1:
            statements, places, story = [], {}, story + 1
        parts = [part.strip() for part in match[2].split("\t")]
        if len(parts) == 1:
            places[last] = len(statements)
            statements.append(parts[0])
            if len(statements) > MAX_SENTENCES:
                raise UserError(f"{source}, line {place}: a story has more than {MAX_SENTENCES:,} statements")
            continue
        if len(parts) != 3 or not all(parts[:2]):
            raise UserError(f"{source}, line {place}: a question must be followed by a tab, an answer, a tab and the "
                            f"numbers of the supporting statements, not {line[:60]!r}")
        try:
            supporting = [places[int(number)] for number in parts[2].split()]
        except (KeyError, ValueError):
            raise UserError(f"{source}, line {place}: {parts[2][:60]!r} are not numbers of earlier statements") from None
        count += 1
        # a list of its own: the story goes on while the example is being written
        yield list(statements), parts[0], parts[1], supporting, story, place
    if not count:
        raise UserError(f"{source} contains no questions")


def _files(path, name):
    """Returns {"train": {task: (file name, bytes)}, "test": ...} of the tasks that a config has in the archive.

    Prints one line if tasks are left out, or if another folder takes the place of the config's own.
    """
    found = _members(path, {name, "en-valid-10k", "en"} if name == "en-10k" else {name})
    folder, test_folder, notes = name, name, []
    if name == "en-10k" and name not in found and "en-valid-10k" in found:
        folder, test_folder = "en-valid-10k", "en"  # the test questions of both sizes are the same
        notes.append("it is read from en-valid-10k, which holds out a tenth of the training questions")
    if folder not in found:
        raise UserError(f"{path} does not contain the folder {_TOP}/{folder}: use the archive of bAbI v1.2 as published, "
                        "or another config, such as babi/en")
    train, test = ({task: file for (task, split), file in found.get(part, {}).items() if split == wanted}
                   for part, wanted in ((folder, "train"), (test_folder, "test")))
    tasks = sorted(train.keys() & test.keys())
    missing = [task for task in range(len(TASKS)) if task not in tasks]
    if not tasks:
        raise UserError(f"{path} contains no task of {folder} with both a training file and a test file")
    if missing:
        words = ", ".join(f"{task + 1} ({TASKS[task]})" for task in missing)
        notes.append(f"{'tasks' if len(missing) > 1 else 'task'} {words} "
                     f"{'are' if len(missing) > 1 else 'is'} not in the archive and will be skipped")
    if notes:  # on the error stream: the output stream is silenced while a set is prepared
        print(f"babi/{name}: {'; '.join(notes)}", file=sys.stderr, flush=True)
    return {"train": {task: train[task] for task in tasks}, "test": {task: test[task] for task in tasks}}


def _members(path, folders):
    """Returns {folder: {(task, split): (file name, bytes)}}, read in place in one pass and never unpacked."""
    found = {}
    try:
        with gzip.open(path) as unzipped, tarfile.open(fileobj=_Bounded(unzipped, path), mode="r:") as archive:
            for member in archive:
                match = _MEMBER.fullmatch(member.name)
                if not match or match[1] not in folders or not member.isfile():
                    continue
                if member.size > MAX_FILE_BYTES:
                    raise UserError(f"{path}: {member.name} unpacks to {member.size:,} bytes, more than allowed")
                content = archive.extractfile(member).read()
                found.setdefault(match[1], {})[int(match[2]) - 1, match[3]] = member.name, content
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} cannot be read as a tar.gz file: {error}") from None
    return found


class _Bounded:
    """A file of which no more is read than an archive of this kind holds, and never much at once."""

    def __init__(self, file, path):
        self.file, self.path, self.tell = file, path, file.tell

    def read(self, size):
        """Returns the next `size` bytes."""
        self._check(self.file.tell() + size)
        if size > MAX_FILE_BYTES:
            raise UserError(f"{self.path} cannot be read: it contains a member of {size:,} bytes")
        return self.file.read(size)

    def seek(self, place):
        """Moves to a place in the file and returns it."""
        self._check(place)
        return self.file.seek(place)

    def _check(self, end):
        if end > MAX_ARCHIVE_BYTES:
            raise UserError(f"{self.path} unpacks to more than {MAX_ARCHIVE_BYTES:,} bytes")
