"""Users' names (of classes, columns, words, files) as texts that terminals, pictures and Markdown show as they are.

Figures of matplotlib need none of this, see `training.engine.figures`; a table of rich takes a name as `rich.text.Text`.
"""
import re


def one_line(name):
    """Returns a name on one line, without characters that a terminal acts upon."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", " ".join(str(name).split()))


def markdown(name):
    """Returns Markdown that shows a name as it is, in a table too: no emphasis, link, code, tag or new cell."""
    text = one_line(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text)
