"""What a client sends to an exported system and gets back; the same for every system of this application.

    serving_default: features (batch, any) float32: one row of numbers for each example, in the order and the units of training
        -> predictions (batch,) float32: the predicted number, or the place of the class
           class_names (batch,) string: "" where a number is predicted
           probabilities (batch, classes) float32: none where a number is predicted
           error (batch,) string: empty, or why this row has no answer; then the rest is 0, "" and 0
"""
import csv
import json
import math
import pathlib

import numpy as np
import tensorflow as tf

from training import UserError
from training.data import sources
from training.engine import files
from training.serving import export, requests

PREDICT = "serving_default"
MOST_BYTES = 50_000_000
"""of a file that is read"""


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    names = tf.constant(info.class_names, tf.string)
    columns = len(info.columns)

    def serving_default(features):
        width = tf.shape(features)[1]
        given = tf.pad(features, [[0, 0], [0, tf.maximum(0, columns - width)]])[:, :columns]
        is_finite = tf.reduce_all(tf.math.is_finite(features), axis=1)
        error = tf.where(is_finite, "", "a value of this row is no finite number")
        wrong = tf.strings.join([f"a row has {columns} numbers here, and this one has ", tf.strings.as_string(width)])
        error = tf.where(width == columns, error, wrong)
        failed = tf.strings.length(error) > 0
        (outputs,) = model({"features": tf.cast(tf.where(failed[:, None], 0.0, given), tf.float64)}, training=False).values()
        if info.class_names:
            chosen = tf.argmax(outputs, axis=1)
            predictions, probabilities = tf.cast(chosen, tf.float64), tf.nn.softmax(outputs)
            class_names = tf.where(failed, "", tf.gather(names, chosen))
        else:
            predictions, probabilities, class_names = outputs[:, 0], outputs[:, :0], tf.fill(tf.shape(failed), "")
        zero = tf.zeros((), tf.float64)
        return {"predictions": export.any_size(tf.where(failed, zero, predictions)), "class_names": export.any_size(class_names),
                "probabilities": export.any_size(tf.where(failed[:, None], zero, probabilities)), "error": export.any_size(error)}

    return {"serving_default": (serving_default, {"features": tf.TensorSpec((None, None), tf.float32)})}


def warmup(config):
    """Returns {signature: {input name: value}}: two rows of as many numbers as the system takes."""
    prepared = sources.builder(config.dataset, config)
    columns = len(config.columns) or prepared.info.features[prepared.info.supervised_keys[0]].shape[0]
    return {"serving_default": {"features": np.arange(2 * columns, dtype=np.float32).reshape(2, columns)}}


def request(inputs):
    """Returns the inputs of the signature for files of comma-separated numbers, one row a line.

    Raises:
        UserError: no file, one that cannot be read, or rows that are no numbers or not of one length.
    """
    if not inputs:
        raise UserError("name at least one file of comma-separated numbers")
    rows, first = [], None
    for path in inputs:
        for line, row in _rows(path):
            first = first or (f"line {line} of {path}", len(row))
            if len(row) != first[1]:
                raise UserError(f"line {line} of {path} has {len(row)} numbers, and {first[0]} has {first[1]}")
            rows.append(row)
    return {"features": np.array(rows, np.float32)}


def present(inputs, answer, folder):
    """Writes <name>.json for every file into `folder` and prints one line for each row."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    place = 0
    for path, file_name in zip(inputs, requests.file_names(inputs)):
        document = []
        for line, _ in _rows(path):
            name, error = (answer[key][place].decode() for key in ("class_names", "error"))
            probabilities = [round(float(value), 6) for value in answer["probabilities"][place]] if not error else []
            found = {"line": line, "error": error, "prediction": None if error else name or float(answer["predictions"][place]),
                     "probabilities": probabilities}
            document.append(found)
            predicted = f"{name}  {max(probabilities):.1%}" if probabilities else f"{answer['predictions'][place]:.6g}"
            print(f"{path} line {line}: " + (f"no answer: {error}" if error else predicted))
            place += 1
        files.write_text(folder / f"{file_name}.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    print(f"{place} answer{'s' if place != 1 else ''} in {folder}")


def _rows(path):
    """Returns [(number of the line, its numbers)] of a file, without a header and empty lines."""
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path} has more than {MOST_BYTES:,} bytes: split it")
        lines = content.decode("utf-8-sig").splitlines()
        parsed = [(number, row) for number, row in enumerate(csv.reader(lines), 1) if any(map(str.strip, row))]
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: name the files in it") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path} is no text of comma-separated numbers") from None
    if parsed and not any(_number(cell) is not None for cell in parsed[0][1]):
        parsed = parsed[1:]  # a header
    if not parsed:
        raise UserError(f"{path} has no row of numbers")
    rows = []
    for line, row in parsed:
        numbers = [_number(cell) for cell in row]
        if None in numbers:
            cell = row[numbers.index(None)].strip()[:40]
            raise UserError(f"line {line} of {path} has {cell!r}, which is no finite number")
        rows.append((line, numbers))
    return rows


def _number(cell):
    """Returns a cell as a number, or None."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 3e38 else None
