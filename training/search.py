"""The verb `search`: samples settings coarsely over a wide space, then finely around the best ones."""
import contextlib
import dataclasses
import json
import math
import pathlib
import shlex
import time

import keras
import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage

from training import config as settings
from training import run, runs, showing
from training.config import UserError
from training.engine import files, strategies, tensorboard

_COARSE = 0.6
"""fraction of the trials that sample the whole space"""
_SHORTER = 3
"""a coarse trial trains for 1/_SHORTER of the epochs"""
_NARROWER = 4
"""fine trials sample 1/_NARROWER of the width of each range, around the best coarse value"""
_WORST = {"min": 1e9, "max": -1e9}
"""the value of a failed trial"""


class _Best(keras.callbacks.Callback):
    """Keeps the best value of what validation chooses by."""

    def __init__(self, name, mode):
        super().__init__()
        self.name, self.better, self.value = f"val_{name}", max if mode == "max" else min, None

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get(self.name, math.nan)
        if not math.isnan(value):
            self.value = value if self.value is None else self.better(value, self.value)


def search(app, config, trials, given=()):
    """Runs trials and prints a table of them and the command with the best settings; returns the settings of the best trial.

    The search space is the system's `SPACE`, see `training.Config`, without the settings that are `given`. Three fifths of the
    trials sample the whole space and train for a third of the epochs, see `training.Config.shortened`. The others train for
    all epochs and sample a quarter of each range around the best coarse trial, whose choices they keep. The trials are saved:
    the same command with the same --name continues where it stopped.

    Raises:
        UserError: there are no settings to search, --name belongs to a search with other settings, the first network cannot be
            trained, or there is no validation split.
    """
    space = {name: how for name, how in config.SPACE.items() if hasattr(config, name) and name not in given}
    if not space:
        raise UserError(f"{config.model} has no settings left to search")
    strategies.set_precision(config)
    splits = app.data.datasets(config)
    if splits.validation is None:
        remedy = ": leave out --train-on-all" if getattr(config, "train_on_all", False) else ""
        raise UserError(f"search needs a validation split, which these settings do not leave{remedy}")
    folder = pathlib.Path(config.runs) / app.task / settings.folder_name(
        config.name or f"search-{config.model}-{config.dataset.replace('/', '-')}", "search")
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock(folder):
        return _searched(app, config, splits, folder, space, trials)


def _searched(app, config, splits, folder, space, trials):
    """Tries settings in the folder of a search, and returns those of the best trial."""
    fixed = {name: value for name, value in dataclasses.asdict(config).items() if name not in {*space, "name", "resume", "debug"}}
    _check_settings(folder / "search.json", json.loads(json.dumps({"settings": fixed, "space": space, "trials": trials})))
    name, mode = config.MONITOR
    with _quiet():
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / "trials.log"))), study_name="search", load_if_exists=True,
            direction="maximize" if mode == "max" else "minimize")
    coarse = max(1, round(trials * _COARSE))
    done = _finished(study)
    if done:
        print(f"continuing after {len(done)} of {trials} trials")
    for number in range(len(done), trials):
        best = _best(study, coarse, mode) if number >= coarse else None
        # a sampler for each trial, so that a search that was stopped draws what it would have drawn
        study.sampler = (optuna.samplers.RandomSampler if best is None else optuna.samplers.TPESampler)(seed=config.seed + number)
        with _quiet():
            trial = study.ask({each: _distribution(how, best and best.params[each]) for each, how in space.items()
                               if best is None or how[0] != "choice"})
        drawn = (best.params if best else {}) | trial.params
        chosen = dataclasses.replace(config, **drawn)
        if best is None:
            chosen = chosen.shortened(_SHORTER)
        began = time.perf_counter()
        watcher = _Best(name, mode)
        begun = []

        def prepare(model):
            run.initialize(app, model, chosen, folder)
            begun.append(number)

        try:
            run.trial(app, chosen, splits, [watcher], prepare)
        except UserError:  # a loss that is not finite is a bad trial, not the end of the search
            if not begun:  # nor could another trial begin
                raise
        is_broken = watcher.value is None
        value = _WORST[mode] if is_broken else watcher.value
        trial.set_user_attr("drawn", drawn)
        trial.set_user_attr("fine", best is not None)
        trial.set_user_attr("seconds", round(time.perf_counter() - began, 1))
        with _quiet():
            study.tell(trial, value)
        with showing.optional("TensorBoard's HParams page", config.debug):
            tensorboard.hparams(folder / f"trial-{number + 1:03}", drawn | {"epochs": chosen.epochs}, {f"val_{name}": value})
        print(f"trial {number + 1} of {trials}, {'fine' if best else 'coarse'}: {name} {math.nan if is_broken else value:.4f}   "
              + "  ".join(f"{settings.flag(each)} {_short(value)}" for each, value in drawn.items()), flush=True)
    return _report(app, config, study, mode, name, folder, coarse)


def _distribution(how, middle=None):
    """Returns a setting's range for optuna, or the part of it around `middle`."""
    kind, *values = how
    if kind == "choice":
        return optuna.distributions.CategoricalDistribution(values)
    low, high = values
    if middle is not None:
        scale, back = (math.log, math.exp) if kind == "log" else (float, float)
        half = (scale(high) - scale(low)) / _NARROWER / 2
        low, high = max(low, back(scale(middle) - half)), min(high, back(scale(middle) + half))
    return optuna.distributions.FloatDistribution(low, high, log=kind == "log")


def _finished(study):
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state == optuna.trial.TrialState.COMPLETE]


def _best(study, coarse, mode):
    return (max if mode == "max" else min)(_finished(study)[:coarse], key=lambda trial: trial.value)


def _report(app, config, study, mode, name, folder, coarse):
    """Prints the trials, best first, and the command of the best of those that took all epochs; returns its settings."""
    trials = sorted(_finished(study), key=lambda trial: trial.value, reverse=mode == "max")
    drawn = [trial.user_attrs["drawn"] for trial in trials]
    rows = [(name, *drawn[0], "epochs", "seconds")]
    for trial, values in zip(trials, drawn):
        epochs = "all" if trial.user_attrs["fine"] else f"1/{_SHORTER}"
        rows.append((f"{trial.value:.4f}", *map(_short, values.values()), epochs, f"{trial.user_attrs['seconds']:.0f}"))
    best = next((trial for trial in trials if trial.user_attrs["fine"]), trials[0])
    chosen = best.user_attrs["drawn"]
    print(f"""
{runs.table(rows)}

best      {name} {best.value:.4f} on validation
command   python -m {app.package} {_flags(app, dataclasses.replace(config, **chosen))}
look      tensorboard --logdir {shlex.quote(str(folder))}""")
    return chosen


def _flags(app, config):
    """Returns the flags that give these settings, without those that a run of this model and data set has anyway."""
    first = next(iter(app.systems.values()))
    usual = dataclasses.asdict(type(config).of(dataset=config.dataset)) | dict(
        model=first.model, dataset=first.dataset, name=config.name, resume=config.resume)
    flags = []
    for name, value in dataclasses.asdict(config).items():
        if value == usual[name]:
            continue
        if isinstance(value, bool):
            flags.append(settings.flag(name if value else f"no_{name}"))
        else:
            flags += [settings.flag(name), *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(flags)


def _short(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def _check_settings(path, wanted):
    """Keeps what a search is of, and refuses to go on with another one's trials."""
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept | {"trials": 0} != wanted | {"trials": 0}:
            raise UserError(f"{path.parent} contains a search with other settings: choose another --name")
    files.write_text(path, json.dumps(wanted, indent=2) + "\n")


@contextlib.contextmanager
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
