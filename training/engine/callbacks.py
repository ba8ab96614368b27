"""Callbacks that show the progress and save the best weights."""
import math
import pathlib
import time

import keras
import rich.console
import rich.progress

from training.engine import files


class Progress(keras.callbacks.Callback):
    """Shows epoch, step, loss, examples per second and the remaining time of the whole training.

    Uses a progress bar on a terminal, and plain lines otherwise.

    interval:    minimum number of seconds between two plain lines
    console:     a console of rich (default: standard output)
    every_epoch: whether to print a line per epoch; turn it off for many short trainings
    """

    def __init__(self, interval=10.0, console=None, every_epoch=True):
        super().__init__()
        self.interval = interval
        self.every_epoch = every_epoch
        self.console = console or rich.console.Console()
        self.bar = None

    def on_train_begin(self, logs=None):
        """Reports where training starts, and opens the bar on a terminal."""
        epoch, step = self.params["position"]
        self.done = epoch * self.params["steps"] + step
        self.left_epochs = self.params["epochs"] - epoch
        self.paced_steps = self.paced_seconds = 0  # without the first call, which also traces
        self.between = 0.0  # seconds from an epoch's last step to the next one's first
        self.last_step_end = self.last_epoch_end = None
        self.spoken = time.perf_counter()
        if not self.params["chief"]:
            return
        if self.done:
            self._say(f"continuing after step {self.done} of {self.params['total_steps']}")
        elif not self.console.is_terminal and self.every_epoch:
            self._say("tracing the first step")
        if self.console.is_terminal:
            self.bar = rich.progress.Progress(
                rich.progress.TextColumn("epoch {task.fields[epoch]}"), rich.progress.BarColumn(),
                rich.progress.TextColumn("step {task.fields[step]}  {task.fields[state]}"),
                console=self.console, refresh_per_second=4, transient=True)
            self.task = self.bar.add_task("", total=self.params["total_steps"], completed=self.done,
                                          epoch="", step="", state="tracing the first step")
            self.bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the timer of the epoch."""
        self.epoch = epoch
        self.epoch_started = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        """Starts the timer of the next call, which excludes a validation before it."""
        now = time.perf_counter()
        if self.last_step_end is None:
            self.counted_from = None
        elif self.last_epoch_end is not None:
            self.between = now - self.last_step_end
            self.counted_from = now
        else:
            self.counted_from = self.last_step_end
        self.last_epoch_end = None

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps of a call, and shows the progress."""
        now = time.perf_counter()
        done = self.epoch * self.params["steps"] + batch + 1
        if self.counted_from is not None:
            self.paced_steps += done - self.done
            self.paced_seconds += now - self.counted_from
        self.done, self.last_step_end = done, now
        if not self.params["chief"]:
            return
        place = f"{self.epoch + 1}/{self.params['epochs']}"
        step = f"{batch + 1}/{self.params['steps']}"
        state = f"{_readable(_losses(logs))}  {self._speed()}  ETA {self._eta()}"
        if self.bar:
            self.bar.update(self.task, completed=done, epoch=place, step=step, state=state)
        elif now - self.spoken >= self.interval:
            self._say(f"epoch {place} step {step}  {state}")

    def on_epoch_end(self, epoch, logs=None):
        """Shows the epoch's result."""
        now = time.perf_counter()
        self.left_epochs = self.params["epochs"] - epoch - 1
        self.last_epoch_end = now
        if self.last_step_end is not None:
            self.between = now - self.last_step_end
        if self.params["chief"] and self.every_epoch:
            self._say(f"epoch {epoch + 1}/{self.params['epochs']}  {_readable(logs)}  {self._speed()}  "
                      f"{_duration(now - self.epoch_started)}, ETA {self._eta()}")

    def on_test_begin(self, logs=None):
        """Shows that a validation is running."""
        if self.bar:
            self.bar.update(self.task, state=f"validating  ETA {self._eta()}")

    def on_train_end(self, logs=None):
        """Closes the bar."""
        self.close()

    def close(self):
        """Closes the bar, so that later output starts on a new line."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def seconds_left(self):
        """Returns the estimated seconds to the end of the last epoch, or None before the second call."""
        if not self.paced_steps:
            return None
        left = self.params["total_steps"] - self.done
        return left * self.paced_seconds / self.paced_steps + self.left_epochs * self.between

    def _eta(self):
        left = self.seconds_left()
        return "?" if left is None else _duration(left)

    def examples_per_second(self):
        """Returns the training speed of this process, or None before the second call."""
        return self.params["batch_size"] * self.paced_steps / self.paced_seconds if self.paced_seconds else None

    def _speed(self):
        speed = self.examples_per_second()
        return f"{'?' if speed is None else _number(speed)} examples/s"

    def _say(self, line):
        self.spoken = time.perf_counter()
        if self.console.is_terminal:
            self.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True, file=self.console.file)


class BestWeights(keras.callbacks.Callback):
    """Writes the model's weights to `path` whenever `monitor` improves.

    path:    path of the file, which ends in .weights.h5
    monitor: name of a validation metric, with or without "val_"
    mode:    "min" or "max", whichever is better

    The file is complete at any time. A kill and a resume do not change the final result: the repeated epoch has the same
    result and leads to the same decision.
    """

    STATE = ("best", "best_epoch")

    def __init__(self, path, monitor, mode):
        super().__init__()
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be min or max, got {mode!r}")
        self.path = pathlib.Path(path)
        self.monitor = monitor if monitor.startswith("val_") else f"val_{monitor}"
        self.mode = mode
        self.best = self.best_epoch = None

    def on_train_begin(self, logs=None):
        """Resets the best value of an earlier training."""
        self.best = self.best_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the weights if the epoch was the best one so far.

        Raises:
            ValueError: there is no validation metric `monitor`.
        """
        logs = logs or {}
        if not any(name.startswith("val_") for name in logs) and epoch + 1 < self.params["epochs"]:
            return  # an epoch without a validation
        if self.monitor not in logs:
            raise ValueError(f"{self.monitor} is not a validation metric; choose one of {', '.join(logs)}")
        value = logs[self.monitor]
        if math.isnan(value):
            return
        if self.best is None or (value > self.best if self.mode == "max" else value < self.best):
            write_weights(self.model, self.path)
            self.best, self.best_epoch = value, epoch


def write_weights(model, path):
    """Writes a model's weights atomically to `path`, which ends in .weights.h5: the file is always complete.

    model: Keras model
    path:  path of the file; no other process may write it at the same time
    """
    path = pathlib.Path(path)
    # Keras asks for the ending; what a kill leaves is written over by the next weights, and does not pile up
    with files.whole(path, temporary_name=f".{path.name}") as temporary:
        model.save_weights(temporary)


def _losses(logs):
    return {name: value for name, value in (logs or {}).items() if name == "loss" or name.endswith("_loss")}


def _readable(logs):
    """Losses first, training before validation."""
    order = sorted(logs or {}, key=lambda name: (name.startswith("val_"), not name.endswith("loss")))
    return "  ".join(f"{name} {_number(logs[name])}" for name in order)


def _number(value):
    """Four digits that matter, without an exponent where it is not needed."""
    if not math.isfinite(value) or value == 0:
        return str(value)
    if 1e-4 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.3e}"


def _duration(seconds):
    seconds = round(seconds)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
