"""The training loop on one device: what it calls, counts, refuses and shows."""
import io
import math

import keras
import numpy as np
import pytest
import rich.console
import tensorflow as tf

from tests.training import small_models
from training import UserError
from training.data.pipelines import shuffled
from training.engine import callbacks, loop

BATCH = 32
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Calls(keras.callbacks.Callback):
    """Notes which steps each call took, and the other hooks."""

    def __init__(self):
        super().__init__()
        self.seen, self.hooks = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.first = batch

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append((self.epoch, self.first, batch))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.hooks.append(f"epoch {epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.hooks.append(f"end {epoch}")

    def on_test_begin(self, logs=None):
        self.hooks.append("test")

    def on_train_end(self, logs=None):
        self.hooks.append("train end")


def fit(validation=None, model=None, count=320, **settings):
    keras.utils.set_random_seed(1)
    calls = Calls()
    model = model or small_models.classifier()
    settings = {"epochs": 2} | settings
    settings["callbacks"] = [calls, *settings.get("callbacks", ())]
    history = loop.fit(model, shuffled(small_models.examples(count), small_models.jitter, BATCH, seed=0), validation, **settings)
    return model, history, calls


def test_is_as_good_as_keras_fit():
    model, history, calls = fit(small_models.examples(37, seed=5).batch(BATCH))
    keras.utils.set_random_seed(1)
    other = small_models.classifier()
    batches = shuffled(small_models.examples(320), small_models.jitter, BATCH, seed=0)
    for epoch in range(2):
        logs = other.fit(batches(epoch, 0, tf.distribute.InputContext()), epochs=1, verbose=0,
                         validation_data=small_models.examples(37, seed=5).batch(BATCH)).history
        for name, values in logs.items():
            np.testing.assert_allclose(history.history[name][epoch], values[0], rtol=1e-5)
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert calls.hooks == ["epoch 0", "test", "end 0", "epoch 1", "test", "end 1", "train end"]


@pytest.mark.parametrize("steps_per_call, expected", [
    (4, [(0, 3), (4, 6), (7, 9)]), (64, [(0, 6), (7, 9)]), (1, [(step, step) for step in range(10)])])
def test_calls_end_at_checkpoints_and_epochs(steps_per_call, expected):
    _, _, calls = fit(steps_per_call=steps_per_call, checkpoint_every=7)
    assert calls.seen == [(epoch, first, last) for epoch in range(2) for first, last in expected]


def test_steps_per_call_adapt_to_about_a_second():
    pace = loop._Pace(None)
    counts = []
    for seconds in (9.0, 0.1, 0.1, 0.02, 0.5, 3.0):  # per step; the first call also traces
        counts.append(pace.count)
        pace.note(pace.count, seconds * pace.count)
    assert counts == [1, 1, 10, 10, 50, 2]
    assert pace.count == 1
    pace.note(1, 1e-6)
    assert pace.count == loop.MOST_STEPS_PER_CALL


def test_traces_once():
    class Counted(small_models.Adversaries):
        traces = 0

        def train_step(self, data):
            Counted.traces += 1
            return super().train_step(data)

    model = Counted()
    model.compile(keras.optimizers.Adam(), keras.optimizers.Adam())
    fit(model=model, epochs=4, steps_per_call=3)
    assert Counted.traces <= 2  # autograph reads the body of a loop up to twice; the calls were sixteen


@pytest.mark.parametrize("limit, expected", [(3, [(0, 0, 2)]), (14, [(0, 0, 9), (1, 0, 3)]), (99, [(0, 0, 9), (1, 0, 9)])])
def test_limit_steps(limit, expected):
    tested = []

    class Watched(keras.Model):
        def test_step(self, data):
            tf.py_function(lambda: tested.append(1), [], [])
            return super().test_step(data)

    inputs = keras.Input((small_models.FEATURES,), name="x")
    model = Watched({"x": inputs}, {"label": keras.layers.Dense(small_models.CLASSES, name="label")(inputs)})
    model.compile("sgd", {"label": LOSS})
    _, _, calls = fit(small_models.examples(160, seed=5).batch(BATCH), model=model, limit_steps=limit, steps_per_call=64)
    assert calls.seen == expected
    assert len(tested) == min(limit, 5) * len(expected)


def test_validation_by_a_function():
    values = iter([{"ap": 0.25}, {"ap": np.float32(0.5)}])
    _, history, _ = fit(lambda: next(values))
    assert history.history["val_ap"] == [0.25, 0.5]


def test_xla_trains_alike():
    """Without dropout: XLA draws other random numbers."""
    models, histories = [], []
    for xla in (False, True):
        keras.utils.set_random_seed(1)
        model, history, _ = fit(model=small_models.classifier(norm="plain", dropout=0), xla=xla)
        models.append(model)
        histories.append(history.history)
    for mine, theirs in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
    for name in histories[0]:
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-4)


