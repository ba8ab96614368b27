"""MetaQA: questions about films, and the knowledge base that answers them."""
import pathlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.datasets import knowledge_bases

_SPLITS = {"train": "dev", "test": "test"}


class Metaqa(tfds.core.GeneratorBasedBuilder):
    """Questions about films that need one or two facts, and 131,188 facts of nine relations.

    1-hop and 2-hop have the splits train (9,992 and 14,872 questions), which is the source's dev part, and test (9,947 and
    14,872). The source's train files are not used, and applications hold out part of train for validation. `path` lists the
    entity types on the way from the topic to the answers, such as actor, movie, year. kb has a single split, kb, which
    contains the answers of all 1-hop questions and of 89 % of the 2-hop questions.

    Source: Zhang et al., 2018, "Variational Reasoning for Question Answering with Knowledge Graph" (Creative Commons),
    over WikiMovies (Miller et al., 2016).
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="1-hop", description="the answer is one fact away"),
        tfds.core.BuilderConfig(name="2-hop", description="the answer is two facts away"),
        tfds.core.BuilderConfig(name="kb", description="the facts"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    put kb.txt and, in the folders 1-hop and 2-hop, the vanilla qa_dev.txt, qa_test.txt, qa_dev_qtype.txt and
    qa_test_qtype.txt of https://github.com/yuyuz/MetaQA, each compressed with gzip, into a folder metaqa, and
    specify the folder that contains it
    """
    NOTICE = "about 10 s"
    pkg_dir_path = None

    def _info(self):
        is_kb = self.builder_config.name == "kb"
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://github.com/yuyuz/MetaQA",
            features=knowledge_bases.fact_features() if is_kb else knowledge_bases.question_features())

    def _split_generators(self, dl_manager):
        folder = pathlib.Path(dl_manager.manual_dir) / "metaqa"
        name = self.builder_config.name
        if name == "kb":
            return {"kb": knowledge_bases.facts(folder / "kb.txt.gz", "|", self.MANUAL_DOWNLOAD_INSTRUCTIONS)}
        return {split: self._generate_examples(folder / name, part) for split, part in _SPLITS.items()}

    def _generate_examples(self, folder, part):
        path = folder / f"qa_{part}.txt.gz"
        questions = knowledge_bases.lines(path, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        types = knowledge_bases.lines(folder / f"qa_{part}_qtype.txt.gz", self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        if len(types) != len(questions):
            raise UserError(f"{path} has {len(questions):,} questions, but qa_{part}_qtype.txt.gz has {len(types):,} types")
        for number, (line, kind) in enumerate(zip(questions, types), 1):
            source = f"{path}: line {number}"
            question, answers = knowledge_bases.fields(line, "\t", 2, source)
            if not 0 <= question.find("[") < question.rfind("]") - 1:
                raise UserError(f"{source} contains no topic in [brackets]: {question[:80]!r}")
            answers = [answer.strip() for answer in answers.split("|") if answer.strip()]
            if not answers:
                raise UserError(f"{source} has no answer")
            yield number, {"question": question, "answers": answers, "path": kind.strip().split("_to_")}
