"""Generated tables in the documents: results from the records in results/, settings from the systems' classes, and signatures
from exports. Imports TensorFlow only for signatures."""
import dataclasses
import math
import pathlib
import re
import statistics
import tomllib
from typing import Annotated, NamedTuple

from training import runs, settings_tables
from training.config import UserError
from training.paths import Expanding, IsPath, Path

DOCUMENTS = ("README.md", "RESULTS.md", "docs", "saved_models/README.md")
"""documents with tables; a folder stands for its Markdown files"""

_KINDS = "table|systems|settings|signatures"
_BEGIN = re.compile(rf"^<!-- (?:{_KINDS}): ", re.MULTILINE)
_END = re.compile(r"^<!-- end -->", re.MULTILINE)
_BLOCK = re.compile(rf"^(<!-- ({_KINDS}): ([^\n]*?) -->\n)(.*?)^(<!-- end -->)", re.DOTALL | re.MULTILINE)
_PLACE = re.compile(r"\{([^{}]+)\}")


@dataclasses.dataclass(frozen=True)
class Tables(Expanding):
    """Writes the generated tables in the documents: results from the records and results/tables.toml, and settings of systems."""

    check: bool = False
    """only check whether the documents are up to date; exit code 2 if they are not"""
    documents: Annotated[tuple[str, ...], IsPath()] = DOCUMENTS
    """files with generated tables, or folders of them; a table stands between <!-- table: NAME -->, or systems, settings or
    signatures in place of table, and <!-- end -->"""
    results: Path = "results"
    """parent folder of the records"""
    exports: Annotated[str | None, IsPath()] = None
    """folder of exports for the tables of signatures; None: these tables stay as they are"""
    debug: bool = False
    """show the traceback of an error"""


class Shelf(NamedTuple):
    """Everything that tables are made from.

    records:   {"<app>/<name>": contents of its file}
    published: {name: {"text", "source", "comparable", its figures}}, of published.toml
    tables:    {name: {"columns", "cells", "rows"}}, of tables.toml
    machines:  {letter: {"processors", "cores"}}, of tables.toml
    """

    records: dict
    published: dict
    tables: dict
    machines: dict


