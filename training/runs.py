"""Finds, lists and compares runs. Does not import TensorFlow and does not trust the files that it reads."""
import contextlib
import dataclasses
import difflib
import functools
import json
import operator
import pathlib
import shlex
from datetime import datetime
from typing import Annotated

import tyro

from training import config as settings
from training import paths
from training.app import App
from training.config import UserError
from training.paths import Expanding, IsPath, Path

LARGEST_FILE = 10_000_000
"""size limit of a JSON file in bytes; the settings and results of a run are smaller"""



@dataclasses.dataclass(frozen=True)
class List(Expanding):
    """Lists all runs, newest first."""

    app: str | None = None
    """only runs of this application"""
    runs: Path = "runs"
    """parent folder of the runs"""
    debug: bool = False
    """show the traceback of an error"""


@dataclasses.dataclass(frozen=True)
class Compare(Expanding):
    """Shows which settings of the runs differ, and compares their metrics side by side."""

    run: tyro.conf.Positional[Annotated[tuple[str, ...], IsPath()]]
    """folders or names of two or more runs"""
    runs: Path = "runs"
    """parent folder of the runs"""
    debug: bool = False
    """show the traceback of an error"""


@dataclasses.dataclass(frozen=True)
class Run:
    """The contents of a run's folder; `fault` describes what is wrong with its files, or is empty."""

    folder: pathlib.Path
    config: dict
    results: dict
    started: float
    fault: str

    @property
    def is_complete(self):
        """Whether the run has results and an export, which leaves nothing to resume."""
        return bool(self.results) and self.results.get("export", "") is not None

    @property
    def state(self):
        """One of finished, running, not exported and unfinished, or a description of what is wrong with its files."""
        if self.fault:
            return f"broken: {self.fault}"
        if self.is_complete:
            return "finished"
        return "running" if in_use(self.folder) else "not exported" if self.results else "unfinished"


def main(arguments):
    """Runs `python -m apps runs …`."""
    from training import pruning, records, tables  # which read files by this module

    verbs = {"list": (List, show), "compare": (Compare, compare), "prune": (pruning.Prune, pruning.prune),
             "record": (records.Record, records.record), "tables": (tables.Tables, tables.write)}
    kinds = [Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)] for name, (kind, _) in verbs.items()]
    if not arguments or arguments[0] not in (*verbs, "-h", "--help"):
        arguments = ["list", *arguments]
    request = tyro.cli(functools.reduce(operator.or_, kinds), prog="python -m apps runs", args=arguments,
                       description="Lists (default), compares, prunes and records runs, and writes the generated tables.")
    {kind: function for kind, function in verbs.values()}[type(request)](request)


def show(request):
    """Prints a table of all runs."""
    found = every(request.runs, request.app)
    if not found:
        print(f"no runs in {request.runs}" + (f"/{request.app}" if request.app else "") + " yet")
        return
    rows = [("app", "run", "model", "data set", "seed", "result", "seconds", "state", "started")]
    for run in found:
        settings = (run.config.get(name) for name in ("model", "dataset", "seed"))
        rows.append((run.folder.parent.name, run.folder.name, *settings,
                     _main_metric(run.results), _seconds(run.results), run.state,
                     f"{datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M}"))
    print(table(rows))


def compare(request):
    """Prints the settings that differ between runs, and all their metrics."""
    if len(request.run) < 2:
        raise UserError(f"compare needs two or more runs; {_listing(request.runs)}")
    chosen = [find(name, request.runs) for name in request.run]
    for run in chosen:
        if run.fault:
            raise UserError(f"{run.folder} cannot be compared: {run.fault}")
    names = list(dict.fromkeys(name for run in chosen for name in run.config))
    differing = [name for name in names if len({json.dumps(run.config.get(name)) for run in chosen}) > 1 and name != "name"]
    metrics = [_metrics(run.results) for run in chosen]
    rows = [("", *(run.folder.name for run in chosen))]
    rows += [(name, *(run.config.get(name) for run in chosen)) for name in differing] or [("no settings differ",)]
    rows += [()]
    rows += [(name, *(values.get(name, "-") for values in metrics))
             for name in dict.fromkeys(name for values in metrics for name in values)]
    rows += [("seconds", *(_seconds(run.results) for run in chosen))]
    print(table(rows))


def every(runs, app=None):
    """Returns all runs in the folder `runs`, newest first; the folders of experiments contain no run's files and are skipped."""
    found = [read(folder) for application in folders(runs) if app in (None, application.name)
             for folder in folders(application) if any((folder / name).exists() for name in ("config.json", "results.json"))]
    return sorted(found, key=lambda run: run.started, reverse=True)


def find(name, runs, app=None):
    """Returns the run with this folder or name.

    Raises:
        UserError: there is no such run, or several applications have a run of this name.
    """
    folder = pathlib.Path(name)
    if (folder / "config.json").is_file():
        return read(folder)
    found = every(runs, app)
    named = [run for run in found if run.folder.name == name]
    if len(named) == 1:
        return named[0]
    if named:
        folders = ", ".join(str(run.folder) for run in named)
        raise UserError(f"several applications have a run {name}: give the folder of one of them, {folders}")
    near = difflib.get_close_matches(name, [run.folder.name for run in found], 1)
    raise UserError(f"there is no run {name} in {runs}; " + (f"did you mean {near[0]}?" if near else _listing(runs)))


