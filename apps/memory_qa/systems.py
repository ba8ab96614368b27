"""The settings of all systems of this application. Importing this module does not import TensorFlow."""
from typing import Annotated, ClassVar, Literal

import training
from training.config import Count, NotNegative, Unless, set_name

KNOWLEDGE_BASES = ("metaqa", "pathquestion")
"""data sets whose memories are the facts of a knowledge base; for all others they are the sentences of a story"""


def is_knowledge_base(dataset):
    """Returns whether the questions of a data set, such as "metaqa/1-hop", are asked about a knowledge base."""
    return set_name(dataset) in KNOWLEDGE_BASES


class Config(training.Config):
    """Settings shared by all systems."""

    MONITOR: ClassVar = ("error", "min")
    BFLOAT16: ClassVar = False  # these networks are too small
    DATASETS: ClassVar = {"metaqa": dict(memory_size=64), "pathquestion": dict(memory_size=64)}
    SPACE: ClassVar = {"learning_rate": ("log", 1e-3, 0.1), "noise": ("linear", 0.0, 0.3), "hops": ("choice", 1, 2, 3),
                       "embedding_size": ("choice", 20, 50, 100)}

    dataset: str = "simulated_world"
    """simulated_world, babi, babi/en-10k, metaqa/1-hop, metaqa/2-hop, pathquestion/2-hop or pathquestion/3-hop"""
    xla = True
    tasks: Annotated[tuple[int, ...], Unless("dataset", *KNOWLEDGE_BASES)] = ()
    """numbers of the tasks to train on jointly; all tasks of the data set by default"""
    embedding_size: Annotated[int, Count] = 50
    """embedding size of words and memories"""
    memory_size: Annotated[int, Count] = 50
    """maximum number of memories: the most recent sentences of a story, or facts"""


class MemN2N(Config, model="memn2n", ids=("M1", "M3")):
    """End-to-end memory network (Sukhbaatar et al., 2015) in the parts I, G, O, R."""

    BEST_WEIGHTS: ClassVar = False  # the last weights count, as in the paper; validation chooses among the restarts
    DATASETS: ClassVar = {
        "simulated_world": dict(epochs=60),
        "babi/en-10k": dict(learning_rate=0.005)}  # at twice the rate the loss does not fall during the linear start

    epochs = 80  # of which 20 are the linear start; of fewer than 80 epochs it is a quarter
    learning_rate = 0.01
    hops: Annotated[int, Count] = 3
    """number of memory hops before the answer"""
    tying: Literal["adjacent", "layer_wise"] = "adjacent"
    """weight tying: adjacent (the output embedding of one hop is the input embedding of the next) or layer_wise (all hops share
    their embeddings, as in an RNN)"""
    encoding: Literal["position", "bag"] = "position"
    """sentence representation: position encoding, which depends on word order, or bag of words"""
    padded: bool = False
    """pad all sentences to the longest one with a padding word that has its own embedding, as the authors' code does"""
    noise: Annotated[float, NotNegative] = 0.1
    """random noise of the paper: empty memories inserted during training, as a fraction of the number of memories"""
    linear_start: bool = True
    """linear start: begin training without the softmax in the memory hops"""
    nonlinear: bool = False
    """apply a ReLU after each hop"""
    restarts: Annotated[int, Count] = 1
    """networks trained side by side from different initial weights; the one with the lowest validation error is kept"""


class KeyValue(Config, model="key_value", ids=("M2",)):
    """Key-value memory network (Miller et al., 2016)."""

    DATASETS: ClassVar = {"metaqa": dict(epochs=3, memory="triple"), "pathquestion": dict(memory="triple")}

    epochs = 15
    learning_rate = 3e-3
    embedding_size = 100
    hops: Annotated[int, Count] = 2
    """number of memory hops before the answer"""
    memory: Literal["sentence", "window", "triple"] = "sentence"
    """content of a memory: a sentence, a window around a word, or a fact of a knowledge base"""


class LSTM(Config, model="lstm"):
    """An LSTM that reads the story and then the question."""

    epochs = 20
    learning_rate = 2e-3


class Table(MemN2N, training.Verb):
    """Train each task separately, keep the best of several restarts, and print a table next to the published results."""

    # the paper's settings for one task: 100 epochs after the linear start
    epochs = 120
    embedding_size = 20
    padded = True
    restarts = 10
