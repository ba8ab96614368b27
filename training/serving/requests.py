"""What `predict` is asked, and where the answers for files go."""
import pathlib
import re

from training.config import UserError


def check(inputs, server):
    """Refuses what cannot be asked; imports no TensorFlow.

    Raises:
        UserError: no input, a file that is not there, or a server that is no HOST:PORT.
    """
    if not inputs:
        raise UserError("predict needs the names of one or more files")
    for name in inputs:
        if name != "-" and not name.rstrip().endswith("?") and not pathlib.Path(name).exists():  # standard input; a question
            raise UserError(f"{name} cannot be read: there is no such file")
    if server:
        check_address(server)


def check_address(server):
    """Raises UserError unless this is HOST:PORT."""
    if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}", server):
        raise UserError(f"{server!r} is no HOST:PORT, such as localhost:8500")


def file_names(paths):
    """Returns a name for each file's answer; files of one name in several folders are numbered."""
    names = []
    for path in paths:
        stem = pathlib.Path(path).stem
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names
