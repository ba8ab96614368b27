"""Separate training of each task: the experiment of Sukhbaatar et al., 2015, table 1."""
import dataclasses
import pathlib
import time

import numpy as np

from apps.memory_qa import stories
from apps.memory_qa.systems import Table
from training import reports
from training import run as flow
from training.config import UserError, flag, folder_name
from training.engine import callbacks, strategies

PUBLISHED = (0.1, 8.2, 41.8, 4.4, 13.7, 7.9, 20.3, 11.7, 13.6, 9.7, 0.7, 0.0, 0.3, 0.9, 0.0, 0.4, 51.0, 10.5, 81.4, 0.0)
"""error in % of the authors' code on bAbI with 1,000 questions per task: position encoding, linear start, random noise"""

_FREE = ("tasks", "name", "resume", "debug")
"""settings that may change between two parts of a table"""
_UNREAD = ("saved_models", "force", "checkpoint_every", "initialize")
"""settings of a run that is kept, which the networks of a table are not"""


def run(app, config):
    """Trains `restarts` networks per task, keeps the best one by validation, prints the errors and returns them by task.

    Finished tasks are saved: the same command with the same --name continues where it stopped.

    Raises:
        UserError: a setting has no effect here, the data set contains no stories, or the file belongs to other settings.
    """
    given = [name for name in _UNREAD if getattr(config, name) != getattr(Table, name)]
    if given:
        raise UserError(f"{flag(given[0])} has no effect, because `table` saves no networks: leave it out")
    strategies.set_precision(config)
    path = pathlib.Path(config.runs) / app.task / f"{folder_name(config.name or 'table', 'table')}.json"
    rows = reports.Rows(path, {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE})
    train, test, names = stories.read(config)
    for task in sorted(set(train.tasks)):
        if names[task] in rows:
            continue
        rows[names[task]] = row = _task(app, config, stories.splits(train.of_task(task), test.of_task(task), names, config))
        print(f"{task + 1:2} {names[task]:24} wrong {row['error']:6.1%}   median of restarts {row['median']:6.1%}   "
              f"{row['seconds']:.0f} s", flush=True)
    _print(rows, names, config.dataset)
    print(f"written to {path}")
    return rows


def _task(app, config, splits):
    """Returns the figures of one task."""
    began = time.perf_counter()
    model = flow.trial(app, config, splits, [callbacks.Progress(interval=60.0, every_epoch=False)])
    validation, test = (app.evaluation.evaluate(model, part, config, splits.spec.info)
                        for part in (splits.validation, splits.test))
    return {"validation": validation["error"], "error": test["error"], "median": test.get("error_median", test["error"]),
            "loss": test["loss"], "seconds": round(time.perf_counter() - began, 1)}


def _print(rows, names, dataset):
    """Prints the figures of all tasks that are done and their means, beside the published ones where there are some."""
    published = dict(zip(names, PUBLISHED)) if dataset in ("babi", "babi/en") else {}
    found = [name for name in names if name in rows]
    print(f"\n{'task':27}  best  median  validation" + ("  published" if published else ""))
    for name in found:
        print(f"{names.index(name) + 1:2} {name:24} {rows[name]['error']:5.1%}  {rows[name]['median']:6.1%}  "
              f"{rows[name]['validation']:10.1%}" + (f"  {published[name]:8.1f}%" if published else ""))
    best, median, validation = (np.mean([rows[name][key] for name in found]) for key in ("error", "median", "validation"))
    print(f"{'mean of ' + str(len(found)):27} {best:5.1%}  {median:6.1%}  {validation:10.1%}"
          + (f"  {np.mean([published[name] for name in found]):8.1f}%" if published else ""))
