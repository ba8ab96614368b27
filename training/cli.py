"""The command line of every application: `python -m apps.<task> [verb] …`."""
import contextlib
import dataclasses
import errno
import importlib
import os
import sys
from typing import Annotated

import tyro

from training import config as settings
from training import runs
from training.serving import requests

VERBS = {
    "train": "train, test, draw and export (the default)",
    "evaluate": "test a run on its own or another data set, with confidence intervals",
    "predict": "answer for files with the newest export or a server",
    "summary": "shapes, parameters and multiply-adds by layer",
    "search": "the settings that validate best, coarse to fine",
}


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Tests a finished run, on its own test split or on another data set's."""

    run: tyro.conf.Positional[str | None] = None
    """folder or name of a run (default: the newest finished one)"""
    dataset: str | None = None
    """another data set with the same classes"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets"""
    manual_dir: str | None = None
    """folder of data sets that are fetched by hand"""
    resamples: int = 100
    """bootstrap samples of the test split for the 95 % interval"""
    runs: str = "runs"
    """folder that holds the runs"""
    debug: bool = False
    """show the traceback of an error"""


@dataclasses.dataclass(frozen=True)
class Predict:
    """Answers for files with the newest export, or with a server that holds it."""

    inputs: tyro.conf.Positional[tuple[str, ...]]
    """files to answer for"""
    server: str | None = None
    """HOST:PORT of a TensorFlow Serving gRPC port, instead of an export on this machine"""
    export: str | None = None
    """folder of one exported version (default: the newest under --saved-models)"""
    saved_models: str = "saved_models"
    """folder that holds the exports"""
    output: str = "predictions"
    """folder that takes the answers"""
    timeout_seconds: float = 60.0
    """how long to wait for a server"""
    debug: bool = False
    """show the traceback of an error"""


def main(app, arguments=None):
    """Runs one application's command line; `app` is its package."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    own = getattr(app, "VERBS", {})
    verb = arguments.pop(0) if arguments and arguments[0] in {*VERBS, *own} else "train"
    program = f"python -m {app.__name__}" + ("" if verb == "train" else f" {verb}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said in a sentence of ours
    with sentences(debug="--debug" in arguments, stopped="go on with --resume" if verb == "train" else ""):
        if verb in own:
            request = _own_request(app, verb, program, arguments)  # before the import, which may bring TensorFlow
            return importlib.import_module(f"{app.__name__}.{verb}").run(app, request)
        request = _parse(app, verb, program, arguments)
        _check(app.__name__.rpartition(".")[2], verb, request)
        if verb == "search":
            from training import search

            return search.search(app, *request)
        from training import run

        getattr(run, verb)(app, request)


@contextlib.contextmanager
def sentences(debug=False, stopped=""):
    """Ends the program with one sentence and exit code 2 where an error comes out of the block; `debug` lets it through."""
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
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error):
    if isinstance(error, settings.UserError):
        return str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return f"the disk is full ({getattr(error, 'filename', None) or 'while writing'}): make room, then go on with --resume"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]} (--debug shows where)"


def _parse(app, verb, program, arguments):
    """Returns what the verb's function takes after the app; imports no TensorFlow."""
    if verb in ("evaluate", "predict"):
        kind = Evaluate if verb == "evaluate" else Predict
        return tyro.cli(kind, prog=program, args=arguments, description=kind.__doc__)
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    arguments, default = _settings_file(app, arguments)
    verbs = VERBS | getattr(app, "VERBS", {})
    description = f"{app.__doc__.strip()}\n\nVerbs: " + "; ".join(f"{name}: {text}" for name, text in verbs.items()) + \
        ".\n--config FILE takes the settings from a run's config.json; flags change them."
    if verb == "search":
        return _search_request(app, program, arguments, description, default, flags)
    config = tyro.cli(app.Config, prog=program, args=arguments, description=description, default=default)
    if config.resume and verb == "train":
        _refuse_settings_with_resume(flags)
        return config
    return settings.resolve(app, config, getattr(app, verb.upper(), ()))


def _check(task, verb, request):
    """Refuses what is seen to fail without TensorFlow, whose import takes seconds."""
    if verb == "train":
        runs.unfinished(task, request) if request.resume else runs.new(task, request)
        if request.initialize:
            runs.initial_weights(task, request)
    if verb == "evaluate":
        if request.resamples < 0:
            raise settings.UserError(f"--resamples must be 0 or more, got {request.resamples}")
        runs.finished(task, request)
    if verb == "predict":
        requests.check(request.inputs, request.server)


def _search_request(app, program, arguments, description, default, flags):
    """Returns (settings, number of trials, names of the settings that were given and so are not searched)."""
    trials = Annotated[int, tyro.conf.arg(help="settings to try, three of five of them with a third of the epochs")]
    kind = dataclasses.make_dataclass("Search", [("trials", trials, 20)], bases=(app.Config,), frozen=True)
    request = tyro.cli(kind, prog=program, args=arguments, description=description, default=kind(**dataclasses.asdict(default)))
    if request.trials < 1:
        raise settings.UserError(f"--trials must be above 0, got {request.trials}")
    config = app.Config(**{field.name: getattr(request, field.name) for field in dataclasses.fields(app.Config)})
    return settings.resolve(app, config), request.trials, {flag.removeprefix("--").replace("-", "_") for flag in flags}


def _own_request(app, verb, program, arguments):
    """Returns the settings of a verb that only this application has: its class `ToLook` for the verb `to_look`, or its Config."""
    kind = getattr(app, "".join(map(str.capitalize, verb.split("_"))), None)
    if kind is None:
        return _parse(app, verb, program, arguments)
    return tyro.cli(kind, prog=program, args=arguments, description=kind.__doc__)


def _settings_file(app, arguments):
    """Takes `--config FILE` out of the arguments and returns (the others, the settings it holds)."""
    for index, argument in enumerate(arguments):
        if argument == "--config" or argument.startswith("--config="):
            joined = "=" in argument
            path = argument.partition("=")[2] if joined else "".join(arguments[index + 1:index + 2])
            if not path:
                raise settings.UserError("--config needs the name of a file")
            rest = arguments[:index] + arguments[index + (1 if joined else 2):]
            # a run's name and the wish to resume belong to that run, not to the next one
            return rest, dataclasses.replace(settings.load(app.Config, path), name=None, resume=False)
    return arguments, app.Config()


def _refuse_settings_with_resume(flags):
    kept = {"--resume", "--runs", "--name", "--debug", "--saved-models", "--force"}  # none of them changes what is learnt
    others = [flag for flag in flags if flag.replace("_", "-") not in kept]
    if others:
        raise settings.UserError(f"--resume goes on with the run's own settings: leave out {', '.join(others)}")
