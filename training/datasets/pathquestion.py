"""PathQuestion: questions about people that need two or three facts, and the knowledge bases with the answers."""
import hashlib
import pathlib
import re

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import knowledge_bases

_HOPS = {"2-hop": "2H", "3-hop": "3H"}
_SHARES = {"train": (0, 8), "validation": (8, 9), "test": (9, 10)}


class Pathquestion(tfds.core.GeneratorBasedBuilder):
    """1,908 questions that need two facts and 5,198 that need three, with 1,211 and 2,839 facts of 13 relations.

    The authors split 8:1:1 at random and do not publish the parts. Here a hash of each line determines the order, so the parts
    are the same everywhere. Most questions are paraphrases of a path that occurs in other questions too, in all parts. The
    topic, which the source does not mark, is in [brackets]. `path` is topic, relation, entity, relation, …, answer. 2-hop-kb
    and 3-hop-kb have a single split, kb.

    Source: Zhou, Huang and Zhu, 2018, "An Interpretable Reasoning Network for Multi-Relation Question Answering".
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="2-hop", description="the answer is two facts away"),
        tfds.core.BuilderConfig(name="3-hop", description="the answer is three facts away"),
        tfds.core.BuilderConfig(name="2-hop-kb", description="the facts of 2-hop"),
        tfds.core.BuilderConfig(name="3-hop-kb", description="the facts of 3-hop"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    put PQ-2H.txt, PQ-3H.txt, 2H-kb.txt and 3H-kb.txt of https://github.com/zmtkeke/IRN, each compressed with gzip, into a
    folder pathquestion, and specify the folder that contains it
    """
    NOTICE = "about 3 s"
    pkg_dir_path = None

    def _info(self):
        is_kb = self.builder_config.name.endswith("-kb")
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://github.com/zmtkeke/IRN",
            features=knowledge_bases.fact_features() if is_kb else knowledge_bases.question_features())

    def _split_generators(self, dl_manager):
        folder = pathlib.Path(dl_manager.manual_dir) / "pathquestion"
        hops = _HOPS[self.builder_config.name.removesuffix("-kb")]
        if self.builder_config.name.endswith("-kb"):
            return {"kb": knowledge_bases.facts(folder / f"{hops}-kb.txt.gz", "\t", self.MANUAL_DOWNLOAD_INSTRUCTIONS)}
        path = folder / f"PQ-{hops}.txt.gz"
        found = list(enumerate(knowledge_bases.lines(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS), 1))
        found.sort(key=lambda numbered: hashlib.sha256(numbered[1].encode()).digest())
        return {split: self._generate_examples(path, found[len(found) * first // 10:len(found) * end // 10])
                for split, (first, end) in _SHARES.items()}

    def _generate_examples(self, path, found):
        for number, line in found:
            source = f"{path}: line {number}"
            question, answers, steps = knowledge_bases.fields(line, "\t", 3, source)
            listed = re.fullmatch(r"(.+?)\((.*)\)", answers)
            if not listed:
                raise UserError(f"{source} has no answers of the form answer(answer/answer/): {answers[:80]!r}")
            answers = [answer for answer in listed[2].split("/") if answer] or [listed[1]]
            steps = steps.partition("#<end>")[0].split("#")
            words = question.split()
            if steps[0] not in words:
                raise UserError(f"{source}: the question does not contain the topic {steps[0][:80]!r} of the path")
            words[words.index(steps[0])] = f"[{steps[0]}]"
            yield number, {"question": " ".join(words), "answers": answers, "path": steps}
