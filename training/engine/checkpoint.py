"""A run's whole state on disk, complete or absent: variables, callbacks and the position in the data."""
import io
import json
import pathlib
import re
import zipfile
import zlib

import numpy as np
import tensorflow as tf

from training.config import UserError
from training.engine import files, strategies

STATE = ("best", "best_epoch", "best_weights", "wait", "cooldown_counter", "stopped_epoch", "history", "epoch",
         "_global_train_batch", "_global_test_batch", "_previous_epoch_iterations")
"""Attributes that hold the state of Keras's callbacks; our own callbacks list theirs in a class attribute of this name."""

_NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.npz")


class Checkpoints:
    """Saves and restores the state of a training, and keeps the two newest files.

    folder:            folder of the checkpoints; created if it does not exist
    model, optimizers: their variables, the seeds of random layers and the metrics are saved
    callbacks:         those with attributes in STATE are saved by class name
    strategy:          the `tf.distribute.Strategy` in whose scope they were created
    facts:             JSON-serializable dict of values that must be equal when a run is resumed, such as the steps per epoch

    Trainable weights and optimizer slots are equal on all replicas and saved once. The rest (moving statistics, seeds,
    metrics) differs between replicas; the values of all replicas are saved, which makes resuming exact.
    """

    def __init__(self, folder, model, optimizers, callbacks, strategy, facts):
        self.folder, self.model, self.callbacks, self.strategy = pathlib.Path(folder), model, callbacks, strategy
        self.facts = json.loads(json.dumps(facts | {"replicas": strategy.num_replicas_in_sync}))
        slots = [v for optimizer in optimizers for v in optimizer.variables]
        self.shared = _unique([v for v in model.variables if v.trainable] + slots)
        self.own = _unique([v for v in model.variables if not v.trainable] + list(model.metrics_variables))
        self.chief = strategies.is_chief(strategy)
        self.loaded = self.latest = None
        self._gathered = tf.function(self._gather)
        if self.chief:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob("*.tmp"):  # of a run that was killed while it wrote
                left.unlink(missing_ok=True)

    def load(self):
        """Reads the newest intact checkpoint and returns its (epoch, step), or None without a checkpoint.

        Raises:
            UserError: it belongs to another model, data set or strategy, or all checkpoints are damaged.
        """
        found = _files(self.folder)
        for path in found:
            try:
                state, arrays = read(path)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                print(f"{path} is damaged and was skipped ({error})", flush=True)
                continue
            self._check(path, state, arrays)
            self.loaded, self.latest = (state, arrays), path
            return state["epoch"], state["step"]
        if found:
            raise UserError(f"every checkpoint in {self.folder} is damaged: start a new run")
        return None

    def restore(self):
        """Restores the loaded values of the variables and callbacks."""
        state, arrays = self.loaded
        self.loaded = None
        for variable, array in zip(self.shared, arrays):
            variable.assign(array)
        self._assign_own(arrays[len(self.shared):len(self.shared) + len(self.own)])
        for name, callback in _named(self.callbacks):
            vars(callback).update(_unpacked(state["callbacks"].get(name, {}), arrays))
        self.model.stop_training = state["stop_training"]

    def save(self, epoch, step):
        """Writes the state before step `step` of epoch `epoch`; every worker must call this method, and the first one writes.

        Raises:
            UserError: the weights are not finite; nothing is written.
            OSError: for example a full disk; the previous checkpoint is kept.
        """
        arrays = [_value(variable) for variable in self.shared] + self._own_values()
        for variable, array in zip(self.shared, arrays):
            if variable.trainable and not np.all(np.isfinite(array.astype("float32", copy=False))):
                raise UserError(f"the weights {variable.path} are not finite at step {step} of epoch {epoch + 1}: "
                                "choose a lower --learning-rate; the last good checkpoint is kept")
        if not self.chief:
            return
        variables = [[v.path, list(v.shape), v.dtype] for v in self.shared + self.own]
        states = {name: _packed(_state(callback), arrays) for name, callback in _named(self.callbacks)}
        state = {"epoch": epoch, "step": step, "stop_training": bool(self.model.stop_training), "facts": self.facts,
                 "variables": variables, "callbacks": states}
        path = self.folder / f"epoch-{epoch:05}-step-{step:08}.npz"
        write(path, state, arrays)
        for other in _files(self.folder):
            if other not in (path, self.latest):
                other.unlink(missing_ok=True)
        self.latest = path

    def _check(self, path, state, arrays):
        for name, value in self.facts.items():
            if state["facts"].get(name) != value:
                raise UserError(f"{path} belongs to another training: its {name.replace('_', ' ')} is "
                                f"{state['facts'].get(name)} instead of {value}")
        variables = self.shared + self.own
        if len(state["variables"]) != len(variables):
            raise UserError(f"{path} belongs to another model: it contains {len(state['variables'])} variables "
                            f"instead of {len(variables)}")
        for (name, shape, dtype), variable in zip(state["variables"], variables):
            if (shape, dtype) != (list(variable.shape), variable.dtype):
                raise UserError(f"{path} belongs to another model: its {name} is {dtype} {tuple(shape)}, "
                                f"but {variable.path} of this model is {variable.dtype} {tuple(variable.shape)}")

    def _own_values(self):
        """Returns each replica's values, stacked, or one value where all agree."""
        if self.strategy.num_replicas_in_sync == 1 or not self.own:
            return [_value(variable) for variable in self.own]
        stacks = [rows.numpy() for rows in self._gathered()]
        return [rows[0] if all(row.tobytes() == rows[0].tobytes() for row in rows) else rows for rows in stacks]

    def _gather(self):
        rows = self.strategy.run(lambda: strategies.all_rows(self.own))
        return [self.strategy.experimental_local_results(value)[0] for value in rows]

    def _assign_own(self, arrays):
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1 or not self.own:
            for variable, array in zip(self.own, arrays):
                variable.assign(array)
            return
        rows = [array if array.ndim > len(variable.shape) else [array] * replicas
                for variable, array in zip(self.own, arrays)]
        values = [self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(row[context.replica_id_in_sync_group])) for row in rows]

        def assign(values):
            for variable, value in zip(self.own, values):
                variable.assign(value)

        tf.function(lambda values: self.strategy.run(assign, args=(values,)))(values)


