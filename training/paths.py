"""Paths that users give: a leading ~ is the home folder, also where no shell has replaced it, as in `--runs=~/runs`."""
import dataclasses
import functools
import os
import re
import typing
from typing import Annotated

from training.errors import UserError

DATA_DIR_REMEDY = "name a folder with --data-dir or TFDS_DATA_DIR"
"""what helps a user without a home folder, in which TFDS keeps its data"""


@dataclasses.dataclass(frozen=True)
class IsPath:
    """A setting, or each value of a list, is a path whose leading ~ is the home folder; it goes into the annotation."""


Path = Annotated[str, IsPath()]


class Expanding:
    """The base of settings: an instance holds the settings that are annotated with `IsPath` without a leading ~.

    Raises:
        UserError: there is no home folder.
    """

    def __post_init__(self):
        for name in _names(type(self)):
            value = getattr(self, name)
            if value:
                found = tuple(map(expanded, value)) if isinstance(value, (tuple, list)) else expanded(value)
                object.__setattr__(self, name, found)  # a frozen dataclass has no other way


def expanded(path, remedy="write the path without ~"):
    """Returns a path with the home folder in place of a leading ~.

    path:   text
    remedy: what to do where there is no home folder, for the sentence of the error

    Raises:
        UserError: there is no home folder.
    """
    found = os.path.expanduser(path)
    if re.match(r"~([/\\]|$)", found):  # a folder called ~ would be made, and is dangerous to remove
        raise UserError(f"this user has no home folder, which {path} asks for: {remedy}")
    return found


def check_encoding(*paths):
    """Raises a UserError if TensorFlow cannot write to one of the paths; None stands for none."""
    for path in map(os.path.abspath, filter(None, paths)):
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UserError(f"TensorFlow cannot write to {path!r}, whose name is not UTF-8: choose another folder or "
                            "name") from None


@functools.lru_cache(maxsize=None)
def _names(kind):
    """Returns the names of the fields of a dataclass that are paths."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return [field.name for field in dataclasses.fields(kind) if IsPath() in getattr(hints[field.name], "__metadata__", ())]
