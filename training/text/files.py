"""Users' text files: supported encodings, and the error message for all others.

Importing this module does not import TensorFlow.
"""
import codecs

from training.config import UserError

# the marks with which Windows and spreadsheets begin a file; that of UTF-32 begins like that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"), (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"), (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"), (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"))


def decoded(content, source):
    """Decodes the bytes of a text file: UTF-8, or UTF-16 or UTF-32 with a byte order mark, which is removed.

    content: bytes of the file
    source:  the file's name in error messages

    Raises:
        UserError: the file has another encoding.
    """
    encoding, name = next(((encoding, name) for mark, encoding, name in _MARKS
                           if content.startswith(mark) and len(content) > len(mark)), ("utf-8", "UTF-8"))
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not {name} text: {error.reason} at byte {error.start:,}; save it as UTF-8") from None
    if "\0" in text:  # UTF-16 without its mark, or no text at all
        raise UserError(f"{source} is not {name} text: null character at position {text.index(chr(0)):,}; save it as UTF-8")
    return text


def lines(content, source):
    """Returns the lines of a text file without line ends, which may be those of Linux, Windows or old Macs.

    content: bytes of the file
    source:  the file's name in error messages

    Raises:
        UserError: the file has an unsupported encoding.
    """
    # not splitlines, which takes characters in some names for the end of a line
    return decoded(content, source).replace("\r\n", "\n").replace("\r", "\n").split("\n")
