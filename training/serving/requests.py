"""The inputs of `predict` and the paths of its outputs. Importing this module does not import TensorFlow."""
import glob
import os
import pathlib
import re
import sys
import unicodedata
from typing import Any, NamedTuple

from training.engine.names import printable
from training.errors import UserError

STANDARD_INPUT = "-"
"""name of the input that is read from standard input"""
ENDINGS = (".json", ".png", ".classes.png")
"""extensions of the output files of a prediction"""
_LONGEST_NAME = 180
"""bytes of an answer's file name without its ending: file systems allow 255, and temporary names are longer"""


class Asked(NamedTuple):
    """One input of `predict`."""

    inputs: dict[str, Any]
    """{input name of the signature: its rows}, a list or an array"""
    kept: Any = None
    """further values that are needed to present the answer"""


def check(inputs, server):
    """Checks the arguments of `predict`.

    Raises:
        UserError: there is no input, a file does not exist, or the server is not of the form HOST:PORT.
    """
    if not inputs:
        raise UserError("predict needs one or more file names")
    for given in inputs:
        _paths(given)
    if server:
        check_address(server)


def check_address(server):
    """Raises a UserError unless `server` is of the form HOST:PORT."""
    if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}", server):
        raise UserError(f"{server!r} is not of the form HOST:PORT, such as localhost:8500")


def names(inputs, kinds, output):
    """Returns the names of all input files in order, and the number of skipped files in folders.

    inputs: files, folders and patterns such as "photos/*.jpg"; "-" is standard input, and a text that ends in "?" may be a
            question. A folder stands for all files of these kinds in it and its subfolders, except hidden ones. An existing
            file or folder with [ or * in its name is not treated as a pattern.
    kinds:  file name extensions in lower case
    output: output folder of the predictions, which is skipped when folders are searched

    Raises:
        UserError: a file does not exist, a folder cannot be read, or there are no files.
    """
    found, left_out = [], 0
    for given in inputs:
        for path in _paths(given):
            if os.path.isdir(path):
                inside = _inside(path, output)
                wanted = [name for name in inside if name.lower().endswith(kinds)]
                found += wanted
                left_out += len(inside) - len(wanted)
            else:
                found.append(path)
    if not found:
        raise UserError(f"{printable(inputs[0])} contains no files that end in {', '.join(kinds)}")
    return found, left_out


def outputs(inputs, folder):
    """Returns the output path of each input in a folder, without extension.

    It has the name of the input; duplicate names are numbered, as are outputs that would overwrite an input.
    """
    where = os.path.realpath(folder)
    taken = {_key(os.path.basename(name)) for name in inputs if os.path.realpath(os.path.dirname(name) or ".") == where}
    paths, numbers = [], {}
    for name in inputs:
        stem = _stem(name)
        key = _key(stem)
        while True:
            numbers[key] = number = numbers.get(key, 0) + 1
            chosen = stem if number == 1 else f"{stem}-{number}"
            files = {_key(chosen + ending) for ending in ENDINGS}
            if not files & taken:
                break
        taken |= files
        paths.append(pathlib.Path(folder, chosen))
    return paths


def read(name, most):
    """Returns the bytes of a file, or of standard input.

    Raises:
        UserError: it cannot be read, or has more than `most` bytes.
    """
    try:
        if name == STANDARD_INPUT:
            content = sys.stdin.buffer.read(most + 1)
        else:
            with open(name, "rb") as file:
                content = file.read(most + 1)
    except OSError as error:
        raise UserError(f"{printable(name)} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise UserError(f"{printable(name)} has more than {most:,} bytes")
    return content


def is_question(name):
    """Whether an input is the text of a question instead of the name of a file."""
    return name.rstrip().endswith("?") and not os.path.exists(name)


def _paths(given):
    """Returns the files and folders that one argument names, a question's text, or "-"."""
    path = given if os.path.exists(given) else os.path.expanduser(given)
    if given == STANDARD_INPUT or os.path.exists(path):
        return [path]
    # the folders that are there: a bracket in their names is no pattern
    real = next(parent for parent in [*pathlib.Path(path).parents, pathlib.Path()] if os.path.exists(parent))
    pattern = str(pathlib.Path(path).relative_to(real))
    matching = sorted(glob.glob(pattern, root_dir=real, recursive=True)) if glob.has_magic(pattern) else []
    if matching:
        return [str(real / name) for name in matching]
    if is_question(given):
        return [given]
    raise UserError(f"{printable(given)} cannot be read: there is no such file")


def _inside(folder, output):
    """Returns the names of all files below a folder that are not hidden, but for those in the folder `output`."""
    def refuse(error):
        raise UserError(f"the folder {printable(error.filename)} cannot be read: {error.strerror}")

    output, found = os.path.realpath(output), []
    for place, folders, files in os.walk(folder, onerror=refuse):
        if os.path.realpath(place) == output:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [str(pathlib.Path(place, name)) for name in sorted(files) if not name.startswith(".")]
    return found


def _stem(name):
    """Returns what an input's answer is called."""
    if name == STANDARD_INPUT:
        return "standard-input"
    if is_question(name):
        return "question"
    stem = pathlib.Path(name).stem
    while len(os.fsencode(stem)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem


def _key(name):
    """Returns the same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()
