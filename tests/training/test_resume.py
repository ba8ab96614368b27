"""A training that was killed anywhere and resumed ends as the one that was not, bit by bit."""
import errno
import fnmatch
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training import small_models, train_small
from training import UserError
from training.data.pipelines import shuffled
from training.engine import callbacks, checkpoint, loop, strategies

SCRIPT = pathlib.Path(__file__).with_name("train_small.py")


class Killed(BaseException):
    """Stands for a kill in this process: nothing of ours catches it."""


class KillAt(keras.callbacks.Callback):
    """Dies when `hook` is called for the `count`th time."""

    def __init__(self, hook, count):
        super().__init__()
        self.left = count
        setattr(self, hook, self.count_down)

    def count_down(self, *_, **__):
        self.left -= 1
        if not self.left:
            raise Killed


def train(folder, strategy=None, model=small_models.classifier, extra=(), learning=(), epochs=3, validation=True,
          count=300, **settings):
    """Trains in this process with all that must survive switched on; resumes what it finds."""
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        made = model(**settings)
    watchers = [*learning]
    if validation:
        # the worst loss is the first epoch's: whoever forgets it writes the file again
        watchers.append(callbacks.BestWeights(folder / "best.weights.h5", "loss", "max"))
    loop.fit(made, shuffled(small_models.examples(count), small_models.jitter, 32, seed=0),
             small_models.examples(37, seed=5).batch(32) if validation else None, epochs=epochs, strategy=strategy,
             callbacks=[*watchers, *extra], steps_per_call=2, checkpoints=folder / "checkpoints", checkpoint_every=4)
    return made


