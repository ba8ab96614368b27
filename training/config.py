"""Settings: declared by one class per system, completed with defaults for the data set, checked, saved and loaded."""
import dataclasses
import datetime
import difflib
import inspect
import json
import math
import os
import pathlib
import types
import typing
from typing import Annotated, Any, ClassVar, Literal

from training import paths
from training.errors import UserError, first_line  # noqa: F401  both are also found here
from training.paths import IsPath, Path

LARGEST_FILE = 1_000_000
"""size limit of a settings file in bytes"""


@dataclasses.dataclass(frozen=True)
class Range:
    """The allowed range of a number, or of each number in a list; used in the annotation of a setting."""

    least: float = -math.inf
    """smallest allowed value"""
    below: float = math.inf
    """the value must be less than this"""
    above: float = -math.inf
    """the value must be greater than this"""

    def holds(self, value):
        """Returns whether a number is in the range; NaN and infinity never are."""
        return self.least <= value < self.below and value > self.above

    def __str__(self):
        least, below, above = self.least, self.below, self.above
        lower = f"above {above}" if above > -math.inf else f"{least} or more"
        if below == math.inf:
            return lower
        return (lower if above > -math.inf else f"at least {least}") + f" and below {below}"


@dataclasses.dataclass(frozen=True, init=False)
class When:
    """A setting has an effect only when the setting `name` has one of these values; used in the annotation.

    A value of `dataset` matches all configurations of that data set: "babi" also matches "babi/en-10k".
    """

    name: str
    values: tuple

    def __init__(self, name, *values):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "values", values)

    def holds(self, value):
        """Returns whether the setting has an effect, given this value of the setting `name`."""
        return value in self.values or (self.name == "dataset" and set_name(value) in self.values)


class Unless(When):
    """A setting has no effect when the setting `name` has one of these values; used in the annotation."""

    def holds(self, value):
        """Returns whether the setting has an effect, given this value of the setting `name`."""
        return not super().holds(value)


Positive = Range(above=0)
Count = Range(1)
NotNegative = Range(0)
Fraction = Range(0, below=1)


class Settings(paths.Expanding):
    """The base class of all settings: every subclass becomes a frozen dataclass automatically.

    A plain assignment in the class body, such as `epochs = 20`, changes the default of an inherited setting and keeps its
    annotation and docstring.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        inherited = {name: field for kind in reversed(cls.__mro__[1:])
                     for name, field in getattr(kind, "__dataclass_fields__", {}).items() if not name.isupper()}
        own = cls.__dict__.get("__annotations__", {})
        cls.__annotations__ = own | {name: inherited[name].type for name in vars(cls) if name in inherited and name not in own}
        dataclasses.dataclass(frozen=True)(cls)


class Data(Settings):
    """Where the data comes from."""

    dataset: str = ""
    """name of a data set"""
    data_dir: str = dataclasses.field(default_factory=lambda: os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    """folder of prepared TFDS data sets"""
    manual_dir: str | None = None
    """folder of manually downloaded data sets, one subfolder per set; for the *_folder sets, the folder itself"""
    download: bool = False
    """allow downloads: TFDS may fetch the data set over the network"""


class Training(Settings):
    """How the system is trained."""

    epochs: Annotated[int, Count] = 10
    """passes over the training split"""
    batch_size: Annotated[int, Count] = 32
    """examples per step in total over all replicas"""
    learning_rate: Annotated[float, Positive] = 1e-3
    """peak learning rate of the optimizer"""
    seed: Annotated[int, Range(0, below=2**32)] = 0
    """random seed for initialization, shuffling, augmentation and dropout"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """precision; auto chooses bfloat16 if the hardware has matrix units for it and the system runs faster with it"""
    strategy: Literal["default", "mirrored", "multi_worker", "tpu"] = "default"
    """train on one device, all GPUs of this machine, the workers listed by TF_CONFIG or Slurm, or a TPU"""
    xla: bool = False
    """compile the training step with XLA; single device only"""
    steps_per_call: Annotated[int | None, Count] = None
    """training steps per compiled call; None: as many as take about one second"""
    checkpoint_every: Annotated[int, Count] = 200
    """steps between checkpoints, from which --resume continues"""
    validate_every: Annotated[int, Count] = 1
    """epochs between validations; the last epoch is always validated"""
    limit_steps: Annotated[int | None, Count] = None
    """stop after this many steps and test on as many batches, as a quick check; None: no limit"""
    initialize: Annotated[str | None, IsPath()] = None
    """name or folder of a run, whose best weights training starts from; of another application's run, only the backbone is
    taken; None: the system's usual initial weights"""


