"""What a model needs to know about its data, and the three pipelines of a data set."""
import dataclasses
import json
import math
import pathlib
from typing import Any, Callable, ClassVar, NamedTuple

import tensorflow as tf

from training.config import UserError
from training.engine import files

_CLASS_IDS = ("label", "class_ids", "classes")
"""targets that are places in an Info's `class_names`; a negative number is none"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info:
    """JSON-serializable facts about the data beyond its tensors; each family of data sets has a subclass with its own fields."""

    SAME: ClassVar[tuple[str, ...]] = ("class_names",)
    """fields that must match for a model to be evaluated on another data set; the others only build the network"""

    class_names: list[str] = dataclasses.field(default_factory=list)
    """names of the class ids 0, 1, …; empty without classes"""


class Spec(NamedTuple):
    """What a model needs to know about its data."""

    inputs: dict[str, tf.TensorSpec]
    """by name of the input; the batch dimension is None"""
    targets: dict[str, tf.TensorSpec]
    """by name of the target; the batch dimension is None"""
    info: Any
    """an `Info`"""


class Splits(NamedTuple):
    """Three pipelines of (inputs, targets) and their common description."""

    train: Callable[[int, int, tf.distribute.InputContext], tf.data.Dataset]
    """batches(epoch, skip, input_context), see `training.data.pipelines.shuffled`"""
    validation: tf.data.Dataset | None
    """selects the best weights; None: the last weights are kept"""
    test: tf.data.Dataset
    """only for the reported metrics, never for selection"""
    spec: Spec


def spec_of(batches, info):
    """Returns the Spec of a dataset of (inputs, targets) batches with its Info."""
    inputs, targets = tf.nest.map_structure(
        lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), batches.element_spec)
    return Spec(inputs, targets, info)


def plain_spec(spec):
    """Returns a Spec as JSON-serializable dictionaries."""
    def plain(specs):
        return {name: {"shape": part.shape.as_list(), "dtype": part.dtype.name} for name, part in specs.items()}

    return {"inputs": plain(spec.inputs), "targets": plain(spec.targets), "info": dataclasses.asdict(spec.info)}


def spec_of_plain(content, info_class):
    """Returns the Spec from the result of `plain_spec`, with an Info of type `info_class`."""
    def specs(parts):
        return {name: tf.TensorSpec(part["shape"], tf.as_dtype(part["dtype"])) for name, part in parts.items()}

    return Spec(specs(content["inputs"]), specs(content["targets"]), info_class(**content["info"]))


def save_spec(spec, steps, path, examples=None):
    """Writes a Spec, the number of training steps and the numbers of examples as JSON."""
    content = plain_spec(spec) | {"steps": steps} | ({"examples": examples} if examples else {})
    files.write_text(path, json.dumps(content, indent=2) + "\n")


def difference(kept, spec, steps, examples):
    """Describes how the data differs from its saved description, or returns None if it does not.

    kept:     the JSON object that `save_spec` wrote
    spec:     Spec of the present data
    steps:    training steps on it
    examples: {split: [examples, bytes]}
    """
    now = json.loads(json.dumps(plain_spec(spec)))
    info = kept.get("info") if isinstance(kept.get("info"), dict) else {}
    changed = [name for name, value in now["info"].items() if not _alike(info.get(name), value)]
    for name in sorted(changed, key=lambda name: name not in spec.info.SAME):  # those tell the user most
        words, was = name.replace("_", " "), info.get(name)
        if isinstance(was, list) and sorted(map(str, was)) == sorted(map(str, now["info"][name])):
            return f"{words} in a different order"
        return f"different {words}"
    if any(kept.get(part) != now[part] for part in ("inputs", "targets")):
        return "examples of a different shape"
    if kept.get("steps") != steps:
        return f"{steps} training steps instead of {kept.get('steps')}"
    return None if "examples" not in kept or kept["examples"] == examples else "different examples"


def renumbered(batches, info, wanted):
    """Returns the batches with class ids converted to the order of the class names in `wanted`.

    batches: dataset of (inputs, targets)
    info:    Info of these batches
    wanted:  Info with the same class names in a different order
    """
    places = tf.constant([wanted.class_names.index(name) for name in info.class_names])

    def renumber(inputs, targets):
        return inputs, targets | {
            name: tf.where(ids < 0, ids, tf.cast(tf.gather(places, tf.maximum(ids, 0)), ids.dtype))
            for name, ids in targets.items() if name in _CLASS_IDS}

    return batches.map(renumber, num_parallel_calls=tf.data.AUTOTUNE)


def load_spec(path, info_class):
    """Returns (the Spec, the number of steps) that `save_spec` wrote.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return spec_of_plain(content, info_class), int(content["steps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read the description of the data from {path}: {error}") from None


def _alike(first, second):
    """Whether two values of a JSON file are equal; the last digits of computed numbers differ between machines."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_alike, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_alike(first[key], second[key]) for key in first)
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-5)
    return first == second