def write(path, state, arrays):
    """Writes a JSON-able `state` and `arrays` atomically: `path` contains either all of it or its previous content.

    path:   path of a file in the format of `numpy.savez`, with the state as an additional member
    state:  JSON-serializable dict
    arrays: list of numpy arrays
    """
    with files.whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:  # keeps a CRC of every member
        archive.writestr("state.json", json.dumps(state | {"dtypes": [array.dtype.name for array in arrays]}))
        for index, array in enumerate(arrays):
            with archive.open(f"{index}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _plain(array), allow_pickle=False)


def read(path):
    """Returns (state, arrays) of a file from `write`; reads the whole file, which checks every CRC.

    path: of the file

    Raises:
        ValueError, KeyError, zipfile.BadZipFile, OSError: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        state = json.loads(archive.read("state.json"))
        arrays = []
        for index, dtype in enumerate(state["dtypes"]):
            array = np.lib.format.read_array(io.BytesIO(archive.read(f"{index}.npy")), allow_pickle=False)
            arrays.append(array.view(tf.as_dtype(dtype).as_numpy_dtype) if array.dtype.name != dtype else array)
    return state, arrays


def _plain(array):
    """numpy's file format does not know bfloat16 and its like: their bits are written."""
    return array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array


def _files(folder):
    """Returns the checkpoints in `folder`, the furthest first."""
    found = [(tuple(map(int, match.groups())), path) for path in pathlib.Path(folder).glob("*.npz")
             if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _value(variable):
    return tf.convert_to_tensor(variable.value).numpy()


def _unique(variables):
    return list({id(v): v for v in variables}.values())


def _named(callbacks):
    """Returns (name, callback) pairs: the class name, numbered where several callbacks have the same."""
    counts, named = {}, []
    for callback in callbacks:
        name = type(callback).__name__
        counts[name] = counts.get(name, 0) + 1
        named.append((f"{name} {counts[name]}", callback))
    return named


def _state(callback):
    return {name: vars(callback)[name] for name in getattr(callback, "STATE", STATE) if name in vars(callback)}


def _packed(value, arrays):
    """Returns `value` as JSON takes it, with every array moved to the end of `arrays`."""
    if isinstance(value, dict):
        return {str(key): _packed(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_packed(item, arrays) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    arrays.append(np.asarray(value))
    return {"array": len(arrays) - 1}


def _unpacked(value, arrays):
    if isinstance(value, dict):
        if set(value) == {"array"}:
            return arrays[value["array"]]
        return {key: _unpacked(item, arrays) for key, item in value.items()}
    return [_unpacked(item, arrays) for item in value] if isinstance(value, list) else value
