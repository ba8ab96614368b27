"""What a network needs to know about stories and knowledge bases besides their tensors."""
import dataclasses
from typing import ClassVar

from training.data import spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(spec.Info):
    """The words and tasks of a data set."""

    SAME: ClassVar = ("words", "tasks")

    words: list[str]
    """the vocabulary, by number; the first two are padding and the unknown word"""
    tasks: list[str]
    """names of the tasks, by number"""