def everything(model, strategy=None):
    """All that training changes, on each replica of its own."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    found = {id(v): v for v in model.variables + [v for optimizer in optimizers for v in optimizer.variables]}
    strategy = strategy or tf.distribute.get_strategy()
    return [own.numpy() for v in found.values() for own in strategy.experimental_local_results(v.value)]


def assert_same(first, second, strategy=None):
    for a, b in zip(everything(first, strategy), everything(second, strategy), strict=True):
        np.testing.assert_array_equal(a, b)
    assert first.history.history == second.history.history


def assert_same_file(first, second):
    with h5py.File(first) as a, h5py.File(second) as b:
        names = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert names
        for name in names:
            np.testing.assert_array_equal(a[name][()], b[name][()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return train(folder, norm="plain"), folder


@pytest.mark.parametrize("hook, count", [
    ("on_train_batch_end", 4), ("on_test_begin", 1), ("on_epoch_end", 1), ("on_epoch_begin", 2), ("on_train_end", 1)])
def test_killed_at_a_hook(whole, tmp_path, hook, count):
    with pytest.raises(Killed):
        train(tmp_path, extra=[KillAt(hook, count)], norm="plain")
    assert_same(whole[0], train(tmp_path, norm="plain"))
    assert_same_file(whole[1] / "best.weights.h5", tmp_path / "best.weights.h5")


def test_killed_at_renaming(whole, tmp_path, monkeypatch):
    """Dies before and after a file of the best weights or of a checkpoint gets its name, one death after the other."""
    rename = os.replace

    def dying(wanted, after):
        def replace(source, target):
            if not fnmatch.fnmatch(pathlib.Path(target).name, wanted):
                return rename(source, target)
            if after:
                rename(source, target)
            raise Killed
        return replace

    for wanted, after in [("best.weights.h5", False), ("best.weights.h5", True), ("epoch-*1-step-*4.npz", False),
                          ("epoch-*1-step-*4.npz", True), ("epoch-*2-step-*0.npz", True)]:
        monkeypatch.setattr(os, "replace", dying(wanted, after))
        with pytest.raises(Killed):
            train(tmp_path, norm="plain")
    monkeypatch.setattr(os, "replace", rename)
    assert_same(whole[0], train(tmp_path, norm="plain"))
    assert_same_file(whole[1] / "best.weights.h5", tmp_path / "best.weights.h5")


def damage_end(path):
    with open(path, "rb+") as file:
        file.truncate(path.stat().st_size // 2)


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_all(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_end, damage_bit, damage_all])
def test_a_damaged_checkpoint_is_passed_over(whole, tmp_path, damage, capsys):
    with pytest.raises(Killed):
        train(tmp_path, extra=[KillAt("on_train_batch_begin", 10)], norm="plain")
    folder = tmp_path / "checkpoints"
    older, newest = sorted(folder.iterdir())
    assert (older.name, newest.name) == ("epoch-00001-step-00000004.npz", "epoch-00001-step-00000008.npz")
    damage(newest)
    (folder / "epoch-00002-step-00000004.npz.tmp").write_bytes(b"half")  # killed while it wrote
    seen = []
    resumed = train(tmp_path, norm="plain", extra=[keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: seen.append(batch))])
    assert "is damaged and was skipped" in capsys.readouterr().out
    assert seen[0] == 4
    assert_same(whole[0], resumed)
    assert not list(folder.glob("*.tmp"))
    assert [path.name for path in sorted(folder.iterdir())] == [
        "epoch-00002-step-00000008.npz", "epoch-00003-step-00000000.npz"]
    for path in folder.iterdir():
        damage(path)
    with pytest.raises(UserError, match="every checkpoint .* is damaged"):
        train(tmp_path, norm="plain")


def test_callbacks_of_keras_remember(tmp_path):
    """Early stopping with restored weights, and two callbacks that change the learning rate."""
    def learning():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
                keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.05),
                keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=0.03, restore_best_weights=True)]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    reference = train(tmp_path / "a", learning=learning(), epochs=40, schedule=False)
    stopped = len(reference.history.history["loss"])
    assert 3 < stopped < 40
    assert len(set(reference.history.history["learning_rate"])) > 2
    for hook, count in [("on_train_batch_begin", 4), ("on_test_begin", 2), ("on_train_end", 1)]:
        with pytest.raises(Killed):
            train(tmp_path / "b", learning=learning(), extra=[KillAt(hook, count)], epochs=40, schedule=False)
    assert_same(reference, train(tmp_path / "b", learning=learning(), epochs=40, schedule=False))


def test_two_optimizers_and_a_step_of_ones_own(tmp_path):
    settings = dict(model=small_models.adversaries, validation=False, epochs=2)
    reference = train(tmp_path / "a", **settings)
    with pytest.raises(Killed):
        train(tmp_path / "b", extra=[KillAt("on_train_batch_begin", 4)], **settings)
    assert_same(reference, train(tmp_path / "b", **settings))


def test_every_replica_resumes_with_its_own(tmp_path):
    """Moving statistics, seeds and metrics differ from replica to replica within an epoch."""
    strategy = strategies.make("mirrored")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    reference = train(tmp_path / "a", strategy, norm="plain", epochs=1, validation=False)
    with pytest.raises(Killed):
        train(tmp_path / "b", strategy, norm="plain", epochs=1, validation=False, extra=[KillAt("on_train_batch_begin", 4)])
    with pytest.raises(UserError, match="its replicas is 2 instead of 1"):
        train(tmp_path / "b", norm="plain", epochs=1, validation=False)
    assert_same(reference, train(tmp_path / "b", strategy, norm="plain", epochs=1, validation=False), strategy)


def test_bfloat16_variables_come_back(tmp_path):
    arrays = [np.arange(3).astype(tf.bfloat16.as_numpy_dtype), np.array(2.5, np.float32), np.zeros((0, 2), np.int64)]
    checkpoint.write(tmp_path / "a.npz", {"epoch": 1}, arrays)
    state, back = checkpoint.read(tmp_path / "a.npz")
    assert state["epoch"] == 1
    for a, b in zip(arrays, back, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("changed, sentence", [
    (dict(units=65), r"another model.*\(16, 64\).*\(16, 65\)"),
    (dict(norm="plain"), "another model: it contains .* variables"),
    (dict(count=320), "another training: its steps per epoch is 9 instead of 10"),
    (dict(model=small_models.adversaries, validation=False), "its model is Functional instead of Adversaries"),
])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, changed, sentence):
    with pytest.raises(Killed):
        train(tmp_path, extra=[KillAt("on_train_batch_begin", 4)])
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    with pytest.raises(UserError, match=sentence):
        train(tmp_path, **changed)
    assert before == {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}


def test_a_full_disk_costs_no_checkpoint(whole, tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path, norm="plain")
    monkeypatch.setattr(os, "fsync", sync)
    assert not list((tmp_path / "checkpoints").glob("*.tmp"))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert_same(whole[0], train(tmp_path, norm="plain"))


def scalars(folder):
    """What TensorBoard shows of a run's losses: {(folder, tag): [(step, value)]}."""
    found = {}
    for part in ("train", "validation"):
        events = EventAccumulator(str(folder / part), size_guidance={"tensors": 0}).Reload()
        for tag in events.Tags()["tensors"]:
            if tag.startswith("epoch/"):
                found[part, tag] = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
    return found


def test_killed_from_outside(tmp_path):
    """SIGKILL and SIGTERM at random moments, in a process of its own."""
    arguments = dict(settings=dict(norm="plain"), epochs=8, early_stopping=8, checkpoint_every=10)
    train_small.main(tmp_path / "whole", **arguments)
    folder = tmp_path / "killed"
    moments = random.Random(time.time())
    for kind in (signal.SIGKILL, signal.SIGTERM):
        before = set(folder.glob("checkpoints/*.npz"))
        process = subprocess.Popen([sys.executable, SCRIPT, folder, json.dumps(arguments | {"pause": 0.2})],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while set(folder.glob("checkpoints/*.npz")) <= before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        process.send_signal(kind)
        _, message = process.communicate(timeout=60)
        assert process.returncode == (143 if kind == signal.SIGTERM else -signal.SIGKILL), message
    assert "stopped at step" in message and "continue with --resume" in message
    assert not (folder / "final-0.npz").exists()
    train_small.main(folder, **arguments)
    with np.load(tmp_path / "whole/final-0.npz") as a, np.load(folder / "final-0.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
    assert (tmp_path / "whole/history-0.json").read_text() == (folder / "history-0.json").read_text()
    assert_same_file(tmp_path / "whole/best.weights.h5", folder / "best.weights.h5")
    curves = scalars(folder)
    assert curves == scalars(tmp_path / "whole")
    assert [step for step, _ in curves["validation", "epoch/loss"]] == list(range(1, 9))
