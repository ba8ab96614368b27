"""The text in a file's bytes: UTF-8, with or without a byte order mark, or what the mark says."""
import codecs

from training.config import UserError

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
          (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
"""those of UTF-32 come first, since one of them begins with UTF-16's"""


def decoded(content, name):
    """Returns the text in a file's bytes, without a byte order mark.

    content: bytes
    name:    of the file, for the sentence of an error

    Raises:
        UserError: it is no text in UTF-8, nor in UTF-16 or UTF-32 with a byte order mark.

    >>> from training.text.encodings import decoded
    >>> decoded(b"\\xff\\xfeh\\0i\\0", "greeting.txt")
    'hi'
    """
    mark, encoding = next(((mark, encoding) for mark, encoding in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        text = content[len(mark):].decode(encoding)
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:  # UTF-16 without a mark looks like UTF-8 with zeros
        raise UserError(f"{name} is no text in UTF-8, nor in UTF-16 with a byte order mark: save it in UTF-8")
    return text
