"""What a model must know of its data, and the three pipelines that a data set gives."""
import dataclasses
import json
import pathlib
from typing import Any, Callable, ClassVar, NamedTuple

import tensorflow as tf

from training.config import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """What the tensors do not say of the data, fit for JSON; each family of data sets has a subclass with its own fields."""

    SAME: ClassVar[tuple[str, ...]] = ("class_names",)
    """fields that another data set must share for a model to be evaluated on it; the others only build the network"""

    class_names: list[str] = dataclasses.field(default_factory=list)
    """names of the class ids 0, 1, …; empty where there are no classes"""


class Spec(NamedTuple):
    """What a model must know of its data."""

    inputs: dict[str, tf.TensorSpec]
    """by name of the input; the batch dimension is None"""
    targets: dict[str, tf.TensorSpec]
    """by name of the target; the batch dimension is None"""
    info: Any
    """an `Info`"""


class Splits(NamedTuple):
    """Three pipelines of (inputs, targets) and what they have in common."""

    train: Callable[[int, int, tf.distribute.InputContext], tf.data.Dataset]
    """batches(epoch, skip, input_context), see `training.data.pipelines.shuffled`"""
    validation: tf.data.Dataset | None
    """chooses the best weights; None: the last ones count"""
    test: tf.data.Dataset
    """is reported, and never chosen on"""
    spec: Spec


def spec_of(batches, info):
    """Returns the Spec of a dataset of (inputs, targets) batches with its Info."""
    inputs, targets = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), batches.element_spec)
    return Spec(inputs, targets, info)


def plain_spec(spec):
    """Returns a Spec as dictionaries fit for JSON."""
    def plain(specs):
        return {name: {"shape": part.shape.as_list(), "dtype": part.dtype.name} for name, part in specs.items()}

    return {"inputs": plain(spec.inputs), "targets": plain(spec.targets), "info": dataclasses.asdict(spec.info)}


def spec_of_plain(content, info_class):
    """Returns the Spec of what `plain_spec` returned, with its Info as `info_class`."""
    def specs(parts):
        return {name: tf.TensorSpec(part["shape"], tf.as_dtype(part["dtype"])) for name, part in parts.items()}

    return Spec(specs(content["inputs"]), specs(content["targets"]), info_class(**content["info"]))


def save_spec(spec, steps, path):
    """Writes a Spec, and the number of steps of the training, as JSON."""
    pathlib.Path(path).write_text(json.dumps(plain_spec(spec) | {"steps": steps}, indent=2) + "\n", encoding="utf-8")


def load_spec(path, info_class):
    """Returns (the Spec, the number of steps) that `save_spec` wrote.

    Raises:
        UserError: the file cannot be read as one.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return spec_of_plain(content, info_class), int(content["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read the description of the data from {path}: {error}") from None
