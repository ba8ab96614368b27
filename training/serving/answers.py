"""The verb `predict`: reads and predicts inputs in batches, and writes each prediction as soon as it is available."""
import datetime
import functools
import json
import pathlib
import sys
import time
from typing import NamedTuple

import numpy as np

from training.config import UserError
from training.engine import files
from training.engine.names import printable
from training.serving import client, export, requests

_BATCH_BYTES = 16 * 2**20
"""of the inputs that are read at once, if there is more than one; well below what a server takes in one message"""
_INTERVAL = 10.0
"""seconds between two lines of progress"""


class _Input(NamedTuple):
    """One input of `predict`: what it asks, or why it is refused."""

    name: str
    path: pathlib.Path
    asked: requests.Asked | None
    error: str = ""


def predict(app, request):
    """Predicts for files with the newest export or with a server.

    request: a `training.cli.Predict`

    Raises:
        UserError: there are no inputs or no export, or some predictions failed; all others were written.
    """
    folder = pathlib.Path(request.output)
    names, left_out = requests.names(request.inputs, app.serving.KINDS, folder)
    ask = _asker(app, request)
    folder.mkdir(parents=True, exist_ok=True)
    if left_out:
        print(f"{left_out} file{'s' if left_out > 1 else ''} skipped, not ending in {', '.join(app.serving.KINDS)}",
              file=sys.stderr)
    most = client.MAX_INPUT_BYTES if request.server else None
    inputs = (_read(app.serving, *pair, most) for pair in zip(names, requests.outputs(names, folder)))
    total, refused, done, began = 0, [], 0, time.perf_counter()
    spoken = began
    for batch in _batches(inputs, app.serving.BATCH):
        for one, answer in zip(batch, _answers(batch, ask, app.serving.BATCH)):
            errors = _present(app.serving, one, answer)
            total += len(errors)
            refused += [error for error in errors if error]
        done += len(batch)
        now = time.perf_counter()
        if now - spoken >= _INTERVAL and done < len(names):
            left = datetime.timedelta(seconds=round((now - began) / done * (len(names) - done)))
            print(f"{done} of {len(names)} done, {left} left", file=sys.stderr, flush=True)
            spoken = now
    print(f"{total} prediction{'s' if total != 1 else ''} in {printable(folder)}", flush=True)
    if refused:
        raise UserError(f"{len(refused)} of {total} predictions failed; the first error: {refused[0]}")


def _asker(app, request):
    """Returns a function from the inputs of the signature to its answer: the server's, or that of an export here."""
    names = app.export_names(request.model)
    if request.server:
        return functools.partial(client.answer, request.server, next(iter(names)), signature=app.serving.PREDICT,
                                 timeout=request.timeout_seconds)
    version = pathlib.Path(request.export) if request.export else export.newest_of(
        [pathlib.Path(request.saved_models) / name for name in names], next(iter(names.values())) if request.model else None)
    return functools.partial(export.answer, version, signature=app.serving.PREDICT)


def _read(serving, name, path, most):
    """Returns an input with what it asks; it is refused if it cannot be read, or has more than `most` bytes."""
    try:
        asked = serving.request(name)
    except UserError as error:
        return _Input(name, path, None, str(error))
    if most and _size(asked) > most:
        return _Input(name, path, None, f"{printable(name)} has {_size(asked) / 2**20:.0f} MB, "
                                        f"more than the {most / 2**20:.0f} MB that a server accepts in one message")
    return _Input(name, path, asked)


def _batches(inputs, most):
    """Yields lists of inputs that are asked together: `most` rows or one input, of one shape, and not too many bytes."""
    batch, rows, size, shapes = [], 0, 0, None
    for one in inputs:
        more, bigger, own = (_rows(one), _size(one.asked), _shapes(one)) if one.asked else (1, 0, shapes)
        if batch and (rows + more > most or size + bigger > _BATCH_BYTES or own != shapes):
            yield batch
            batch, rows, size = [], 0, 0
        batch.append(one)
        rows, size, shapes = rows + more, size + bigger, own
    if batch:
        yield batch


def _answers(batch, ask, most):
    """Returns what the signature answers to each input of a batch, None to a refused one; asks for `most` rows at once."""
    asking = [one for one in batch if one.asked]
    if not asking:
        return [None] * len(batch)
    columns = {name: _joined([one.asked.inputs[name] for one in asking]) for name in asking[0].asked.inputs}
    count = sum(map(_rows, asking))
    parts = [ask({name: values[first:first + most] for name, values in columns.items()}) for first in range(0, count, most)]
    answer = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found, first = [], 0
    for one in batch:
        last = first + (_rows(one) if one.asked else 0)
        found.append({name: values[first:last] for name, values in answer.items()} if one.asked else None)
        first = last
    return found


def _present(serving, one, answer):
    """Writes and prints the answer to one input, and returns the errors of its rows."""
    if answer is None:
        document, lines = {"error": one.error}, [f"no answer: {one.error}"]
    else:
        document, lines = serving.present(one.asked, answer, one.path)
    text = json.dumps({"file": one.name} | document, indent=2, ensure_ascii=False) + "\n"
    text = text.encode("utf-8", "replace").decode()  # a name that is no UTF-8
    files.write_text(one.path.with_name(one.path.name + ".json"), text)
    print("\n".join(map(printable, [f"{one.name}: {lines[0]}", *(f"  {line}" for line in lines[1:])])), flush=True)
    return [row["error"] for row in document.get("rows", [document])]


def _rows(one):
    return len(next(iter(one.asked.inputs.values())))


def _size(asked):
    """Returns how many bytes an input has."""
    return sum(column.nbytes if isinstance(column, np.ndarray) else sum(map(len, column)) for column in asked.inputs.values())


def _shapes(one):
    """Returns the shapes of rows, which those of a batch share."""
    return [np.shape(column)[1:] if isinstance(column, np.ndarray) else () for column in one.asked.inputs.values()]


def _joined(columns):
    return np.concatenate(columns) if isinstance(columns[0], np.ndarray) else [row for column in columns for row in column]
