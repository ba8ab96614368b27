"""Reads what `--help` prints."""
import re


def defaults(text):
    """Returns {flag: its default as text} of a help page."""
    found, name = {}, None
    for line in text.splitlines():
        if start := re.match(r"[│ ] (--[a-z-]+)", line):
            name = start.group(1)
        if name:
            found[name] = found.get(name, "") + " " + line.strip("│ ")
    return {name: default.group(1).strip("'") for name, content in found.items()
            if (default := re.search(r"\(default: (.*?)\)", content))}