def test_data_of_unknown_length_is_refused():
    def batches(change):
        return lambda *_: change(small_models.examples(64).batch(BATCH, drop_remainder=True))

    model = small_models.classifier()
    for change, sentence in [
            (lambda data: data.filter(lambda *_: True), "unknown number of batches: set it"),
            (lambda data: data.repeat(), "is infinite"),
            (lambda data: data.take(0), "no full batch"),
            (lambda data: data.unbatch().batch(BATCH), "unknown number of batches|drop_remainder"),
            (lambda data: data.filter(lambda *_: True).apply(tf.data.experimental.assert_cardinality(4)),
             "ended within steps 1 to 4")]:
        with pytest.raises(UserError, match=sentence):
            loop.fit(model, batches(change), epochs=1, steps_per_call=4)
    validation = small_models.examples(64).batch(BATCH).filter(lambda *_: True)
    with pytest.raises(UserError, match="validation data has an unknown number"):
        loop.fit(model, batches(lambda data: data), validation, epochs=1)


class PoisonAt(keras.Model):
    """Its loss becomes NaN at one step."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.dense = keras.layers.Dense(small_models.CLASSES)
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, inputs):
        return {"label": self.dense(inputs["x"])}

    def train_step(self, data):
        self.seen.assign_add(1.0)
        poison = tf.where(self.seen == self.step, np.nan, 0.0)
        inputs, targets = data
        return super().train_step(({"x": inputs["x"] + poison}, targets))


@pytest.mark.parametrize("steps_per_call, xla", [(1, False), (7, False), (7, True)])
def test_a_loss_that_is_not_finite_stops(tmp_path, steps_per_call, xla):
    model = PoisonAt(15)
    model.compile(keras.optimizers.Adam(), {"label": LOSS})
    with pytest.raises(UserError, match="the loss is not finite at step 5 of epoch 2"):
        fit(model=model, epochs=3, steps_per_call=steps_per_call, checkpoints=tmp_path, checkpoint_every=3, xla=xla)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-00001-step-00000000.npz", "epoch-00001-step-00000003.npz"]
    with np.load(tmp_path / names[-1]) as file:
        assert all(np.all(np.isfinite(file[name])) for name in file.files if name.isdigit())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """A step can have a finite loss and leave weights that are not."""
    class Breaks(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 5:
                kernel = self.model.trainable_weights[0]
                kernel.assign(kernel * np.nan)

    with pytest.raises(UserError, match="kernel are not finite at step 6 of epoch 1"):
        fit(callbacks=[Breaks()], steps_per_call=3, checkpoints=tmp_path, checkpoint_every=3)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-00000-step-00000003.npz"]


def test_callbacks_are_closed_however_it_ends():
    class Closed(keras.callbacks.Callback):
        count = 0

        def close(self):
            self.count += 1

        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    closed = Closed()
    with pytest.raises(KeyboardInterrupt):
        fit(callbacks=[closed])
    assert closed.count == 1


def test_best_weights(tmp_path):
    path = tmp_path / "best.weights.h5"
    scores = iter([0.3, math.nan, 0.5, 0.4])
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept.append(self.model.get_weights())

    best = callbacks.BestWeights(path, "score", "max")
    model, _, _ = fit(lambda: {"score": next(scores)}, epochs=4, callbacks=[best, Keep()])
    assert (best.best, best.best_epoch) == (0.5, 2)
    model.load_weights(path)
    for mine, theirs in zip(model.get_weights(), kept[2], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert [file.name for file in tmp_path.iterdir()] == ["best.weights.h5"]
    with pytest.raises(ValueError, match="val_ap is not a validation metric"):
        fit(callbacks=[callbacks.BestWeights(path, "ap", "max")])


class Clock:
    """Stands for time.perf_counter; a step, a validation and the first call's tracing take what they are told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def progress(monkeypatch, console, position=(0, 0), epochs=3, steps=100, call=10, tracing=60, validation=20):
    """Plays a training to a Progress; returns [(time, seconds left) at every call's end]."""
    clock = Clock()
    monkeypatch.setattr(callbacks.time, "perf_counter", clock)
    shown = callbacks.Progress(console=console)
    shown.set_params({"epochs": epochs, "steps": steps, "position": position, "total_steps": epochs * steps,
                      "batch_size": 16, "chief": True})
    said = []
    shown.on_train_begin()
    first, step = position
    for epoch in range(first, epochs):
        shown.on_epoch_begin(epoch)
        while step < steps:
            shown.on_train_batch_begin(step)
            clock.now += call * 0.5 + tracing
            tracing = 0
            step += call
            shown.on_train_batch_end(step - 1, {"accuracy": 0.5, "loss": 1.25})
            said.append((clock.now, shown.seconds_left()))
        shown.on_test_begin()
        clock.now += validation
        shown.on_epoch_end(epoch, {"accuracy": 0.5, "loss": 1.25, "val_loss": 1234567.0})
        step = 0
    shown.on_train_end()
    return clock.now, said


