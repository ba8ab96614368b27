"""What a model must know of its data, and the three pipelines that come of a data set."""
import json
import pathlib
from typing import Any, Callable, NamedTuple

import tensorflow as tf

from training.config import UserError


class Spec(NamedTuple):
    """What a model must know of its data."""

    inputs: dict[str, tf.TensorSpec]
    """by name of the input; the batch dimension is None"""
    targets: dict[str, tf.TensorSpec]
    """by name of the target; the batch dimension is None"""
    info: dict[str, Any]
    """what the tensors do not say, fit for JSON: {"class_names": [...]}"""


class Splits(NamedTuple):
    """Three pipelines of (inputs, targets) and what they have in common."""

    train: Callable[[int, int, tf.distribute.InputContext], tf.data.Dataset]
    """batches(epoch, skip, input_context), see `shuffled`"""
    validation: tf.data.Dataset | None
    """chooses the best weights; None: the last ones count"""
    test: tf.data.Dataset
    """is reported, and never chosen on"""
    spec: Spec


def spec_of(batches, info):
    """Returns the Spec of a dataset of (inputs, targets) batches."""
    inputs, targets = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), batches.element_spec)
    return Spec(inputs, targets, info)


def plain_spec(spec):
    """Returns a Spec as dictionaries fit for JSON."""
    def plain(specs):
        return {name: {"shape": part.shape.as_list(), "dtype": part.dtype.name} for name, part in specs.items()}

    return {"inputs": plain(spec.inputs), "targets": plain(spec.targets), "info": spec.info}


def spec_of_plain(content):
    """Returns the Spec of what `plain_spec` returned."""
    def specs(parts):
        return {name: tf.TensorSpec(part["shape"], tf.as_dtype(part["dtype"])) for name, part in parts.items()}

    return Spec(specs(content["inputs"]), specs(content["targets"]), content["info"])


def save_spec(spec, path):
    """Writes a Spec as JSON."""
    pathlib.Path(path).write_text(json.dumps(plain_spec(spec), indent=2) + "\n", encoding="utf-8")


def load_spec(path):
    """Returns the Spec that `save_spec` wrote.

    Raises:
        UserError: the file cannot be read as one.
    """
    try:
        return spec_of_plain(json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read the description of the data from {path}: {error}") from None
