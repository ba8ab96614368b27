"""Settings: declared once by a class for each system, completed for the data set, checked, saved and loaded."""
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
from training.errors import UserError
from training.paths import IsPath, Path

LARGEST_FILE = 1_000_000
"""bytes of a file of settings that are read"""


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a number, or each number of a list, may take; it goes into the annotation of a setting."""

    least: float = -math.inf
    """smallest value that is allowed"""
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
    """A setting has an effect only when the setting `name` has one of these values; it goes into the annotation.

    A value of `dataset` stands for all configurations of that data set: "babi" for "babi/en-10k" too.
    """

    name: str
    values: tuple

    def __init__(self, name, *values):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "values", values)

    def holds(self, value):
        """Returns whether the setting has an effect beside this value of the setting `name`."""
        return value in self.values or (self.name == "dataset" and set_name(value) in self.values)


class Unless(When):
    """A setting has no effect when the setting `name` has one of these values; it goes into the annotation."""

    def holds(self, value):
        """Returns whether the setting has an effect beside this value of the setting `name`."""
        return not super().holds(value)


Positive = Range(above=0)
Count = Range(1)
NotNegative = Range(0)
Fraction = Range(0, below=1)


class Settings(paths.Expanding):
    """The base of all settings: a subclass is a frozen dataclass without saying so.

    An inherited setting gets another default by a plain assignment in the class body, such as `epochs = 20`, which keeps its
    annotation and its docstring.
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
    """folder of data sets that are fetched by hand, one folder per set; for the *_folder sets the folder itself"""
    download: bool = False
    """let TFDS use the network to fetch the data set"""


class Training(Settings):
    """How the system is trained."""

    epochs: Annotated[int, Count] = 10
    """passes over the training split"""
    batch_size: Annotated[int, Count] = 32
    """examples per step, over all replicas"""
    learning_rate: Annotated[float, Positive] = 1e-3
    """peak learning rate of the optimizer"""
    seed: Annotated[int, Range(0, below=2**32)] = 0
    """seed of the initial weights, the order of the examples, augmentation and dropout"""
    dtype: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """precision; auto takes bfloat16 where the hardware multiplies matrices in it and the system gains speed by it"""
    strategy: Literal["default", "mirrored", "multi_worker", "tpu"] = "default"
    """train on one device, on all GPUs of this machine, on the workers that TF_CONFIG or Slurm names, or on a TPU"""
    xla: bool = False
    """compile the train step with XLA; works on one device"""
    steps_per_call: Annotated[int | None, Count] = None
    """steps in the graph between two callbacks; None: about one second's worth"""
    checkpoint_every: Annotated[int, Count] = 200
    """steps between two checkpoints that --resume can continue from"""
    validate_every: Annotated[int, Count] = 1
    """epochs between two validations; the last epoch is always validated"""
    limit_steps: Annotated[int | None, Count] = None
    """stop after this many steps and test on as many batches, for a quick check; None: train to the end"""
    initialize: Annotated[str | None, IsPath()] = None
    """name or folder of a run whose best weights to start from; None: start as the system does"""


class Run(Settings):
    """Where the run and its export go."""

    name: str | None = None
    """name of the run's folder; None: date, time and model"""
    runs: Path = "runs"
    """folder that takes the run"""
    saved_models: Path = "saved_models"
    """folder that takes the export"""
    resume: bool = False
    """continue the newest unfinished run (or the one of --name)"""
    force: bool = False
    """export even if the signature differs from the newest version's"""
    debug: bool = False
    """show the traceback of an error"""


GROUPS = (Data, Training, Run)
"""the settings that all systems share, as --help groups them"""