@pytest.mark.parametrize("position", [(0, 0), (1, 0), (1, 50)])
def test_time_left_is_right_from_the_second_epoch_on(monkeypatch, position):
    end, said = progress(monkeypatch, rich.console.Console(file=io.StringIO()), position)
    assert said[0][1] is None  # the first call only traces
    calls = 10 - position[1] // 10
    for now, left in said[calls:]:
        assert left == pytest.approx(end - now)
    for now, left in said[1:calls]:  # how long validation takes is not known yet
        assert left == pytest.approx(end - now - 20 * (3 - position[0]))


def test_plain_lines(monkeypatch):
    out = io.StringIO()
    progress(monkeypatch, rich.console.Console(file=out), position=(1, 50))
    lines = out.getvalue().splitlines()
    assert lines[0] == "continuing after step 150 of 300"
    assert lines[1] == "epoch 2/3 step 60/100  loss 1.250  ? examples/s  ETA ?"
    assert lines[2] == "epoch 2/3 step 80/100  loss 1.250  32.00 examples/s  ETA 1:00"
    assert "epoch 2/3  loss 1.250  accuracy 0.5000  val_loss 1.235e+06  32.00 examples/s  1:45, ETA 1:10" in lines
    assert lines[-1].endswith("ETA 0:00")
    assert len(lines) == 1 + 3 + 1 + 5 + 1  # one in ten seconds at most, and one for each epoch


def test_bar_on_a_terminal(monkeypatch):
    out = io.StringIO()
    progress(monkeypatch, rich.console.Console(file=out, force_terminal=True, width=120))
    text = out.getvalue()
    assert "step 100/100" in text and "validating" in text
    assert "epoch 3/3  loss 1.250" in text


@pytest.mark.parametrize("value, text", [
    (0.0, "0.0"), (0.123456, "0.1235"), (12.3456, "12.35"), (999999, "999999"), (1e-5, "1.000e-05"), (math.nan, "nan"),
    (-2.5, "-2.500")])
def test_numbers_are_short(value, text):
    assert callbacks._number(value) == text


@pytest.mark.parametrize("seconds, text", [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (90061, "25:01:01")])
def test_durations(seconds, text):
    assert callbacks._duration(seconds) == text
