"""Talks with a person to book a table: chooses each response, or API call, among all candidates.

    python -m apps.dialog
    python -m apps.dialog --dataset dialog_babi/task5 --manual-dir DATA
    python -m apps.dialog chat
    python -m apps.dialog predict dialogue.txt

Data:    restaurant_booking (embedded), dialog_babi/task1 … dialog_babi/task6.
Systems: memn2n, supervised_embeddings, tfidf.
Result:  share of right responses and of dialogues without a wrong one, on the test split and on the one with
         cuisines, places and restaurants that training never shows; see RESULTS.md.
"""
import dataclasses
from typing import Literal

import tyro

import training

SYSTEMS = {
    "memn2n": "G1: memory network over the dialogue (Bordes et al., 2017) in the parts I, G, O, R, with match types",
    "supervised_embeddings": "baseline: words' vectors trained by a margin ranking loss (Bordes et al., 2017, section 4.2)",
    "tfidf": "baseline: the response most like the dialogue by TF-IDF; nothing is trained",
}

VERBS = {"chat": "talk with a run's system in the terminal; its API calls are looked up in the knowledge base"}

OBJECTIVE = ("per_response", "max")
"""what validation chooses by, for systems that are not trained"""

SPACE = {"learning_rate": ("log", 1e-4, 3e-2), "units": ("choice", 32, 64, 128), "hops": ("choice", 1, 2, 3)}
"""what `search` tries"""

POSITIVE = ("memory_size", "units", "hops", "negatives", "margin")
"""settings that must be above 0"""


@dataclasses.dataclass(frozen=True)
class Config(training.Config):
    """Goal-directed dialogue."""

    model: Literal["memn2n", "supervised_embeddings", "tfidf"] = "memn2n"
    """the system to train"""
    dataset: str = "restaurant_booking"
    """restaurant_booking, or dialog_babi/task1 … dialog_babi/task6"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """precision; these networks are too small to gain by bfloat16"""
    memory_size: int | None = None
    """lines of the dialogue before the user's last utterance that are kept: the latest"""
    units: int | None = None
    """dimensions of a line's vector"""
    hops: int | None = None
    """reads of the memory before the response"""
    noise: float | None = None
    """share of blanks put between the memories in training"""
    tied: bool | None = None
    """one table of vectors for the words of the dialogue and those of the responses"""
    match_type: bool | None = None
    """tell of each response which kinds of things it names that the dialogue names too"""
    use_history: bool | None = None
    """compare responses with the whole dialogue, not only with the user's last utterance"""
    negatives: int | None = None
    """wrong responses drawn in each step"""
    margin: float | None = None
    """by which the right response must be above a wrong one"""


@dataclasses.dataclass(frozen=True)
class Chat:
    """Talks with a run's system in the terminal.

    An empty line lets the bot go on, as <SILENCE> does in the data; Ctrl-D ends.
    """

    run: tyro.conf.Positional[str | None] = None
    """folder or name of a run (default: the newest finished one)"""
    attention: bool = False
    """show after each response the lines that the last hop read most"""
    runs: str = "runs"
    """folder that holds the runs"""
    debug: bool = False
    """show the traceback of an error"""


def defaults(model, dataset):
    """Returns the settings that `model` reads and their values for `dataset`."""
    is_real = dataset.startswith("dialog_babi/task6")  # DSTC2: dialogues of up to 800 lines
    values = dict(epochs=100, batch_size=32, learning_rate=1e-3, memory_size=200 if is_real else 100)
    if model == "tfidf":
        return values | dict(epochs=1, match_type=True, use_history=False)
    if model == "supervised_embeddings":
        return values | dict(epochs=20, learning_rate=1e-2, units=32, margin=0.1, negatives=100, use_history=True)
    values |= dict(epochs=30, learning_rate=3e-3, units=32, hops=3, noise=0.3, tied=False, match_type=True)
    if dataset == "restaurant_booking":
        values |= dict(epochs=20, learning_rate=5e-3)
    return values
