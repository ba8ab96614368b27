"""Every task of a set by itself: the experiment of Sukhbaatar et al., 2015, table 1."""
import dataclasses
import pathlib
import time

import keras
import numpy as np

from apps.memory_qa import data, evaluation, memn2n
from training import reports
from training.config import UserError
from training.engine import callbacks, loop

PUBLISHED = (0.1, 8.2, 41.8, 4.4, 13.7, 7.9, 20.3, 11.7, 13.6, 9.7, 0.7, 0.0, 0.3, 0.9, 0.0, 0.4, 51.0, 10.5, 81.4, 0.0)
"""percent wrong by the authors' code on bAbI with 1,000 questions a task: position encoding, linear start, random noise"""

_FREE = ("tasks", "name", "resume", "debug")
"""settings that may change between two parts of a table"""


def run(app, config):
    """Trains one network a task, each the best of `restarts` by validation, and prints and keeps the errors.

    A task that is done is kept, so that the same command with the same --name goes on where it was stopped.

    Raises:
        UserError: another system than memn2n.
    """
    if config.model != "memn2n":
        raise UserError(f"table is the experiment of memn2n; train {config.model} on one task with --tasks")
    path = pathlib.Path(config.runs) / "memory_qa" / f"{config.name or 'table'}.json"
    rows = reports.Rows(path, {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE})
    train, test, names = data.stories(config)
    for task in sorted(set(train.tasks)):
        if names[task] in rows:
            continue
        rows[names[task]] = row = _task(train.of_task(task), test.of_task(task), names, config)
        print(f"{task + 1:2} {names[task]:24} wrong {row['error']:6.1%}   median of restarts {row['median']:6.1%}   "
              f"{row['seconds']:.0f} s", flush=True)
    _print(rows, names, config.dataset)
    print(f"kept in {path}")
    return rows


def _task(train, test, names, config):
    """Returns the figures of one task."""
    began = time.perf_counter()
    splits = data.splits(train, test, names, config)
    keras.utils.set_random_seed(config.seed)
    model = memn2n.build_model(config, splits.spec)
    info = splits.spec.info

    def validate():
        metrics = evaluation.evaluate(model, splits.validation, config, info, validating=True)
        return {name: metrics[name] for name in evaluation.VALIDATION_METRICS}

    loop.fit(model, splits.train, validate, epochs=config.epochs, limit_steps=config.limit_steps, xla=config.xla,
             callbacks=[callbacks.Progress(interval=60.0, every_epoch=False)])
    validation, metrics = (evaluation.evaluate(model, part, config, info) for part in (splits.validation, splits.test))
    return {"validation": validation["error"], "error": metrics["error"], "median": metrics.get("error_median", metrics["error"]),
            "loss": metrics["loss"], "seconds": round(time.perf_counter() - began, 1)}


def _print(rows, names, dataset):
    published = dict(zip(names, PUBLISHED)) if dataset in ("babi", "babi/en") else {}
    found = [name for name in names if name in rows]
    print(f"\n{'task':27}  best  median  validation" + ("  published" if published else ""))
    for name in found:
        print(f"{names.index(name) + 1:2} {name:24} {rows[name]['error']:5.1%}  {rows[name]['median']:6.1%}  "
              f"{rows[name]['validation']:10.1%}" + (f"  {published[name]:8.1f}%" if published else ""))
    best, median, validation = (np.mean([rows[name][key] for name in found]) for key in ("error", "median", "validation"))
    print(f"{'mean of ' + str(len(found)):27} {best:5.1%}  {median:6.1%}  {validation:10.1%}"
          + (f"  {np.mean([published[name] for name in found]):8.1f}%" if published else ""))
