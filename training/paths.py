"""Paths given by users: a leading ~ is replaced by the home folder, even where no shell does it, as in `--runs=~/runs`."""
import dataclasses
import functools
import os
import re
import typing
from typing import Annotated

from training.errors import UserError

DATA_DIR_REMEDY = "specify a folder with --data-dir or TFDS_DATA_DIR"
"""advice for a user without a home folder, where TFDS keeps its data by default"""


@dataclasses.dataclass(frozen=True)
class IsPath:
    """A setting, or each value in a list, is a path in which a leading ~ means the home folder; used in the annotation."""


Path = Annotated[str, IsPath()]


class Expanding:
    """The base class of settings with paths: replaces a leading ~ in the settings that are annotated with `IsPath`.

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
    """Returns a path in which a leading ~ is replaced by the home folder.

    path:   text
    remedy: advice in the error message if there is no home folder

    Raises:
        UserError: there is no home folder.
    """
    found = os.path.expanduser(path)
    if re.match(r"~([/\\]|$)", found):  # a folder called ~ would be made, and is dangerous to remove
        raise UserError(f"{path} refers to the home folder, but this user has none: {remedy}")
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
