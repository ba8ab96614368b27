"""Settings that every application shares, how they are completed, kept and given back."""
import dataclasses
import datetime
import difflib
import json
import math
import pathlib
import types
import typing
from typing import Literal


class UserError(Exception):
    """Something a person can mend: the command prints this one sentence and exits with code 2."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings that every application shares. `None` is completed by the chosen model and data set."""

    model: str = ""
    """the system to train"""
    dataset: str = ""
    """name of a data set: one of ours or any of TFDS's"""
    data_dir: str | None = None
    """folder of prepared TFDS data sets (default: TFDS's own, ~/tensorflow_datasets)"""
    manual_dir: str | None = None
    """folder of data sets that are fetched by hand, one folder per set"""
    download: bool = False
    """let TFDS use the network to fetch the data set"""
    epochs: int | None = None
    """passes over the training split"""
    batch_size: int | None = None
    """examples per step, over all replicas"""
    learning_rate: float | None = None
    """peak step size of the optimizer"""
    seed: int = 0
    """of initial weights, order, augmentation and dropout"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """precision; auto takes bfloat16 where the hardware multiplies matrices in it"""
    strategy: Literal["default", "mirrored", "multi_worker", "tpu"] = "default"
    """one device, all GPUs of this machine, the workers named in TF_CONFIG, or a TPU"""
    xla: bool | None = None
    """compile the train step with XLA; by default where the system gains by it, on one device"""
    steps_per_call: int | None = None
    """steps between two looks from Python; by default about one second's worth"""
    checkpoint_every: int = 200
    """steps between two checkpoints to resume from"""
    validate_every: int | None = None
    """epochs between two validations, the last epoch's among them; by default the data set's own number"""
    limit_steps: int | None = None
    """train for so many steps and test on as many batches: a quick check of anything"""
    runs: str = "runs"
    """folder that takes the run"""
    saved_models: str = "saved_models"
    """folder that takes the export"""
    name: str | None = None
    """name of the run's folder (default: date, time and model)"""
    initialize: str | None = None
    """folder of a run whose best weights to start from"""
    resume: bool = False
    """go on with the newest unfinished run (or the one of --name)"""
    force: bool = False
    """export even if the signature differs from the newest version's"""
    debug: bool = False
    """show the traceback of an error"""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Settings that every experiment shares: a verb that leaves a report, see `training.reports`, and no run."""

    seed: int = 0
    """of all that is drawn"""
    runs: str = "runs"
    """folder that takes the report"""
    name: str | None = None
    """name of the report's folder (default: date, time and verb)"""
    debug: bool = False
    """show the traceback of an error"""


_SHARED = {field.name for field in dataclasses.fields(Config)}
_POSITIVE = ("epochs", "batch_size", "learning_rate", "steps_per_call", "checkpoint_every", "validate_every", "limit_steps")


def resolve(app, config, own=()):
    """Returns `config` with every `None` completed by `app.defaults(model, dataset)`, of which a verb may have its `own`.

    What depends on another setting that is given comes from `app.following(config)` -> {name: value} instead.

    Raises:
        UserError: a field is given that the chosen model does not read but another one does, or that is not read beside
            another field's value, `app.unread(config)` -> {name: that field's name}; or a value is out of range:
            `app.POSITIVE` names the fields of its own that must be above 0, `app.RANGES` is {field: (least, what it must be
            below)}.
    """
    readers = {model: app.defaults(model, config.dataset) for model in app.SYSTEMS}
    defaults = readers[config.model]
    defaults = defaults | {name: value for name, value in dict(own).items() if name in defaults}
    for field in dataclasses.fields(config):
        owners = [model for model, values in readers.items() if field.name in values]
        if getattr(config, field.name) != field.default and owners and field.name not in {*defaults, *_SHARED}:
            raise UserError(f"{flag(field.name)} is not read by {config.model}; it belongs to {', '.join(owners)}"
                            + (f" ({flag(field.name)} None leaves it out)" if field.default is None else ""))
    defaults = defaults | getattr(app, "following", lambda _: {})(config)
    if config.strategy != "default":
        defaults = {name: value for name, value in defaults.items() if name != "xla"}  # it works on one device only
    given, config = config, dataclasses.replace(config, **{n: v for n, v in defaults.items() if getattr(config, n) is None})
    for name, beside in getattr(app, "unread", lambda _: {})(config).items():
        if getattr(given, name) is not None:
            raise UserError(f"{flag(name)} is not read with {flag(beside)} {getattr(config, beside)}"
                            f" ({flag(name)} None leaves it out)")
        config = dataclasses.replace(config, **{name: None})
    for name in (*_POSITIVE, *getattr(app, "POSITIVE", ())):
        for value in _values(config, name):
            if not 0 < value < math.inf:
                raise UserError(f"{flag(name)} must be above 0, got {value}")
    for name, (least, below) in getattr(app, "RANGES", {}).items():
        for value in _values(config, name):
            if not least <= value < below:
                raise UserError(f"{flag(name)} must be " + (f"{least} or more" if below == math.inf else
                                                            f"at least {least} and below {below}") + f", got {value}")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"--seed must be from 0 to {2**32 - 1}, got {config.seed}")
    return config


def _values(config, name):
    """Returns the numbers of a field: one, none where it is left out, or those of a list, which must not be empty."""
    value = getattr(config, name)
    if value == ():
        raise UserError(f"{flag(name)} needs one value or more")
    return () if value is None else value if isinstance(value, tuple) else (value,)


def folder_name(name, what):
    """Returns the name of a folder below the runs: the given one, or date, time and what it is of.

    Raises:
        UserError: it is no plain name.
    """
    name = name or f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{what}"
    if pathlib.Path(name).name != name or name.startswith("."):
        raise UserError(f"--name {name} must be the plain name of a folder")
    return name


def flag(name):
    return "--" + name.replace("_", "-")


def save(config, path):
    pathlib.Path(path).write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def load(config_class, path):
    """Returns the settings kept in a JSON file.

    Raises:
        UserError: the file is not there, is no JSON object, or holds fields that `config_class` lacks.
    """
    try:
        with open(path, encoding="utf-8") as file:
            values = json.loads(file.read(1_000_000))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read settings from {path}: {error}") from None
    return of_plain(config_class, values, path)


def of_plain(config_class, values, where):
    """Returns the settings that came from JSON as `values`; `where` it was is for the sentence of an error.

    Raises:
        UserError: the values are no object, or hold fields that `config_class` lacks or of another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} holds no JSON object of settings")
    hints = typing.get_type_hints(config_class)
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, 1)
            raise UserError(f"{where} has the unknown setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if not _fits(value, hints[name]):
            raise UserError(f"{where} has {name!r}: {json.dumps(value)[:80]}, which is not {_words(hints[name])}")
    return config_class(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


_UNIONS = (types.UnionType, typing.Union)  # `int | None` and `Literal[…] | None` are not of the same type


def _fits(value, hint):
    """Whether a value read from JSON is of the type that a field asks for."""
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint) and not isinstance(value, bool)
    if typing.get_origin(hint) in _UNIONS:
        return any(_fits(value, choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:  # of any length; JSON makes lists of them
        return isinstance(value, (list, tuple)) and all(_fits(part, typing.get_args(hint)[0]) for part in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint


def _words(hint):
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in _UNIONS:
        return " or ".join(_words(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"a list, each {_words(typing.get_args(hint)[0])}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}[hint]
