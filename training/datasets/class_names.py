"""Names of classes and columns from users' files: normalized, printable and unique."""
import collections
import unicodedata

from training.config import UserError

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of characters that end a line or cannot be seen"""
_JOINERS = "\u200c\u200d"  # writing in Persian or Hindi needs them


def class_name(text, what):
    """Returns the name of a class without surrounding white space, in Unicode's normal form C.

    TFDS saves class names as lines of text, which it strips; other names would not survive that.

    text: the name as it is written
    what: "the name of …", for the error message

    Raises:
        UserError: the name is empty, or contains a line break or another unprintable character.
    """
    name = unicodedata.normalize("NFC", text.strip())
    if not name:
        raise UserError(f"{what} is not a valid class name: it is empty")
    if any(unicodedata.category(character) in _UNPRINTABLE and character not in _JOINERS for character in name):
        raise UserError(f"{what} is not a valid class name: {name[:80]!r} contains a line break or another "
                        "unprintable character")
    return name


def class_names(texts, source):
    """Returns the names of the class ids 0, 1, …, see `class_name`.

    texts:  the names as they are written
    source: their source, for error messages

    Raises:
        UserError: a name is not allowed, or two are the same.
    """
    names = [class_name(text, f"a name in {source}") for text in texts]
    twins = [name for name, count in collections.Counter(names).items() if count > 1]
    if twins:
        raise UserError(f"{source} lists the name {twins[0]!r} twice: each class needs a unique name")
    return names
