"""Questions about knowledge bases from untrusted files: lines of gzipped text, facts, and their features."""
import gzip
import zlib

import tensorflow_datasets as tfds

from training.config import UserError
from training.text import files as text_files

MAX_FILE_BYTES = 2 ** 27
"""size limit of an unpacked file in bytes"""
MAX_LINE_CHARACTERS = 2 ** 14


def question_features():
    """Returns the features of a question, which has its topic in [brackets]; `path` leads from the topic to the answers."""
    return tfds.features.FeaturesDict({
        "question": tfds.features.Text(),
        "answers": tfds.features.Sequence(tfds.features.Text()),
        "path": tfds.features.Sequence(tfds.features.Text()),
    })


def fact_features():
    """Returns the features of a fact."""
    return tfds.features.FeaturesDict({name: tfds.features.Text() for name in ("subject", "relation", "object")})


def lines(path, instructions):
    """Returns the lines of a gzip file of UTF-8 text.

    path:         path of the file
    instructions: how to get the file, for the error message if it is missing

    Raises:
        UserError: the file does not exist, is not gzipped UTF-8 text, is empty, or is too large.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist: {' '.join(instructions.split())}")
    try:
        with gzip.open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read as a gzip file: {error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{path} unpacks to more than {MAX_FILE_BYTES:,} bytes, the limit for such a file")
    found = text_files.lines(content, path)
    if found[-1] == "":
        found.pop()
    if not found:
        raise UserError(f"{path} is empty")
    return found


def fields(line, separator, count, source):
    """Returns the `count` fields of a line; no field may be empty.

    line:      text of the line
    separator: text between two fields
    count:     number of fields
    source:    the file's name and the line's number, for the error message

    Raises:
        UserError: there are more, fewer or empty fields, or the line is too long.
    """
    if len(line) > MAX_LINE_CHARACTERS:
        raise UserError(f"{source} has {len(line):,} characters, more than {MAX_LINE_CHARACTERS:,}")
    found = [field.strip() for field in line.split(separator)]
    if len(found) != count or not all(found):
        shown = {"\t": "a tab", "|": "|"}.get(separator, separator)
        raise UserError(f"{source} does not consist of {count} fields separated by {shown}: {line[:80]!r}")
    return found


def facts(path, separator, instructions):
    """Yields (key, fact) from a file with one fact per line, in file order and without duplicates."""
    seen = set()
    for number, line in enumerate(lines(path, instructions), 1):
        fact = tuple(fields(line, separator, 3, f"{path}: line {number}"))
        if fact not in seen:
            seen.add(fact)
            yield number, dict(zip(("subject", "relation", "object"), fact))
