"""Dialogue bAbI: simulated restaurant bookings (tasks 1 to 5) and real ones from DSTC2 (task 6)."""
import pathlib
import tarfile
import zlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import dialogs
from training.text import files as text_files

_TASKS = {
    "task1": "task1-API-calls", "task2": "task2-API-refine", "task3": "task3-options", "task4": "task4-phone-address",
    "task5": "task5-full-dialogs", "task6": "task6-dstc2",
}
_SPLITS = {"train": "trn", "validation": "dev", "test": "tst"}
_WITH_OOV = ("task1", "task2", "task3", "task4")
_CANDIDATES = {"candidates": "candidates", "candidates6": "task6-dstc2-candidates"}
_KNOWLEDGE = {"kb": "kb-all", "kb6": "task6-dstc2-kb"}
_MOST_BYTES = 2 ** 26  # the largest file has 4 MB


class DialogBabi(tfds.core.GeneratorBasedBuilder):
    """Dialogues with a bot that books restaurant tables; one example per bot turn.

    task1 issuing API calls, task2 updating them, task3 displaying options, task4 providing extra information, task5 whole
    dialogues, task6 real dialogues of DSTC2. Tasks 1 to 4 have a split "test_oov" with cuisines, places and restaurants that
    do not occur in training. The utterance of a silent user is "<SILENCE>", as in the files; empty utterances, which occur in
    task 6, are replaced by it.

    The candidate responses and the knowledge base do not belong to a single task: there are 4,212 responses and 8,400 facts
    for tasks 1 to 5 ("candidates", "kb"), and 2,407 and 649 for task 6 ("candidates6", "kb6"). They are further configurations
    of this builder, each with one split of the same name, so `tfds.load` can load every part of the data set.

    Source: Bordes, Boureau and Weston, 2017, "Learning End-to-End Goal-Oriented Dialog" (CC BY 3.0). The published archive
    lacks the knowledge base of task 6, which comes from the code of later papers.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in (*_TASKS, *_CANDIDATES, *_KNOWLEDGE)]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    put dialog-bAbI-tasks.tgz, which contains the files dialog-bAbI-tasks/dialog-babi-*.txt of Bordes et al., into a folder
    dialog-babi and specify the folder that contains dialog-babi/dialog-bAbI-tasks.tgz
    """
    NOTICE = "one to three minutes"
    pkg_dir_path = None

    def _info(self):
        name = self.builder_config.name
        features = (dialogs.features() if name in _TASKS else dialogs.candidate_features() if name in _CANDIDATES
                    else dialogs.knowledge_features())
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://arxiv.org/abs/1605.07683", features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        path = pathlib.Path(dl_manager.manual_dir) / "dialog-babi" / "dialog-bAbI-tasks.tgz"
        if not path.is_file():
            raise UserError(f"{path} does not exist: {' '.join(self.MANUAL_DOWNLOAD_INSTRUCTIONS.split())}")
        name = self.builder_config.name
        if name in _CANDIDATES | _KNOWLEDGE:
            return {name: self._generate_examples(path, (_CANDIDATES | _KNOWLEDGE)[name])}
        parts = _SPLITS | ({"test_oov": "tst-OOV"} if name in _WITH_OOV else {})
        return {split: self._generate_examples(path, f"{_TASKS[name]}-{part}") for split, part in parts.items()}

    def _generate_examples(self, path, part):
        name, kind = f"dialog-babi-{part}.txt", self.builder_config.name
        if kind in _CANDIDATES:
            return dialogs.responses(_candidates(path, name))
        if kind in _KNOWLEDGE:
            return dialogs.facts(_triples(path, name))
        return dialogs.examples(_dialogs(path, name))


def _dialogs(path, name):
    """Yields each dialogue as a list of (speaker, text)."""
    dialog = []
    for number, line in _lines(path, name):
        if not line.strip():
            if dialog:
                yield dialog
            dialog = []
            continue
        index, space, content = line.partition(" ")
        parts = content.split("\t")
        if not (index.isdecimal() and space and len(parts) <= 2 and parts[-1].strip()):
            raise UserError(f"{path}: line {number} of {name} is neither a fact nor an utterance, a tab and a response")
        # answers keep their blanks: they must equal a candidate exactly
        dialog += [("kb", parts[0])] if len(parts) == 1 else [
            ("user", parts[0].strip() or dialogs.SILENCE), ("bot", parts[1])]
    if dialog:
        yield dialog


def _candidates(path, name):
    for number, line in _lines(path, name):
        index, space, response = line.partition(" ")
        if line.strip() and not (index.isdecimal() and space and response.strip()):
            raise UserError(f"{path}: line {number} of {name} is not a number and a response")
        if response:
            yield response


def _triples(path, name):
    for number, line in _lines(path, name):
        parts = line.split()
        if parts and not (parts[0].isdecimal() and len(parts) == 4):
            raise UserError(f"{path}: line {number} of {name} is not a number, a restaurant, a relation and a value")
        if parts:
            yield parts[1:]


def _lines(path, name):
    """Yields (number, text) of each line of a file in the archive, which is read in place."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            try:
                member = archive.getmember(f"dialog-bAbI-tasks/{name}")
            except KeyError:
                raise UserError(f"{path} does not contain dialog-bAbI-tasks/{name}") from None
            if not member.isfile() or member.size > _MOST_BYTES:
                raise UserError(f"{path}: {name} has {member.size:,} bytes, more than allowed")
            content = archive.extractfile(member).read(member.size)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} cannot be read as an archive of text files: {error}") from None
    yield from enumerate(text_files.lines(content, f"{path} cannot be read as an archive of text files: {name}"), start=1)
