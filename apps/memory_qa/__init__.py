"""Answers questions about stories and knowledge bases by reading a memory.

    python -m apps.memory_qa
    python -m apps.memory_qa --dataset babi --manual-dir DATA
    python -m apps.memory_qa table --dataset babi --manual-dir DATA
    python -m apps.memory_qa predict story.txt

Data:    simulated_world (embedded), babi (1,000 questions a task), babi/en-10k, metaqa/1-hop, metaqa/2-hop,
         pathquestion/2-hop, pathquestion/3-hop.
Systems: memn2n, key_value, lstm.
Result:  share of wrong answers by task on the test split; see RESULTS.md.
"""
import dataclasses
from typing import Literal

import training

SYSTEMS = {
    "memn2n": "M1, M3: end-to-end memory network (Sukhbaatar et al., 2015) in the parts I, G, O, R",
    "key_value": "M2: key-value memory network (Miller et al., 2016)",
    "lstm": "baseline: an LSTM that reads the story, then the question",
}

VERBS = {"table": "every task by itself, the best of several restarts, beside the published figures"}

TABLE = dict(units=20, epochs=120, restarts=10, padded=True)
"""what `table` takes in place of the defaults: the paper's settings for one task, 100 epochs after the linear start"""

POSITIVE = ("hops", "units", "memory_size", "restarts")
"""settings that must be above 0"""

OBJECTIVE = ("error", "min")
"""what validation chooses by, for systems whose last weights count"""

SPACE = {"learning_rate": ("log", 1e-3, 0.1), "noise": ("linear", 0.0, 0.3), "hops": ("choice", 1, 2, 3),
         "units": ("choice", 20, 50, 100)}
"""what `search` tries"""

KNOWLEDGE_BASES = ("metaqa", "pathquestion")
"""data sets whose memories are facts, not the sentences of a story"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Question answering by memory networks."""

    model: Literal["memn2n", "key_value", "lstm"] = "memn2n"
    """the system to train"""
    dataset: str = "simulated_world"
    """simulated_world, babi, babi/en-10k, metaqa/1-hop, metaqa/2-hop, pathquestion/2-hop or pathquestion/3-hop"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """precision; these networks are too small to gain by bfloat16"""
    tasks: tuple[int, ...] = ()
    """tasks to train on together, by number from 1; without any, all of the data set"""
    units: int | None = None
    """dimensions of a memory"""
    hops: int | None = None
    """reads of the memory before the answer"""
    memory_size: int | None = None
    """memories that are kept: the latest sentences of a story, or facts"""
    tying: Literal["adjacent", "layer_wise"] | None = None
    """weights that hops share: each hop's output with the next one's input, or all hops' as in an RNN"""
    encoding: Literal["position", "bag"] | None = None
    """whether the order of the words in a sentence counts"""
    padded: bool | None = None
    """fill all sentences up to the longest one with a word of its own, as the authors' code does"""
    noise: float | None = None
    """share of blanks put between the memories in training"""
    linear_start: bool | None = None
    """train without softmax first"""
    nonlinear: bool | None = None
    """ReLU after each hop"""
    restarts: int | None = None
    """networks trained side by side from different weights, of which validation chooses one"""
    memory: Literal["sentence", "window", "triple"] | None = None
    """what a key-value memory holds: sentences, windows around words, or facts"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    is_knowledge = dataset.partition("/")[0] in KNOWLEDGE_BASES
    values = dict(epochs=60, batch_size=32, learning_rate=0.01, units=50, memory_size=64 if is_knowledge else 50, xla=True)
    if model == "lstm":
        return values | dict(epochs=20, learning_rate=2e-3)
    values |= dict(hops=3)
    if model == "key_value":
        return values | dict(hops=2, units=100, epochs=3 if dataset.startswith("metaqa") else 15, learning_rate=3e-3,
                             memory="triple" if is_knowledge else "sentence")
    # 20 of the epochs, or a quarter of fewer than 80, are for the linear start
    values |= dict(epochs=80, tying="adjacent", encoding="position", padded=False, noise=0.1, linear_start=True,
                   nonlinear=False, restarts=1)
    if dataset == "simulated_world":
        values |= dict(epochs=60)
    if dataset == "babi/en-10k":
        values |= dict(learning_rate=0.005)  # at twice the rate the linear start does not come down
    return values