class Run(Settings):
    """Where to store the run and its export."""

    name: str | None = None
    """name of the run's folder; None: date, time and model"""
    runs: Path = "runs"
    """parent folder of the runs"""
    saved_models: Path = "saved_models"
    """parent folder of the exports"""
    resume: bool = False
    """continue the newest unfinished run, or the run given with --name"""
    force: bool = False
    """export even if the signatures differ from those of the newest version"""
    debug: bool = False
    """show the traceback of an error"""


GROUPS = (Data, Training, Run)
"""the settings shared by all systems, in the groups of --help"""


class Config(Run, Training, Data):
    """The settings of a system; each system is a subclass in the module `systems` of its application, declared with its names:

        class FasterRCNN(Pyramid, model="faster_rcnn", ids=("D5",)): ...

    `model` is the name of the module that builds it and `ids` are its numbers in the catalogue, none for a baseline. A
    subclass without `model` collects what several systems share. The first line of the docstring is the system's title. The
    fields are the settings that the system reads: each has a default value, a docstring and, in its annotation, a range
    (`Range`) and conditions (`When`, `Unless`).

    The value of a setting comes from the first of these that defines it: the user, `VARIANTS`, and then, from the class up
    through its bases, `DATASETS` and the defaults of that class.
    """

    ID: ClassVar[tuple[str, ...]] = ()
    """the system's numbers in the catalogue of systems; empty for a baseline"""
    MONITOR: ClassVar[tuple[str, str]] = ("loss", "min")
    """validation metric that selects the best weights and, in `search`, settings; and whether "min" or "max" is better"""
    BEST_WEIGHTS: ClassVar[bool] = True
    """whether to keep the weights with the best validation metric; otherwise the last weights are kept"""
    BFLOAT16: ClassVar[bool] = True
    """whether bfloat16 is faster than float32 for this system, so that `--dtype auto` chooses it"""
    EXPORT: ClassVar[str] = ""
    """the kind of export, where an application has several with different signatures; the names of the exported and of the served
    model end in it, see `training.app.App.export_name`"""
    DATASETS: ClassVar[dict[str, dict[str, Any]]] = {}
    """defaults by data set; the key is a plain name ("babi") or includes a configuration ("babi/en-10k")"""
    VARIANTS: ClassVar[dict[tuple[str, Any], dict[str, Any]]] = {
        ("strategy", "mirrored"): {"xla": False}, ("strategy", "multi_worker"): {"xla": False},
        ("strategy", "tpu"): {"xla": False}}
    """defaults that depend on another setting's value: {(setting, value): {setting: value}}"""
    SPACE: ClassVar[dict[str, tuple]] = {}
    """the search space of `search`: {setting: ("log" or "linear", lowest, highest) or ("choice", value, …)}"""

    model: str = ""
    """the system to train"""

    def __init_subclass__(cls, model=None, ids=(), **kwargs):
        if model is not None:
            cls.model, cls.ID = model, ids
        super().__init_subclass__(**kwargs)

    @classmethod
    def defaults(cls, **given):
        """Returns {setting: default} of this system, which depends on the data set and on other settings in `given`."""
        values, variants, dataset = {}, {}, given.get("dataset") or cls.dataset
        for kind in reversed(cls.__mro__):
            own = vars(kind)
            for name in own.get("__annotations__", {}):
                field = own.get("__dataclass_fields__", {}).get(name)
                if field is not None and field.default_factory is not dataclasses.MISSING:
                    values[name] = field.default_factory()
                elif field is not None and field.default is not dataclasses.MISSING and not name.isupper():
                    values[name] = field.default
            sets = own.get("DATASETS", {})
            values |= sets.get(set_name(dataset), {}) | sets.get(dataset.partition(":")[0], {})
            variants |= own.get("VARIANTS", {})
        for (name, value), following in variants.items():
            if (values | given).get(name) == value:
                values |= {key: each for key, each in following.items() if key in values}
        return values

    @classmethod
    def of(cls, **given):
        """Returns the settings of this system: the given values, and the defaults for the data set for all others.

        Raises:
            UserError: a value is out of range, or a given setting has no effect in combination with the others.
        """
        config = cls(**cls.defaults(**given) | given)
        check(config, given)
        return config

    def shortened(self, share):
        """Returns these settings with 1/`share` of the epochs, for a trial of `search`."""
        return dataclasses.replace(self, epochs=max(1, self.epochs // share))


class Verb(Settings):
    """The settings of a verb of one application; the verb is the class name in snake case, and its title is the docstring."""

    debug: bool = False
    """show the traceback of an error"""


class Experiment(Verb):
    """The settings shared by all experiments, verbs that write a report (`training.reports`) instead of a run."""

    seed: Annotated[int, Range(0, below=2**32)] = 0
    """random seed"""
    runs: Path = "runs"
    """parent folder of the report"""
    name: str | None = None
    """name of the report's folder; None: date, time and verb"""


def title(kind):
    """Returns the first line of the docstring of a system's or verb's class."""
    return inspect.cleandoc(kind.__doc__).splitlines()[0].rstrip(".")


def check(request, given=()):
    """Checks that the values of a dataclass are in the ranges of their annotations, and that all given settings have an effect.

    request: a Config, or the settings of a verb
    given:   names of the settings that the user gave; a setting that differs from its default counts as given too

    Raises:
        UserError: a value is out of range, or a given setting has no effect in combination with the others.
    """
    usual = request.defaults(**dataclasses.asdict(request)) if isinstance(request, Config) else {}
    for name, hint in typing.get_type_hints(type(request), include_extras=True).items():
        value = getattr(request, name)
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Range):
                _check_range(name, value, mark)
            if isinstance(mark, When) and not mark.holds(getattr(request, mark.name)):
                if name in given or value != usual.get(name, value):
                    beside = f"{flag(mark.name)} {getattr(request, mark.name)}"
                    raise UserError(f"{flag(name)} has no effect with {beside}: leave it out")


def _check_range(name, value, allowed):
    if value == ():
        raise UserError(f"{flag(name)} needs at least one value")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not allowed.holds(number):
            raise UserError(f"{flag(name)} must be {allowed}, got {number}")


def owners_of(systems, name):
    """Returns those models of {model: its class} that have a setting with this name."""
    return [model for model, kind in systems.items() if name in {field.name for field in dataclasses.fields(kind)}]


def set_name(dataset):
    """Returns the plain name of a data set, without configuration and version: "babi" for "babi/en-10k:1.0.0"."""
    return dataset.partition("/")[0].partition(":")[0]


def folder_name(name, what):
    """Returns the name of a run's or report's folder: the given name, or else date, time and `what`.

    Raises:
        UserError: it is not a plain folder name.
    """
    name = name or f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{what}"
    if pathlib.Path(name).name != name or name.startswith("."):
        raise UserError(f"--name {name} must be a plain folder name, not a path or a hidden folder")
    return name


def flag(name):
    """Returns the flag of a setting: "--batch-size" for "batch_size"."""
    return "--" + name.replace("_", "-")


def dumps(config):
    """Returns settings as JSON text, which `load` reads."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read(path):
    """Returns the JSON object in a file of settings.

    Raises:
        UserError: the file does not exist or does not contain a JSON object.
    """
    path = paths.expanded(path)
    try:
        with open(path, "rb") as file:  # json finds out which encoding of Unicode the bytes have
            values = json.loads(file.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read settings from {path}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} does not contain a JSON object of settings")
    return values


def load(systems, path):
    """Returns the settings in a JSON file, which names one of `systems`, {model: its class}.

    Raises:
        UserError: the file does not exist, is not a JSON object, or contains settings that are unknown or of the wrong type.
    """
    return of_plain(systems, read(path), path)


def of_plain(systems, values, where):
    """Returns settings from `values` that were read from JSON; `where` names their source in error messages.

    Settings that `values` lacks get the defaults of the system.

    Raises:
        UserError: the system is unknown, or a setting is unknown, of the wrong type or out of range.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} does not contain a JSON object of settings")
    model = values.get("model", next(iter(systems)))
    if not isinstance(model, str) or model not in systems:
        raise UserError(f"{where} names the unknown model {json.dumps(model)[:80]}; choose one of {', '.join(systems)}")
    kind = systems[model]
    hints = typing.get_type_hints(kind)
    settings = [field.name for field in dataclasses.fields(kind)]
    for name, value in values.items():
        if name not in settings:
            owners = owners_of(systems, name)
            near = difflib.get_close_matches(name, settings, 1)
            raise UserError(f"{where} contains the unknown setting {name!r}" + (
                f"; it belongs to {', '.join(owners)}, not to {model}" if owners else
                f"; did you mean {near[0]!r}?" if near else ""))
        if not _fits(value, hints[name]):
            raise UserError(f"{where} sets {name!r} to {json.dumps(value)[:80]}, which is not {_words(hints[name])}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    config = kind(**kind.defaults(**values) | values)
    check(config)
    return config


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
        return f"a list in which each value is {_words(typing.get_args(hint)[0])}"
    return {str: "text", int: "an integer", float: "a number", bool: "true or false", type(None): "null"}[hint]
