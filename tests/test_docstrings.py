"""What the documentation in the code promises: it is there, it is complete, and its examples run."""
import doctest
import importlib
import inspect
import pkgutil
import re

import keras
import pytest

import layers
from apps.__main__ import catalogue
from training.app import App

PACKAGES = ("layers", "training", "apps")
LAYERS = [cls for cls in map(vars(layers).get, layers.__all__)
          if inspect.isclass(cls) and issubclass(cls, keras.layers.Layer)]


def modules(package):
    """Yields a package and all modules in it, but for the programs."""
    package = importlib.import_module(package)
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith(".__main__"):
            yield importlib.import_module(found.name)


def undocumented(module):
    """Yields the names of the module, its public functions and classes and their public methods without a docstring.

    A method or property that overrides one of a base class has the base class's documentation, be that Keras's or ours.
    """
    if not module.__doc__:
        yield module.__name__
    for name, member in vars(module).items():
        is_class = inspect.isclass(member)
        if name.startswith("_") or not (is_class or inspect.isroutine(member)) or member.__module__ != module.__name__:
            continue
        if not member.__doc__:
            yield f"{module.__name__}.{name}"
        for method, value in vars(member).items() if is_class else ():
            needed = not method.startswith("_") and (inspect.isroutine(value) or isinstance(value, property))
            if needed and not value.__doc__ and not any(method in vars(base) for base in member.__mro__[1:]):
                yield f"{module.__name__}.{name}.{method}"


def missing_parts(cls):
    """Yields what the docstring of a public layer leaves out: arguments, and whole sections."""
    text = inspect.cleandoc(cls.__doc__ or "")
    arguments = re.search(r"^Args:\n((?: .*\n|\n)+)", text, re.M)
    for name, argument in inspect.signature(cls.__init__).parameters.items():
        if name != "self" and argument.kind is not argument.VAR_KEYWORD:
            if not arguments or not re.search(rf"^ {{4}}{name}: \S", arguments[1], re.M):
                yield f"{name}:"
    source = "".join(inspect.getsource(base) for base in cls.__mro__ if base.__module__.startswith("layers."))
    sections = ["Shape", "Example", "Source"] + ["Raises"] * ("raise " in source)
    masks = "mask" in inspect.signature(cls.call).parameters or "supports_masking = True" in source
    yield from (f"{section}:" for section in sections + ["Mask"] * masks if not re.search(rf"^{section}:", text, re.M))


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_has_a_docstring(package):
    assert not [name for module in modules(package) for name in undocumented(module)]


def test_layers_describe_every_argument_and_have_every_section():
    assert LAYERS and not {cls.__name__: missing for cls in LAYERS if (missing := list(missing_parts(cls)))}


def test_every_layer_has_an_example():
    assert not [cls.__name__ for cls in LAYERS if not doctest.DocTestParser().get_examples(cls.__doc__ or "")]


def ran(module):
    """Runs the examples of a module, and returns (how many lines there were, what failed)."""
    report, runner = [], doctest.DocTestRunner()
    attempted = sum(runner.run(example, out=report.append).attempted
                    for example in doctest.DocTestFinder().find(module, globs={}))  # an example imports what it needs
    return attempted, "".join(report) if runner.failures else ""


def test_examples_of_the_layers_run_as_shown():
    found = [ran(module) for module in modules("layers")]
    assert not "".join(report for _, report in found)
    assert sum(attempted for attempted, _ in found) >= len(LAYERS), "the examples were not found"


@pytest.mark.parametrize("task", catalogue())
def test_every_system_can_be_built_in_a_notebook(task):
    """Its module, or the one that its network is from, has an example without settings, which runs as shown."""
    for name in App(task).systems:
        module = importlib.import_module(f"apps.{task}.{name}")
        networks = {kind.__module__ for kind in vars(module).values() if inspect.isclass(kind) and issubclass(kind, keras.Model)}
        found = [ran(importlib.import_module(source)) for source in sorted({module.__name__, *networks})]
        assert not "".join(report for _, report in found)
        assert max(attempted for attempted, _ in found) >= 2, f"{name} has no example"
