"""The command line of every application: `python -m apps.<task> [verb] …`."""
import contextlib
import dataclasses
import errno
import os
import sys
from typing import Annotated

import tyro

from training import config as settings
from training import forms, initial_runs, runs
from training.app import App
from training.config import Config, NotNegative, Positive
from training.paths import Expanding, IsPath, Path
from training.serving import requests

VERBS = {
    "train": "train, test, export and render pictures (default)",
    "evaluate": "test a run on its own or another data set, with 95 % confidence intervals",
    "predict": "predict for files, with the newest export or a server",
    "summary": "print output shapes, parameters and multiply-adds per layer",
    "search": "search for the best settings by validation, from coarse to fine",
}


@dataclasses.dataclass(frozen=True)
class Evaluate(Expanding):
    """Tests a finished run on its own test split or on that of another data set."""

    run: tyro.conf.Positional[Annotated[str | None, IsPath()]] = None
    """folder or name of a run; None: the newest finished run"""
    dataset: str | None = None
    """another data set with the same classes; None: the data set of the run"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets; None: as in the run"""
    manual_dir: str | None = None
    """folder of manually downloaded data sets; None: as in the run"""
    resamples: Annotated[int, NotNegative] = 100
    """bootstrap samples of the test split for the 95 % confidence intervals; 0: no intervals"""
    runs: Path = "runs"
    """parent folder of the runs"""
    debug: bool = False
    """show the traceback of an error"""


@dataclasses.dataclass(frozen=True)
class Predict(Expanding):
    """Predicts for files, with the newest export or with a server that has loaded it."""

    inputs: tyro.conf.Positional[Annotated[tuple[str, ...], IsPath()]]
    """files, folders, or quoted patterns such as 'photos/*.jpg'; - reads standard input"""
    server: str | None = None
    """HOST:PORT of TensorFlow Serving's gRPC port; None: use an export on this machine"""
    export: Annotated[str | None, IsPath()] = None
    """folder of one exported version; None: the newest version in --saved-models"""
    model: str | None = None
    """system whose kind of export to use, if the application has exports with different signatures; None: the newest export, or
    on a server the exports of the default system"""
    saved_models: Path = "saved_models"
    """parent folder of the exports"""
    output: Path = "predictions"
    """output folder of the predictions"""
    timeout_seconds: Annotated[float, Positive] = 60.0
    """time limit for an answer from the server"""
    debug: bool = False
    """show the traceback of an error"""


def main(package, arguments=None):
    """Runs the command line of one application; `package` is its dotted name, "apps.detection"."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # failures are reported in our own sentence
    app = App(package.rpartition(".")[2])
    verb = arguments.pop(0) if arguments and arguments[0] in {*VERBS, *app.verbs} else "train"
    program = f"python -m {app.package}" + ("" if verb == "train" else f" {verb}")
    with sentences(debug="--debug" in arguments, stopped="continue with --resume" if verb == "train" else ""):
        if verb in app.verbs:
            request = _own_request(app, verb, program, arguments)  # before the import, which may bring TensorFlow
            return app.verb(verb).run(app, request)
        if verb in ("evaluate", "predict"):
            kind = Evaluate if verb == "evaluate" else Predict
            request = tyro.cli(kind, prog=program, args=arguments, description=kind.__doc__)
            settings.check(request)
        else:
            request = _settings(app, verb, program, arguments)
            if request is None:
                return None
        return _run(app, verb, request)


def _run(app, verb, request):
    _check(app, verb, request)
    if verb == "search":
        from training import search

        return search.search(app, *request)
    if verb == "summary":
        from training import summary

        return summary.show(app, request)
    from training import run

    return getattr(run, verb)(app, request)


@contextlib.contextmanager
def sentences(debug=False, stopped=""):
    """Turns an error in the block into one sentence and exit code 2; with `debug`, the error is raised as it is.

    A character that the output stream cannot encode is written as an escape sequence. Closed streams are replaced by the null
    device.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Python's word for it
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nstopped" + (f"; {stopped}" if stopped else ""), file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: the last flush must not complain
        sys.exit(141)
    except Exception as error:
        if debug:
            raise
        print(f"error: {_sentence(error, stopped)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error, stopped):
    if isinstance(error, settings.UserError):
        return str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        where = getattr(error, "filename", None) or "while writing"
        return f"the disk is full ({where}): free some space, then {stopped or 'try again'}"
    if "unable to lock file" in str(error):  # HDF5's words
        return "this file system does not support the file locks of HDF5: set HDF5_USE_FILE_LOCKING=FALSE before Python starts"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]} (--debug shows the traceback)"


def _settings(app, verb, program, arguments):
    """Returns what `train`, `summary` or `search` takes after the app, or None after `--print-config`; imports no TensorFlow."""
    extras = [forms.PRINT_CONFIG]
    if verb == "search":
        extras.append(forms.Extra("trials", int, 20, "number of trials; the first three fifths run for a third of the epochs"))
    parsed = forms.parse(app.systems, arguments, program=program, description=_description(app, verb), extras=extras)
    if parsed.config.resume and verb == "train":
        _refuse_settings_with_resume(arguments)
    if parsed.extras["print_config"]:
        print(settings.dumps(parsed.config), end="")
        return None
    if verb != "search":
        return parsed.config
    if parsed.extras["trials"] < 1:
        raise settings.UserError(f"--trials must be 1 or more, got {parsed.extras['trials']}")
    return parsed.config, parsed.extras["trials"], parsed.given


def _description(app, verb):
    titles = {name: settings.title(kind) for name, kind in app.verbs.items()}
    verbs = VERBS | {name: title[0].lower() + title[1:] for name, title in titles.items()}
    systems = {model: settings.title(kind) for model, kind in app.systems.items()}
    width = max(map(len, [*verbs, *systems]))
    begin = [] if verb == "train" else [f"{VERBS[verb].capitalize()}.", ""]
    return "\n".join([*begin, app.doc, "", "Systems:", *(f"  {name:{width}}  {text}" for name, text in systems.items()), "",
                      "Verbs:", *(f"  {name:{width}}  {text}" for name, text in verbs.items()), "",
                      "--config FILE reads the settings from a run's config.json; other flags override them."])


def _check(app, verb, request):
    """Refuses what is seen to fail without TensorFlow, whose import takes seconds."""
    task = app.task
    if verb == "train":
        runs.unfinished(task, request) if request.resume else runs.new(task, request)
        if request.initialize:
            initial_runs.weights(task, request)
    if verb == "evaluate":
        runs.finished(task, request)
    if verb == "predict":
        requests.check(request.inputs, request.server)
        app.export_names(request.model)
        if request.export and request.model:
            raise settings.UserError("--model has no effect with --export: leave out one of them")


def _own_request(app, verb, program, arguments):
    """Returns the settings of a verb that only this application has."""
    kind = app.verbs[verb]
    if issubclass(kind, Config):
        return forms.parse({kind.model: kind}, arguments, program=program, description=kind.__doc__).config
    request = tyro.cli(kind, prog=program, args=arguments, description=kind.__doc__)
    settings.check(request)
    return request


def _refuse_settings_with_resume(arguments):
    kept = {"--resume", "--runs", "--name", "--debug", "--saved-models", "--force"}  # none of them changes what is learned
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    others = [flag for flag in flags if flag.replace("_", "-") not in kept]
    if others:
        raise settings.UserError(f"--resume continues with the run's own settings: leave out {', '.join(others)}")