class Config(Run, Training, Data):
    """The settings of a system; each system of an application is a subclass in the module `systems`, declared with its names:

        class FasterRCNN(Pyramid, model="faster_rcnn", ids=("D5",)): ...

    `model` is the name of the module that builds it and `ids` are its numbers in the catalogue, none for a baseline. A subclass
    without `model` is what several systems share. The first line of the docstring is the system's title. The fields are the
    settings that it reads, with their default values, ranges (`Range`) and conditions (`When`, `Unless`) in the annotations,
    and a docstring each.

    A value is chosen in this order, later ones first: what the user gives, `VARIANTS`, and then from the class up through its
    bases `DATASETS` and the defaults of that class.
    """

    ID: ClassVar[tuple[str, ...]] = ()
    """the system's numbers in the catalogue of systems; empty for a baseline"""
    MONITOR: ClassVar[tuple[str, str]] = ("loss", "min")
    """validation metric that chooses between weights, and settings in `search`; "min" or "max" says which is better"""
    BEST_WEIGHTS: ClassVar[bool] = True
    """whether the weights that validated best count; otherwise the last ones do"""
    BFLOAT16: ClassVar[bool] = True
    """whether bfloat16 is faster than float32 for this system, so that `--dtype auto` takes it"""
    DATASETS: ClassVar[dict[str, dict[str, Any]]] = {}
    """values by data set, by its plain name ("babi") or with a configuration ("babi/en-10k")"""
    VARIANTS: ClassVar[dict[tuple[str, Any], dict[str, Any]]] = {
        ("strategy", "mirrored"): {"xla": False}, ("strategy", "multi_worker"): {"xla": False},
        ("strategy", "tpu"): {"xla": False}}
    """values that follow from another setting's value: {(setting, value): {setting: value}}"""
    SPACE: ClassVar[dict[str, tuple]] = {}
    """what `search` tries: {setting: ("log" or "linear", lowest, highest) or ("choice", value, …)}"""

    model: str = ""
    """the system to train"""

    def __init_subclass__(cls, model=None, ids=(), **kwargs):
        if model is not None:
            cls.model, cls.ID = model, ids
        super().__init_subclass__(**kwargs)

    @classmethod
    def defaults(cls, **given):
        """Returns {setting: value} of this system for the data set, and for whatever else is `given` and others follow."""
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
        """Returns the settings of this system: the given ones, and for the others the values that suit the data set.

        Raises:
            UserError: a value is out of its range, or a given one has no effect beside the others.
        """
        config = cls(**cls.defaults(**given) | given)
        check(config, given)
        return config

    def shortened(self, share):
        """Returns these settings with one part in `share` of the epochs, for a trial of `search`."""
        return dataclasses.replace(self, epochs=max(1, self.epochs // share))


class Verb(Settings):
    """The settings of a verb that only one application has; its name is the class's in snake case, its title the docstring."""

    debug: bool = False
    """show the traceback of an error"""


class Experiment(Verb):
    """Settings that every experiment shares: a verb that leaves a report (`training.reports`) instead of a run."""

    seed: Annotated[int, Range(0, below=2**32)] = 0
    """seed of everything that is drawn at random"""
    runs: Path = "runs"
    """folder that takes the report"""
    name: str | None = None
    """name of the report's folder; None: date, time and verb"""


def title(kind):
    """Returns the first line of the docstring of a system's or verb's class."""
    return inspect.cleandoc(kind.__doc__).splitlines()[0].rstrip(".")


def check(request, given=()):
    """Checks the numbers of a dataclass against the ranges in its annotations, and that its settings have an effect.

    request: a Config, or the settings of a verb
    given:   names of the settings that the user gave; others count as given where they differ from the default

    Raises:
        UserError: a value is out of its range, or a given one has no effect beside the others.
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
        raise UserError(f"{flag(name)} needs one value or more")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not allowed.holds(number):
            raise UserError(f"{flag(name)} must be {allowed}, got {number}")


def owners_of(systems, name):
    """Returns the models, of {model: its class}, that have a setting of this name."""
    return [model for model, kind in systems.items() if name in {field.name for field in dataclasses.fields(kind)}]


def set_name(dataset):
    """Returns the plain name of a data set, without configuration and version: "babi" for "babi/en-10k:1.0.0"."""
    return dataset.partition("/")[0].partition(":")[0]


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
    """Returns the flag of a setting: "--batch-size" for "batch_size"."""
    return "--" + name.replace("_", "-")


def dumps(config):
    """Returns settings as the JSON text that `load` takes."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def read(path):
    """Returns the JSON object in a file of settings.

    Raises:
        UserError: the file is not there or holds no JSON object.
    """
    path = paths.expanded(path)
    try:
        with open(path, "rb") as file:  # json finds out which encoding of Unicode the bytes have
            values = json.loads(file.read(LARGEST_FILE))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read settings from {path}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no JSON object of settings")
    return values


def load(systems, path):
    """Returns the settings in a JSON file; `systems` is {model: its class}, of which the file names one.

    Raises:
        UserError: the file is not there, is no JSON object, or holds settings that the system lacks or of another type.
    """
    return of_plain(systems, read(path), path)


def of_plain(systems, values, where):
    """Returns the settings that came from JSON as `values`; `where` it was is for the sentence of an error.

    Settings that are not among the values get the system's own.

    Raises:
        UserError: the values name no system, or hold settings that it lacks, of another type or out of range.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} holds no JSON object of settings")
    model = values.get("model", next(iter(systems)))
    if not isinstance(model, str) or model not in systems:
        raise UserError(f"{where} has the model {json.dumps(model)[:80]}; there are {', '.join(systems)}")
    kind = systems[model]
    hints = typing.get_type_hints(kind)
    settings = [field.name for field in dataclasses.fields(kind)]
    for name, value in values.items():
        if name not in settings:
            owners = owners_of(systems, name)
            near = difflib.get_close_matches(name, settings, 1)
            raise UserError(f"{where} has the unknown setting {name!r}" + (
                f"; it belongs to {', '.join(owners)}, not to {model}" if owners else
                f"; did you mean {near[0]!r}?" if near else ""))
        if not _fits(value, hints[name]):
            raise UserError(f"{where} has {name!r}: {json.dumps(value)[:80]}, which is not {_words(hints[name])}")
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
        return f"a list, each {_words(typing.get_args(hint)[0])}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}[hint]
