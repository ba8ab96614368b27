"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar

import tyro

import training
from training.config import Count, NotNegative, Positive, Unless
from training.paths import IsPath, Path


class Config(training.Config):
    """Settings shared by all dialogue systems."""

    MONITOR: ClassVar = ("per_response", "max")
    BFLOAT16: ClassVar = False  # these networks are too small
    DATASETS: ClassVar = {"dialog_babi/task6": dict(memory_size=200)}  # DSTC2: dialogues of up to 800 lines

    dataset: str = "restaurant_booking"
    """restaurant_booking, or dialog_babi/task1 … dialog_babi/task6"""
    memory_size: Annotated[int, Count] = 100
    """maximum number of earlier dialogue lines in memory: the most recent ones before the last user utterance"""

    @property
    def marks_types(self):
        """Whether each line has a word for the type of each entity in it."""
        return False

    @property
    def keeps_unseen_words(self):
        """Whether words of the candidates and the knowledge base that training never shows have vectors too."""
        return False


class Embedded(Config):
    """Settings shared by the systems that learn word embeddings."""

    SPACE: ClassVar = {"learning_rate": ("log", 1e-4, 3e-2), "embedding_size": ("choice", 32, 64, 128)}

    embedding_size: Annotated[int, Count] = 32
    """embedding size of words and lines"""


class MemN2N(Embedded, model="memn2n", ids=("G1",)):
    """Memory network over the dialogue (Bordes et al., 2017) in the parts I, G, O, R, with match types."""

    DATASETS: ClassVar = {"restaurant_booking": dict(epochs=20, learning_rate=5e-3)}
    SPACE: ClassVar = Embedded.SPACE | {"hops": ("choice", 1, 2, 3)}

    epochs = 30
    learning_rate = 3e-3
    hops: Annotated[int, Count] = 3
    """number of memory hops before the response"""
    noise: Annotated[float, NotNegative] = 0.3
    """maximum number of empty memories inserted during training, as a fraction of the number of memories"""
    tied: bool = False
    """share one embedding matrix between dialogue and responses"""
    match_type: bool = True
    """add match-type features: mark the types of the entities that occur in both the response and the dialogue"""

    @property
    def marks_types(self):
        """Whether each line has a word for the type of each entity in it."""
        return self.match_type

    @property
    def keeps_unseen_words(self):
        """Whether words of the candidates and the knowledge base that training never shows have vectors too."""
        return self.tied


class SupervisedEmbeddings(Embedded, model="supervised_embeddings"):
    """Word vectors trained by a margin ranking loss (Bordes et al., 2017, section 4.2)."""

    epochs = 20
    learning_rate = 1e-2
    use_history: bool = True
    """compare responses with the whole dialogue instead of only the last user utterance"""
    negatives: Annotated[int, Count] = 100
    """wrong responses sampled per step"""
    margin: Annotated[float, Positive] = 0.1
    """margin of the ranking loss between the correct response and a wrong one"""


class TfIdf(Config, model="tfidf"):
    """The response most similar to the dialogue by TF-IDF (Bordes et al., 2017, section 4.1); nothing is trained."""

    BEST_WEIGHTS: ClassVar = False

    epochs: Annotated[int, Count, Unless("model", "tfidf")] = 1
    """passes over the training split; always one, since nothing is trained"""
    learning_rate: Annotated[float, Positive, Unless("model", "tfidf")] = 1e-3
    """not used, since nothing is trained"""
    validate_every: Annotated[int, Count, Unless("model", "tfidf")] = 1
    """epochs between two validations; there is only one epoch"""
    match_type: bool = True
    """add match-type features: mark the types of the entities that occur in both the response and the dialogue"""
    use_history: bool = False
    """compare responses with the whole dialogue instead of only the last user utterance"""

    @property
    def marks_types(self):
        """Whether each line has a word for the type of each entity in it."""
        return self.match_type


class Chat(training.Verb):
    """Chat with a trained system in the terminal; its API calls are answered from the knowledge base.

    An empty line lets the bot continue, as <SILENCE> does in the data; Ctrl-D ends the chat.
    """

    run: tyro.conf.Positional[Annotated[str | None, IsPath()]] = None
    """folder or name of a run; None: the newest finished run"""
    attention: bool = False
    """after each response, show the lines with the highest attention in the last hop"""
    runs: Path = "runs"
    """parent folder of the runs"""
