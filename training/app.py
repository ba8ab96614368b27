"""What `training` asks of an application: its systems and verbs, and one module for each of its rooms."""
import importlib
import importlib.util
import inspect
import re
from typing import Any, NamedTuple, Protocol

from training.config import Config, UserError, Verb


class Rendered(NamedTuple):
    """What a person looks at after a training."""

    pictures: dict[str, Any] = {}
    """{name: uint8 (n, height, width, 3)}, written as files and shown in TensorBoard"""
    activations: dict[str, Any] = {}
    """{layer: array}, shown as histograms"""
    texts: dict[str, str] = {}
    """{name: Markdown}"""
    embeddings: dict[str, tuple] = {}
    """{name: (vectors, metadata, thumbnails)} for the projector, see `training.engine.tensorboard.projector`"""


class System(Protocol):
    """The module of a system, named as its class declares `model`."""

    def build_model(self, config, spec, steps):
        """Returns a compiled keras.Model for the data that the Spec describes; it will be trained for `steps` steps."""


class Data(Protocol):
    """The room `data`."""

    Info: type
    """what a model must know of the data beside its tensors, a subclass of `training.data.spec.Info`"""

    def datasets(self, config):
        """Returns the `training.data.spec.Splits` of config.dataset."""


class Evaluation(Protocol):
    """The room `evaluation`."""

    VALIDATION_METRICS: tuple[str, ...]
    """metrics that are shown after each validation, those that systems name in MONITOR among them"""

    def evaluate(self, model, batches, config, info, *, resamples=0, validating=False):
        """Returns {metric: number, or what JSON takes}, with 95 % intervals by `resamples` bootstrap samples."""

    def table(self, metrics):
        """Prints what `evaluate` returned as a table."""


class Pictures(Protocol):
    """The room `pictures`."""

    def render(self, model, splits, config, info, metrics):
        """Returns the Rendered pictures, activations, texts and embeddings of the test split, whose metrics are known."""


class Serving(Protocol):
    """The room `serving`."""

    PREDICT: str
    """the signature that the verb `predict` asks"""
    KINDS: tuple[str, ...]
    """endings of the files that `predict` takes from a folder, in lower case"""
    BATCH: int
    """rows that `predict` asks for at once, which bounds its memory"""

    def signatures(self, model, config, info):
        """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""

    def warmup(self, config):
        """Returns {signature: {input name: value}}, a request for each."""

    def request(self, name):
        """Returns what one input of `predict` asks, as `training.serving.requests.Asked`; name: of a file, or what was typed.

        Raises:
            UserError: the input is refused.
        """

    def present(self, asked, answer, path):
        """Returns the answer to one input as (JSON document, lines to print).

        The document has an "error", which is empty where all is well; one with several answers has "rows", each with its own.
        What does not go into the document is written to `path` with an ending, one of `training.serving.requests.ENDINGS`.
        """


class Monitors(Protocol):
    """The room `monitors`, which an application may lack."""

    def callbacks(self, model, splits, config, folder):
        """Returns the Keras callbacks that watch a training; they write into the run's folder."""


class Pretraining(Protocol):
    """The room `pretraining`, which an application may lack."""

    def initialize(self, model, config, folder):
        """Gives a model the weights that it starts from, where these are not random; keeps in `folder` what that took."""


ROOMS = {"data": Data, "evaluation": Evaluation, "pictures": Pictures, "serving": Serving}
"""rooms that every application has, each a module of its package"""
OPTIONAL_ROOMS = {"monitors": Monitors, "pretraining": Pretraining}


class _Room:
    """A module of an application's package, imported when it is first asked for; None where there is no such module."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, app, owner=None):
        name = f"{app.package}.{self.name}"
        return importlib.import_module(name) if _exists(name) else None


class App:
    """An application, whose rooms are imported when they are first asked for; making one imports no TensorFlow.

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
            raise UserError(f"there is no application {task!r}: python -m apps lists them")
        module = importlib.import_module(f"{self.package}.systems")
        declared = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == module.__name__]
        self.systems = {kind.model: kind for kind in declared
                        if issubclass(kind, Config) and "ID" in vars(kind) and not issubclass(kind, Verb)}
        """{model: its class}, the default first"""
        self.verbs = {snake_case(kind.__name__): kind for kind in declared if issubclass(kind, Verb)}
        """{verb: the class of its settings}, those that only this application has"""

    @property
    def doc(self):
        """The docstring of the application's package."""
        return inspect.cleandoc(importlib.import_module(self.package).__doc__)

    def config(self, model=None, **given):
        """Returns the settings of a system, by default of the first one, see `training.Config.of`."""
        kind = self.systems[model] if model else next(iter(self.systems.values()))
        return kind.of(**given)

    def build_model(self, config, spec, steps):
        """Returns the compiled model of a system for data, which will be trained for `steps` steps."""
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