def new(task, config):
    """Returns the folder of a new run.

    Raises:
        UserError: its name is not a plain folder name, or is missing although several workers must share the run; or TensorFlow
            cannot write to one of the folders.
    """
    paths.check_encoding(config.runs, config.saved_models, config.data_dir, config.name)
    if config.name is None and config.strategy == "multi_worker":
        raise UserError("--strategy multi_worker needs --name, so that all workers share one run")
    return pathlib.Path(config.runs) / task / settings.folder_name(config.name, config.model)


def unfinished(task, config):
    """Returns (folder, its settings) of the run to resume: the named run, or the newest incomplete one.

    Raises:
        UserError: there is no such run.
    """
    if config.name:
        found = [find(config.name, config.runs, task)]
    else:
        found = [run for run in every(config.runs, task) if run.config and not run.is_complete]
    if not found:
        raise UserError(f"there is no unfinished run of {task} in {config.runs}")
    folder = found[0].folder
    if found[0].is_complete:
        raise UserError(f"{folder} is already finished: there is nothing to resume")
    kept = settings.load(App(task).systems, folder / "config.json")
    saved_models = config.saved_models if config.saved_models != settings.Run().saved_models else kept.saved_models
    return folder, dataclasses.replace(kept, runs=config.runs, resume=True, debug=config.debug, saved_models=saved_models,
                                       force=config.force or kept.force)


def finished(task, request):
    """Returns the named Run, or the newest finished one.

    Raises:
        UserError: there is no such run.
    """
    if request.run:
        return find(request.run, request.runs, task)
    found = [run for run in every(request.runs, task) if run.results]
    if not found:
        raise UserError(f"there is no finished run of {task} in {request.runs}: train one with `python -m apps.{task}`")
    return found[0]


def weights(folder):
    """Returns the file of a run's best weights, or of its last weights if the system keeps those.

    Raises:
        UserError: the run has no weights yet.
    """
    found = [folder / name for name in ("best.weights.h5", "last.weights.h5") if (folder / name).is_file()]
    if not found:
        raise UserError(f"{folder} contains no weights yet: continue the run with --resume")
    return found[0]


def read(folder):
    """Returns the Run in `folder`; damaged files never raise an error but are described in its `fault`."""
    (config, fault), (results, other) = (json_object(folder / name) for name in ("config.json", "results.json"))
    if not config and not fault:
        fault = "no config.json"
    try:
        started = (folder / ("config.json" if config else "")).stat().st_mtime
    except OSError:
        started = 0.0
    return Run(folder, config, results, started, fault or other)


def _listing(runs):
    """Returns the words that name the command which lists the runs in a folder."""
    return f"`python -m apps runs{'' if runs == 'runs' else f' --runs {shlex.quote(str(runs))}'}` lists them"


def in_use(folder):
    """Returns whether a process is training in this run's folder."""
    with unless_in_use(folder) as free:
        return not free


def table(rows):
    """Returns rows of values as text in aligned columns."""
    rows = [[clean(value) for value in row] for row in rows]
    widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(max(map(len, rows)))]
    return "\n".join("  ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip() for row in rows)


def json_object(path):
    """Returns (the JSON object in a file, "") or ({}, a description of the fault); a missing file gives an empty object."""
    try:
        if not path.is_file():
            return {}, f"{path.name} is not a file" if path.exists() else ""
        if path.stat().st_size > LARGEST_FILE:
            return {}, f"{path.name} is too large"
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}, f"{path.name} cannot be read"
    return (value, "") if isinstance(value, dict) else ({}, f"{path.name} does not contain a JSON object")


def folders(folder):
    """Returns the sorted subfolders of a folder, without links and hidden ones; a missing folder has no subfolders."""
    try:
        return sorted(path for path in pathlib.Path(folder).iterdir()
                      if path.is_dir() and not path.is_symlink() and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _metrics(results):
    """Returns the metrics that are numbers or short text, the main one first, as results.json has them."""
    metrics = results.get("metrics")
    return {name: value for name, value in metrics.items() if not isinstance(value, (dict, list))} \
        if isinstance(metrics, dict) else {}


def _main_metric(results):
    for name, value in _metrics(results).items():
        return f"{name} {clean(value)}"
    return "-"


def _seconds(results):
    """Returns the seconds of a run in all: the total where it is written, else the sum of the phases."""
    seconds = results.get("seconds")
    phases = seconds if isinstance(seconds, dict) else {"total": seconds}
    numbers = [value for value in ([phases["total"]] if "total" in phases else phases.values())
               if isinstance(value, (int, float)) and not isinstance(value, bool)]
    try:
        return f"{sum(numbers):.0f}" if numbers else "-"
    except OverflowError:
        return "-"


def clean(value):
    """Returns any value as short text without what a terminal would act upon."""
    text = f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:200])
    return text if len(text) <= 48 else text[:47] + "…"


@contextlib.contextmanager
def unless_in_use(folder):
    """Yields whether nobody trains in `folder`, and keeps it so; the lock is the one of training.engine.files."""
    with contextlib.ExitStack() as stack:
        free = True
        try:
            import fcntl

            file = stack.enter_context(open(folder / ".lock", "rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except (ImportError, OSError):  # Windows, a file system without locks, or a run that never took one
            pass
        yield free
