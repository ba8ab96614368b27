"""Interface of an exported system, the same for all systems of this application.

    serving_default: features (batch, any) float32: one row of numbers per example, in the order and units of the training data
        -> predictions (batch,) float32: the predicted number, or the class id
           class_names (batch,) string: "" if a number is predicted
           probabilities (batch, classes) float32: empty if a number is predicted
           error (batch,) string: empty, or the reason why this row has no prediction; the other outputs are then 0, "" and 0
"""
import collections
import csv
import math

import numpy as np
import tensorflow as tf

from training import UserError
from training.data import sources
from training.engine.names import printable
from training.serving import export
from training.serving.requests import Asked, read
from training.text.files import decoded

PREDICT = "serving_default"
KINDS = (".csv",)
"""extensions of table files"""
BATCH = 1000
"""rows per batch of `predict`"""
MOST_BYTES = 50_000_000
"""size limit of a file in bytes"""


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    names = tf.constant(info.class_names, tf.string)
    columns = len(info.columns)

    def serving_default(features):
        width = tf.shape(features)[1]
        given = tf.pad(features, [[0, 0], [0, tf.maximum(0, columns - width)]])[:, :columns]
        is_finite = tf.reduce_all(tf.math.is_finite(features), axis=1)
        error = tf.where(is_finite, "", "a value of this row is not a finite number")
        wrong = tf.strings.join([f"a row has {columns} numbers here, and this one has ", tf.strings.as_string(width)])
        error = tf.where(width == columns, error, wrong)
        given = tf.where((error == "")[:, None], given, 0.0)
        (outputs,) = model({"features": tf.cast(given, tf.float64)}, training=False).values()
        answer = tf.nn.softmax(outputs) if info.class_names else tf.cast(outputs, tf.float32)
        is_finite = tf.reduce_all(tf.math.is_finite(answer), axis=1)
        error = tf.where((error == "") & ~is_finite, "a value of this row is too large", error)
        failed = error != ""
        if info.class_names:
            chosen = tf.argmax(outputs, axis=1)
            predictions, probabilities = tf.cast(chosen, tf.float64), answer
            class_names = tf.where(failed, "", tf.gather(names, chosen))
        else:
            predictions, probabilities, class_names = outputs[:, 0], outputs[:, :0], tf.fill(tf.shape(failed), "")
        zero = tf.zeros((), tf.float64)
        return {"predictions": export.any_size(tf.where(failed, zero, predictions)), "class_names": export.any_size(class_names),
                "probabilities": export.any_size(tf.where(failed[:, None], zero, probabilities)), "error": export.any_size(error)}

    return {"serving_default": (serving_default, {"features": tf.TensorSpec((None, None), tf.float32)})}


def warmup(config):
    """Returns {signature: {input name: value}}: two rows with the number of columns of the system."""
    prepared = sources.builder(config.dataset, config)
    columns = len(config.columns) or prepared.info.features[prepared.info.supervised_keys[0]].shape[0]
    return {"serving_default": {"features": np.arange(2 * columns, dtype=np.float32).reshape(2, columns)}}


def request(name):
    """Returns a file of comma-separated numbers as an input, one row per line.

    An invalid row, which contains a cell that is not a number or has a different number of cells than most rows, is sent as
    NaN, so the other rows get predictions.

    Raises:
        UserError: the file cannot be read, is too long, is not text, or contains no rows.
    """
    lines = _lines(name)
    width = collections.Counter(len(cells) for _, cells in lines).most_common(1)[0][0]
    rows, kept = np.full((len(lines), width), np.nan, np.float32), []
    for place, (line, cells) in enumerate(lines):
        numbers = [_number(cell) for cell in cells]
        error = ""
        if None in numbers:
            cell = cells[numbers.index(None)].strip()[:40]
            error = f"line {line} of {printable(name)} has {cell!r}, which is not a finite number"
        elif len(cells) != width:
            error = f"line {line} of {printable(name)} has {len(cells)} numbers, and most lines have {width}"
        else:
            rows[place] = numbers
        kept.append((line, error))
    return Asked({"features": rows}, kept)


def present(asked, answer, path):
    """Returns the predictions for the rows of one file as (JSON document, lines to print)."""
    rows, said = [], []
    for place, (line, error) in enumerate(asked.kept):
        name, refused = (answer[key][place].decode() for key in ("class_names", "error"))
        error = error or refused
        probabilities = [round(float(value), 6) for value in answer["probabilities"][place]] if not error else []
        rows.append({"line": line, "error": error, "prediction": None if error else name or float(answer["predictions"][place]),
                     "probabilities": probabilities})
        predicted = f"{name}  {max(probabilities):.1%}" if probabilities else f"{answer['predictions'][place]:.6g}"
        said.append(f"line {line}: " + (f"no answer: {error}" if error else predicted))
    return {"error": "", "rows": rows}, [f"{len(rows)} row{'s' if len(rows) > 1 else ''}", *said]


def _lines(name):
    """Returns [(number of the line, its cells)] of a file, without a header and empty lines."""
    try:
        lines = decoded(read(name, MOST_BYTES), printable(name)).splitlines()
        found = [(number, cells) for number, cells in enumerate(csv.reader(lines), 1) if any(map(str.strip, cells))]
    except csv.Error as error:
        raise UserError(f"{printable(name)} is not a table of comma-separated numbers: {error}") from None
    if found and not any(_number(cell) is not None for cell in found[0][1]):
        found = found[1:]  # a header
    if not found:
        raise UserError(f"{printable(name)} contains no rows of numbers")
    return found


def _number(cell):
    """Returns a cell as a number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 3e38 else None
