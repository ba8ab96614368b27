"""The interface between `training` and an application: systems, verbs, and one module per room."""
import importlib
import importlib.util
import inspect
import re
from typing import Any, NamedTuple, Protocol

from training.config import Config, UserError, Verb


class Rendered(NamedTuple):
    """Everything that is shown after a training."""

    pictures: dict[str, Any] = {}
    """{name: uint8 (n, height, width, 3)}, written as files and shown in TensorBoard"""
    activations: dict[str, Any] = {}
    """{layer: array}, shown as histograms"""
    texts: dict[str, str] = {}
    """{name: Markdown}"""
    embeddings: dict[str, tuple] = {}
    """{name: (vectors, metadata, thumbnails)} for the projector, see `training.engine.tensorboard.projector`"""


class System(Protocol):
    """The module of a system; its name is the `model` of the system's class."""

    def build_model(self, config, spec, steps):
        """Returns a compiled keras.Model for the data that the Spec describes; it will be trained for `steps` steps."""


class Data(Protocol):
    """The room `data`."""

    Info: type
    """what a model needs to know about the data besides its tensors, a subclass of `training.data.spec.Info`"""

    def datasets(self, config):
        """Returns the `training.data.spec.Splits` of config.dataset."""


class Evaluation(Protocol):
    """The room `evaluation`."""

    VALIDATION_METRICS: tuple[str, ...]
    """metrics that are shown after each validation, including those in the MONITOR of the systems; a system may lack some"""

    def evaluate(self, model, batches, config, info, *, resamples=0, validating=False):
        """Returns {metric: JSON-serializable value}, with 95 % confidence intervals from `resamples` bootstrap samples."""

    def table(self, metrics):
        """Prints what `evaluate` returned as a table."""


class Pictures(Protocol):
    """The room `pictures`."""

    def render(self, model, splits, config, info, metrics):
        """Returns the Rendered pictures, activations, texts and embeddings of the test split, whose metrics are known."""


class Serving(Protocol):
    """The room `serving`."""

    PREDICT: str
    """the signature that the verb `predict` calls"""
    KINDS: tuple[str, ...]
    """file name extensions that `predict` reads from a folder, in lower case"""
    BATCH: int
    """rows per batch of `predict`, which limits the memory use"""

    def signatures(self, model, config, info):
        """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""

    def warmup(self, config):
        """Returns {signature: {input name: value}}, one warm-up request per signature."""

    def request(self, name):
        """Returns one input of `predict` as `training.serving.requests.Asked`; name: file name, or the text itself.

        Raises:
            UserError: the input is not valid.
        """

    def present(self, asked, answer, path):
        """Returns the answer to one input as (JSON document, lines to print).

        The document has an "error", which is empty without an error; one with several answers has "rows", each with its own
        "error". Other output is written to `path` with one of the extensions in `training.serving.requests.ENDINGS`.
        """


class Monitors(Protocol):
    """The room `monitors`, which an application may lack."""

    def callbacks(self, model, splits, config, folder):
        """Returns the Keras callbacks that monitor a training; they write to the run's folder."""


class Pretraining(Protocol):
    """The room `pretraining`, which an application may lack."""

    def initialize(self, model, config, folder):
        """Loads the initial weights of a model if they are not random; saves the result of pretraining in `folder`."""


ROOMS = {"data": Data, "evaluation": Evaluation, "pictures": Pictures, "serving": Serving}
"""rooms of every application; each one is a module of its package"""
OPTIONAL_ROOMS = {"monitors": Monitors, "pretraining": Pretraining}


class _Room:
    """A module of an application's package, imported when it is first asked for; None where there is no such module."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, app, owner=None):
        name = f"{app.package}.{self.name}"
        return importlib.import_module(name) if _exists(name) else None


class App:
    """An application. Its rooms are imported on first use, so creating an App does not import TensorFlow.

    task: the name of its package in `apps`

    Raises:
        UserError: there is no such application.
    """

    data: Data = _Room()
    evaluation: Evaluation = _Room()
    pictures: Pictures = _Room()
    serving: Serving = _Room()
    monitors: Monitors | None = _Room()
    pretraining: Pretraining | None = _Room()

    def __init__(self, task):
        self.task, self.package = task, f"apps.{task}"
        if not task.isidentifier() or not _exists(self.package):
            raise UserError(f"there is no application {task!r}: `python -m apps` lists all of them")
        module = importlib.import_module(f"{self.package}.systems")
        declared = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == module.__name__]
        self.systems = {kind.model: kind for kind in declared
                        if issubclass(kind, Config) and "ID" in vars(kind) and not issubclass(kind, Verb)}
        """{model: its class}, the default first"""
        self.verbs = {snake_case(kind.__name__): kind for kind in declared if issubclass(kind, Verb)}
        """{verb: the class of its settings} of the verbs that only this application has"""

    @property
    def doc(self):
        """The docstring of the application's package."""
        return inspect.cleandoc(importlib.import_module(self.package).__doc__)

    def config(self, model=None, **given):
        """Returns the settings of a system (default: the first one), see `training.Config.of`."""
        kind = self.systems[model] if model else next(iter(self.systems.values()))
        return kind.of(**given)

    def export_name(self, system):
        """Returns the folder in `saved_models` for the exports of a system, a class or its settings; it is the name of the served
        model, too.

        Systems with the same signatures share it, so that one can replace another.
        """
        return f"{self.task}-{system.EXPORT}" if system.EXPORT else self.task

    def export_names(self, model=None):
        """Returns {folder in `saved_models`: the first system whose exports are in it}, only that of the given model.

        Raises:
            UserError: there is no such model, or it need not be chosen, since all systems share their exports.
        """
        names = {}
        for system in self.systems.values():
            names.setdefault(self.export_name(system), system.model)
        if model is None:
            return names
        if model not in self.systems:
            raise UserError(f"there is no system {model} in {self.task}; choose one of {', '.join(self.systems)}")
        if len(names) == 1:
            raise UserError(f"--model has no effect: all systems of {self.task} have the same signatures, and the newest export "
                            "is used; leave it out, or choose an export with --export")
        return {self.export_name(self.systems[model]): model}

    def build_model(self, config, spec, steps):
        """Returns the compiled model of a system for the data of a Spec and a training of `steps` steps."""
        return importlib.import_module(f"{self.package}.{config.model}").build_model(config, spec, steps)

    def verb(self, name):
        """Returns the module of a verb that only this application has."""
        inside = f"{self.package}.experiments"
        return importlib.import_module(f"{inside}.{name}" if _exists(inside) else f"{self.package}.{name}")


def snake_case(name):
    """Returns "bias_variance" for "BiasVariance"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _exists(name):
    return importlib.util.find_spec(name) is not None
