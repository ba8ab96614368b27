"""Tables: rows of numbers with a class or a number to predict."""
import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from apps.foundations.systems import Trained
from training.config import UserError
from training.data import pipelines, sources, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(spec.Info):
    """What a model needs to know about its table."""

    SAME: ClassVar = ("class_names", "columns")

    columns: list[str]
    """names of the feature columns"""
    mean: list[float]
    """mean of the training split, by column"""
    std: list[float]
    """standard deviation of the training split, by column; 1 for a constant column"""
    examples: int
    """rows of the training split"""
    largest_curvature: float
    """see `curvature`"""
    smallest_curvature: float
    """see `curvature`"""


class Table(NamedTuple):
    """A data set as arrays."""

    parts: dict[str, tuple[np.ndarray, np.ndarray]]
    """train, validation and test: (features float64 (n, columns), answers (n,): float64 targets or int32 labels)"""
    columns: list[str]
    class_names: list[str]
    """empty if the target is a number"""


def datasets(config):
    """Returns the Splits of a table.

    inputs:  "features" float64 (batch, columns), in the units of the data set
    targets: "label" int32 (batch,), or "target" float64 (batch, 1) for linear
    info:    an Info

    An epoch consists of `passes` passes over the training split, or of one pass for a system that is fitted in closed form;
    each pass is one step unless `batch_size` is set.

    Raises:
        UserError: the data set is unknown, missing, not a table, lacks a column, or has targets that the system cannot
            predict.
    """
    table = read(config.dataset, config, config.columns)
    check(table, config.model, config.dataset)
    features, _ = table.parts["train"]
    mean, std = moments(features)
    largest, smallest = curvature((features - mean) / std, whole=config.batch_size is None)
    info = Info(class_names=table.class_names, columns=table.columns, mean=mean.tolist(), std=std.tolist(),
                examples=len(features), largest_curvature=largest, smallest_curvature=smallest)

    def arrays(part):
        features, answers = table.parts[part]
        return {"features": features}, {"label": answers} if table.class_names else {"target": answers[:, None]}

    passes = config.passes if isinstance(config, Trained) else 1
    batches = _passes(arrays("train"), config.batch_size, config.seed, passes)
    validation, test = (tf.data.Dataset.from_tensor_slices(arrays(part)).batch(128) for part in ("validation", "test"))
    return spec.Splits(batches, validation, test, spec.spec_of(batches(0, 0, tf.distribute.InputContext()), info))


def read(dataset, config, columns=()):
    """Returns the Table of a data set; columns: names of the columns to use.

    Raises:
        UserError: the data set is unknown, missing, not a table, lacks a column, or contains values that are not numbers.
    """
    prepared = sources.builder(dataset, config)
    features, keys = prepared.info.features, prepared.info.supervised_keys or ()
    numbers = len(keys) == 2 and all(isinstance(key, str) for key in keys) and isinstance(features[keys[0]], tfds.features.Tensor)
    if not numbers or len(features[keys[0]].shape) != 1 or features[keys[1]].shape != ():
        raise UserError(f"{dataset} is not a table: its examples are not rows of numbers with one target")
    names = list((prepared.info.metadata or {}).get("columns", ())) or [
        f"column {place + 1}" for place in range(features[keys[0]].shape[0])]
    unknown = [name for name in columns if name not in names]
    if unknown:
        raise UserError(f"{dataset} has no column {unknown[0]!r}; it has {', '.join(names)}")
    chosen = [names.index(name) for name in columns or names]
    is_class = isinstance(features[keys[1]], tfds.features.ClassLabel)
    parts = {}
    for part, split in sources.parts(prepared).items():
        examples = list(sources.read(prepared, split).as_numpy_iterator())
        rows = np.array([example[keys[0]] for example in examples], np.float64)[:, chosen]
        answers = np.array([example[keys[1]] for example in examples], np.int32 if is_class else np.float64)
        if not (np.isfinite(rows).all() and np.isfinite(answers).all()):
            raise UserError(f"the {part} split of {dataset} contains a value that is not a finite number")
        parts[part] = rows, answers
    return Table(parts, [names[place] for place in chosen], features[keys[1]].names if is_class else [])


def check(table, model, dataset):
    """Raises a UserError if a system cannot predict the targets of a table."""
    classes = len(table.class_names)
    if model == "linear" and classes:
        raise UserError(f"linear predicts a number, but {dataset} has classes: use --model softmax")
    if model != "linear" and not classes:
        raise UserError(f"{model} predicts a class, but the target of {dataset} is a number: use --model linear")
    if model == "logistic" and classes != 2:
        raise UserError(f"logistic needs two classes, but {dataset} has {classes}: use --model softmax")


def moments(features):
    """Returns the mean and standard deviation by column; the latter is 1 for a constant column."""
    std = features.std(axis=0)
    return features.mean(axis=0), np.where(std > 0, std, 1.0)


def curvature(standardized, whole=True):
    """Returns the largest and the smallest eigenvalue of X^T X / n, where X has a column of ones for the intercept.

    If a step does not use the `whole` of X, the first is the largest squared norm of a row, an upper bound for all batches.
    """
    rows = np.column_stack([standardized, np.ones(len(standardized))])
    eigenvalues = np.linalg.eigvalsh(rows.T @ rows / len(rows))
    largest = eigenvalues[-1] if whole else (rows ** 2).sum(axis=1).max()
    return tuple(float(f"{value:.6g}") for value in (largest, max(eigenvalues[0], 0.0)))  # the last digits are the machine's


def _passes(arrays, batch_size, seed, passes):
    """Returns `batches(epoch, skip, context)`, as `training.data.pipelines.in_memory` does, with several passes in an epoch."""
    count = len(tf.nest.flatten(arrays)[0])
    size = batch_size or count
    steps = pipelines.full_batches(count, size)

    def order(number):
        if batch_size is None:
            return np.arange(count)  # a sum has no order
        return np.random.default_rng([seed, number]).permutation(count)[:steps * size]

    def rows(epoch):
        return np.concatenate([order(epoch * passes + number) for number in range(passes)]).reshape(-1, size)

    return pipelines.gathered(arrays, rows)