def shelf(folder):
    """Returns the Shelf of a folder of results.

    Raises:
        UserError: a file cannot be read.
    """
    folder = pathlib.Path(folder)
    records = {}
    for path in sorted(folder.glob("*/*.json")):
        records[f"{path.parent.name}/{path.stem}"], fault = runs.json_object(path)
        if fault:
            raise UserError(f"{path}: {fault}")
    texts = []
    for path in (folder / "published.toml", folder / "tables.toml"):
        try:
            texts.append(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
    published, tables = texts
    return Shelf(records, published, tables.get("tables", {}), tables.get("machines", {}))


def write(request):
    """Writes the tables of all documents, or with `check` reports documents that are out of date.

    Raises:
        UserError: `check` found a difference, or a document or a file of the results is missing or invalid.
    """
    kept, differing = shelf(request.results), []
    for document in documents(request.documents):
        try:
            text = document.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise UserError(f"{document} cannot be read") from None
        new = rendered(text, kept, request.exports)
        if new != text:
            differing.append(str(document))
            if not request.check:
                document.write_text(new, encoding="utf-8")
    if differing and request.check:
        raise UserError(f"tables in {' and '.join(differing)} are out of date: run `python -m apps runs tables`")
    print(f"written: {', '.join(differing)}" if differing else "all tables are up to date")


def documents(names, root="."):
    """Returns the files for these names, see DOCUMENTS."""
    paths = [pathlib.Path(root, name) for name in names]
    return [file for path in paths for file in (sorted(path.glob("*.md")) if path.is_dir() else [path])]


def rendered(text, kept, exports=None):
    """Returns the text of a document with up-to-date tables.

    kept:    a Shelf
    exports: folder of exports with the signatures; None: their tables stay as they are
    """
    if not len(_BEGIN.findall(text)) == len(_END.findall(text)) == len(_BLOCK.findall(text)):
        raise UserError("each <!-- table: NAME --> needs a line of its own and an <!-- end --> after the table")

    def block(match):
        begin, kind, name, old, end = match.groups()
        if kind == "table":
            made = table(name, kept)
        elif kind == "systems":
            made = settings_tables.systems(name)
        elif kind == "settings":
            made = settings_tables.table(name)
        else:
            made = _signatures_of(name, exports) or old.removesuffix("\n")
        return f"{begin}{made}\n{end}"

    return _BLOCK.sub(block, text)


def _signatures_of(app, exports):
    """Returns the table of the newest export of an application in a folder, or None where there is none."""
    if exports is None or not (folder := pathlib.Path(exports, app)).is_dir():
        return None
    from training.serving import export

    return signatures(export.describe(export.newest(folder)))


def signatures(described):
    """Returns a Markdown table of the signatures of an export.

    described: the result of `training.serving.export.describe`; the first dimension of unknown size is the batch
    """
    lines = [("signature", "input or output", "name", "type", "shape"), ["---"] * 5]
    for name, sides in described.items():
        for side, tensors in sides.items():
            for tensor, (dtype, shape) in tensors.items():
                sizes = ["any" if size is None else str(size) for size in shape]
                sizes[:1] = ["batch"] if sizes[:1] == ["any"] else sizes[:1]
                lines.append((f"`{name}`", side.removesuffix("s"), f"`{tensor}`", dtype, f"({', '.join(sizes)})"))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(name, kept):
    """Returns a table as Markdown.

    A cell comes from its row under the heading, or else from `cells`. In it, <word> is replaced by the row's entry for that
    word, and {figure:format} by a figure of the row's record, see `_figure`. `keys` are rows with only a key; with `each =
    "published"` there is one row per entry of published.toml. `summarizes` names another table: its rows with a `summary` are
    used, and the entries of the summary override theirs.
    """
    if name not in kept.tables:
        raise UserError(f"there is no table {name} in tables.toml")
    own = kept.tables[name]
    base = kept.tables.get(own.get("summarizes"), {})
    cells = base.get("cells", {}) | own.get("cells", {})
    rows = [row | row["summary"] for row in base.get("rows", []) if "summary" in row] + [
        {"key": key} for key in own.get("keys", [])] + own.get("rows", [])
    if own.get("each") == "published":
        rows += [entry | {"against": name} for name, entry in kept.published.items()]
    lines = [own["columns"], ["---"] * len(own["columns"])]
    for row in rows:
        row = {word: own[word] for word in ("record", "records", "against") if word in own} | row
        try:
            lines.append([_filled(row.get(column, cells.get(column, "")), row, kept) for column in own["columns"]])
        except (LookupError, ValueError, TypeError) as error:
            raise UserError(f"table {name}, row {row}: {error!r}") from None
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _filled(template, row, kept):
    """Returns the text of a cell."""
    template = re.sub(r"<(\w+)>", lambda match: str(row.get(match[1], "")), template)
    return _PLACE.sub(lambda match: _figure(match[1], row, kept).replace("\n", " ").replace("|", "\\|"), template)


def _figure(place, row, kept):
    """Returns the text of one place.

    path:format         a figure of the row's `record`, or of the one that `records` has under the path's first word; of a
                        group, or of a list, the median and each value
    median path:format  the median alone
    path?:format        a dash where there is no such figure
    published           the text of the entry of published.toml that the row is `against`; published.path is a figure of it; of
                        several entries, the path's first word says which
    machine, time       the machine's letter, the minutes of the longest run
    """
    path, _, spec = place.partition(":")
    if path == "published" and "against" not in row:
        return "–"
    path, is_alone = path.removeprefix("median "), path.startswith("median ")
    path, is_optional = path.removesuffix("?"), path.endswith("?")
    first, _, rest = path.partition(".")
    if first == "published":
        name = row["against"]
        if isinstance(name, dict):
            word, _, rest = rest.partition(".")
            name = name[word]
        entry = kept.published[name]
        return _shown([_at(entry, rest)], spec, is_alone) if rest else _filled(entry["text"], {"against": name}, kept)
    name, path = (row["records"][first], rest) if first in row.get("records", {}) else (row.get("record"), path)
    found = sources(name, kept)
    if path in ("machine", "time"):
        return machine(found[0].get("hardware", {}), kept.machines) if path == "machine" else _longest(found)
    try:
        values = [_at(content if path.partition(".")[0] in content else content["metrics"], path) for content in found]
    except LookupError:
        if is_optional:
            return "–"
        raise
    return _shown([part for value in values for part in (value if isinstance(value, list) else [value])], spec, is_alone)


def sources(name, kept):
    """Returns the record with this name, or the records of the group with this name in the order of their seeds."""
    if name in kept.records:
        return [kept.records[name]]
    app, _, group = str(name).partition("/")
    found = [content for key, content in kept.records.items() if key.startswith(f"{app}/") and content.get("group") == group]
    if not found:
        raise LookupError(f"there is no record and no group {name}")
    return sorted(found, key=lambda content: content.get("seed", 0))


def _at(value, path):
    """Returns what lies at a path, whose parts are keys, which may hold dots themselves, or places in a list."""
    if not path:
        return value
    parts = path.split(".")
    if isinstance(value, list):
        return _at(value[int(parts[0])], ".".join(parts[1:]))
    for count in range(len(parts), 0, -1):
        if isinstance(value, dict) and (key := ".".join(parts[:count])) in value:
            return _at(value[key], ".".join(parts[count:]))
    raise LookupError(f"there is no {path}")


def _shown(values, spec, is_alone):
    if len(values) == 1 and isinstance(values[0], dict):
        return ", ".join(f"{name} {_shown([value], spec, is_alone)}" for name, value in values[0].items())
    if isinstance(values[0], str) and len(set(values)) == 1:
        return values[0]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
    texts = [format(value, spec) for value in values]
    median = format(statistics.median(values), spec)
    return median if is_alone or len(values) == 1 else f"{median} ({', '.join(text.removesuffix('%') for text in texts)})"


def _longest(found):
    """Returns the minutes of the longest of several runs; what shared its machine with other programs took at most so long."""
    content = max(found, key=lambda content: content.get("minutes", 0))
    if "minutes" not in content:
        return "–"
    minutes = format(content["minutes"], ".1f" if content["minutes"] < 10 else ".0f")
    return f"≤ {minutes}" if content.get("shared_machine") else minutes


def machine(hardware, machines):
    """Returns the letter of a machine in tables.toml or else its processor, and the number of cores if it differs."""
    for letter, known in machines.items():
        if hardware.get("processor") in known["processors"]:
            cores = hardware.get("cores", known["cores"])
            return letter if cores == known["cores"] else f"{letter}, {cores} core{'s' if cores > 1 else ''}"
    return str(hardware.get("processor", "–"))
