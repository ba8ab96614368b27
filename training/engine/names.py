"""Users' names (of classes, columns, words, files) as text that terminals, pictures and Markdown show literally.

Matplotlib figures do not need this, see `training.engine.figures`; in a table of rich, use `rich.text.Text`.
"""
import re


def printable(name):
    """Returns a name that can be printed anywhere: with ? for control characters and for bytes that are not UTF-8."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", str(name))


def one_line(name):
    """Returns a name on one line, without control characters."""
    return printable(" ".join(str(name).split()))


def markdown(name):
    """Returns Markdown that shows a name literally, also in a table: without emphasis, links, code, tags or new cells."""
    text = one_line(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)
