"""The settings of every system of this application; importing this module imports no TensorFlow."""
from typing import Annotated, ClassVar

import tyro

import training
from training.config import Count, NotNegative, Positive, Unless
from training.paths import IsPath, Path


class Config(training.Config):
    """What all dialogue systems share."""

    MONITOR: ClassVar = ("per_response", "max")
    DATASETS: ClassVar = {"dialog_babi/task6": dict(memory_size=200)}  # DSTC2: dialogues of up to 800 lines

    dataset: str = "restaurant_booking"
    """restaurant_booking, or dialog_babi/task1 … dialog_babi/task6"""
    dtype = "float32"  # these networks are too small to gain by bfloat16
    memory_size: Annotated[int, Count] = 100
    """lines before the user's last utterance that are kept: the latest ones of the dialogue"""

    @property
    def marks_types(self):
        """Whether each line has a word for the type of each entity in it."""
        return False

    @property
    def keeps_unseen_words(self):
        """Whether words of the candidates and the knowledge base that training never shows have vectors too."""
        return False


class Embedded(Config):
    """What the systems that learn a vector for each word share."""

    SPACE: ClassVar = {"learning_rate": ("log", 1e-4, 3e-2), "embedding_size": ("choice", 32, 64, 128)}

    embedding_size: Annotated[int, Count] = 32
    """dimensions of the vector of a word, and of a line"""


class MemN2N(Embedded, model="memn2n", ids=("G1",)):
    """Memory network over the dialogue (Bordes et al., 2017) in the parts I, G, O, R, with match types."""

    DATASETS: ClassVar = {"restaurant_booking": dict(epochs=20, learning_rate=5e-3)}
    SPACE: ClassVar = Embedded.SPACE | {"hops": ("choice", 1, 2, 3)}

    epochs = 30
    learning_rate = 3e-3
    hops: Annotated[int, Count] = 3
    """reads of the memory before the response"""
    noise: Annotated[float, NotNegative] = 0.3
    """largest number of blanks between the memories in training, as a fraction of the number of memories"""
    tied: bool = False
    """use one table of vectors for the words of the dialogue and those of the responses"""
    match_type: bool = True
    """mark for each response the types of the entities that both it and the dialogue name"""

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
    """compare responses with the whole dialogue, not only with the user's last utterance"""
    negatives: Annotated[int, Count] = 100
    """wrong responses that are drawn in each step"""
    margin: Annotated[float, Positive] = 0.1
    """least difference between the scores of the correct response and a wrong one that costs nothing"""


class TfIdf(Config, model="tfidf"):
    """The response most like the dialogue by TF-IDF (Bordes et al., 2017, section 4.1); nothing is trained."""

    BEST_WEIGHTS: ClassVar = False

    epochs: Annotated[int, Count, Unless("model", "tfidf")] = 1
    """passes over the training split; always one, since nothing is trained"""
    learning_rate: Annotated[float, Positive, Unless("model", "tfidf")] = 1e-3
    """not used, since nothing is trained"""
    validate_every: Annotated[int, Count, Unless("model", "tfidf")] = 1
    """epochs between two validations; there is only one epoch"""
    match_type: bool = True
    """mark for each response the types of the entities that both it and the dialogue name"""
    use_history: bool = False
    """compare responses with the whole dialogue, not only with the user's last utterance"""

    @property
    def marks_types(self):
        """Whether each line has a word for the type of each entity in it."""
        return self.match_type


class Chat(training.Verb):
    """Talks with a run's system in the terminal; its API calls are looked up in the knowledge base.

    An empty line lets the bot go on, as <SILENCE> does in the data; Ctrl-D ends the talk.
    """

    run: tyro.conf.Positional[Annotated[str | None, IsPath()]] = None
    """folder or name of a run; None: the newest finished one"""
    attention: bool = False
    """show after each response the lines that the last hop read most"""
    runs: Path = "runs"
    """folder that holds the runs"""
