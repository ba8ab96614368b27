"""Users' folders: which files belong to a data set, and what identifies a folder."""
import collections
import dataclasses
import hashlib
import os
import pathlib
import re
import unicodedata

import tensorflow_datasets as tfds

from training.config import UserError
from training.vision import files

_SPLIT_WORD = re.compile(r"(train|test|val)(ing|id|idation|s|set|data|images?|imgs?|dev|split|part)?")
_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_OTHER_SPLIT_WORDS = {"trainval": "train", "eval": "validation", "evaluation": "validation",
                      "minival": "validation", "valminusminival": "validation"}  # the last two are parts of COCO


@dataclasses.dataclass(kw_only=True)
class FolderConfig(tfds.core.BuilderConfig):
    """A user's folder. The name of the config is a hash of the folder's content; only the preparation needs the other fields."""

    folder: str
    """path of the folder"""
    class_names: list[str]
    """names of the class ids 0, 1, …"""
    parts: dict[str, list]
    """{split: one record per image}; the records depend on the builder"""
    left_out: list[pathlib.Path] = dataclasses.field(default_factory=list)
    """files in the folder that do not belong to the data set"""

    def summary(self):
        """Returns the number of images per split and the number of skipped files per extension, as text."""
        splits = [split for split in ("train", "validation", "test") if split in self.parts]
        counts = ", ".join(f"{len(self.parts[split]):,} {split}" for split in splits)
        endings = collections.Counter(path.suffix.lower() or "without an extension" for path in self.left_out)
        left_out = ", ".join(f"{count:,} {ending}" for ending, count in sorted(endings.items()))
        return f"images: {counts}" + (f"; files skipped: {left_out}" if left_out else "")


def inside(folder, name):
    """Returns the path of a file that a data set lists.

    Raises:
        UserError: it lies outside the folder.
    """
    path = pathlib.Path(os.path.normpath(folder / name))  # not resolved: links that the folder's owner made are followed
    if not path.is_relative_to(os.path.normpath(folder)):
        raise UserError(f"the name {name!r} is outside the folder {folder}")
    return path


def find(folder, name):
    """Returns the path of a file that a data set lists, or None if it does not exist.

    Accented names match in both Unicode normal forms, because the file names of macOS use another form than most lists.

    Raises:
        UserError: it lies outside the folder.
    """
    forms = dict.fromkeys([name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)])
    return next((path for path in (inside(folder, form) for form in forms) if os.path.isfile(path)), None)


def listed(folder):
    """Returns the files in a folder at any depth, sorted. Hidden files are left out; links to folders are followed."""
    found, seen = [], {os.path.realpath(folder)}
    for place, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if not is_hidden(name) and
                          os.path.realpath(os.path.join(place, name)) not in seen)  # a link may lead in a circle
        seen.update(os.path.realpath(os.path.join(place, name)) for name in inner)
        found += [pathlib.Path(place, name) for name in names if not is_hidden(name)]
    return sorted(path for path in found if path.is_file())


def is_hidden(name):
    """Tells whether a file or folder belongs to a system or program: its name begins with a dot, or is what macOS zips."""
    return name.startswith(".") or name == "__MACOSX"


def shown(name):
    """Returns the name of a file for a sentence; one with characters that cannot be seen is shown with their numbers."""
    return str(name) if str(name).isprintable() else repr(str(name))


def others(files, read):
    """Returns the files that are not among the paths that were read."""
    read = {os.path.normpath(path) for path in read}
    return [path for path in files if os.path.normpath(path) not in read]


def split_of(name):
    """Returns the split in the name of a file or folder, as a whole word: train, validation or test, or None.

    "train2017", "my_Test-set" and "valid" contain one, "latest" does not.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    found = [_SPLITS[match[1]] if match else _OTHER_SPLIT_WORDS.get(word)
             for word, match in zip(words, map(_SPLIT_WORD.fullmatch, words))]
    return next((split for split in ("test", "validation", "train") if split in found), None)


def read(path):
    """Returns the bytes of a file.

    Raises:
        UserError: the file does not exist, or exceeds the size limit of images.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(files.MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{path} is listed by the data set but does not exist") from None
    if len(content) > files.MAX_BYTES:
        raise UserError(f"{path} is larger than {files.MAX_BYTES:,} bytes")
    return content


def identity(folder, files):
    """Returns a hash of the names, sizes and modification times of the files in the folder, which identifies a data set.

    Raises:
        UserError: a name is not UTF-8.
    """
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(encoded(f"{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\n", path))
    return digest.hexdigest()[:16]


def encoded(text, path):
    """Returns a text that contains a path as UTF-8, the encoding in which TFDS writes names.

    Raises:
        UserError: the name is not UTF-8.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UserError(f"the file name {str(path)!r} is not valid UTF-8") from None
