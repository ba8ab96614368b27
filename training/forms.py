"""Command lines made from settings: grouped flags whose defaults depend on the system and the data set."""
import ast
import dataclasses
import difflib
import functools
import inspect
import sys
import typing
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from training import config as settings
from training.config import UserError, flag


class Extra(NamedTuple):
    """A flag of one verb that is not a setting of the system."""

    name: str
    hint: Any
    default: Any
    help: str


PRINT_CONFIG = Extra("print_config", bool, False, "print the settings as JSON for --config, and exit")


class Parsed(NamedTuple):
    """The result of parsing a command line."""

    config: settings.Config
    given: set[str]
    """names of the settings that were given on the command line"""
    extras: dict[str, Any]
    """values of the `Extra` flags"""


def parse(systems, arguments, *, program, description, extras=()):
    """Returns the Parsed settings of one of the systems, {model: its class}; the first system is the default.

    `--model`, `--dataset` and `--config FILE` are read first, because they determine the available flags and their defaults.

    Raises:
        UserError: a system, setting or value is unknown or not allowed, or a setting belongs to another system.
        SystemExit: after --help, or if a value is of the wrong type.
    """
    arguments, path = _without_config(arguments)
    texts = _texts(arguments)
    values = settings.read(path) if path else {}
    kind = _system(systems, texts.get("model") or values.get("model"))
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    flags = {name: name.removeprefix("no_") if hints.get(name.removeprefix("no_")) is bool else name for name in texts}
    _check_names(flags.values(), [*names, *(extra.name for extra in extras), "help"], systems, kind)
    if path:
        # a run's name and the wish to resume belong to that run, not to the next one
        known = dataclasses.asdict(settings.of_plain(systems, values | {"model": kind.model}, path))
        known |= dict(name=None, resume=False)
    else:
        deciding = {name: value for name, value in conditions(kind) if _says(texts, name, value)}
        deciding |= {"dataset": texts["dataset"]} if texts.get("dataset") else {}
        known = kind.defaults(**deciding) | deciding
    form = _form(kind, systems, known, hints, extras)
    answer = tyro.cli(form, prog=program, description=description, config=(tyro.conf.OmitArgPrefixes,),
                      args=_with_plain_flags(arguments, {name for name in names if hints[name] is bool}))
    found = {name: value for group in vars(answer).values() for name, value in vars(group).items()}
    given = set(flags.values()) & set(names)
    if path:
        config = kind(**known | {name: found[name] for name in given})
        settings.check(config, given)
    else:
        config = kind.of(**{name: found[name] for name in given})
    return Parsed(config, given, {extra.name: found[extra.name] for extra in extras})


@functools.lru_cache(maxsize=None)
def docs(kind):
    """Returns {field: its docstring as one line} of a dataclass and its bases."""
    found = {}
    for each in reversed(kind.__mro__):
        if dataclasses.is_dataclass(each) and each.__module__ in sys.modules:
            found |= _field_docs(each.__module__).get(each.__name__, {})
    return found


@functools.lru_cache(maxsize=None)
def _field_docs(module):
    """Returns {class: {field: docstring}} from a module's source, since Python keeps no docstrings of fields."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: {first.target.id: " ".join(second.value.value.split()) for first, second in zip(node.body, node.body[1:])
                        if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr)
                        and isinstance(second.value, ast.Constant) and isinstance(second.value.value, str)}
            for node in tree.body if isinstance(node, ast.ClassDef)}


def _without_config(arguments):
    """Returns the arguments without `--config FILE`, and FILE or None."""
    for index, argument in enumerate(arguments):
        name, joined, path = argument.partition("=")
        if name == "--config":
            path = path if joined else "".join(arguments[index + 1:index + 2])
            if not path:
                raise UserError("--config needs a file name")
            return arguments[:index] + arguments[index + (1 if joined else 2):], path
    return arguments, None


def _texts(arguments):
    """Returns {name: the text after its flag, or None} of all flags."""
    found = {}
    for argument, following in zip(arguments, [*arguments[1:], "--"]):
        if argument.startswith("--") and len(argument) > 2:
            name, joined, text = argument[2:].partition("=")
            found[name.replace("-", "_")] = text if joined else None if following.startswith("--") else following
    return found


def _says(texts, name, value):
    """Returns whether the flags give a setting this value; a boolean's flag may stand alone."""
    if value is False and f"no_{name}" in texts:
        return True
    return name in texts and str(value).lower() == str(texts[name] or (True if isinstance(value, bool) else "")).lower()


def conditions(kind):
    """Returns the (setting, value) pairs on which defaults of other settings depend, in the order of their declaration."""
    return dict.fromkeys(pair for each in reversed(kind.__mro__) for pair in vars(each).get("VARIANTS", {}))


def _system(systems, model):
    if model is None:
        return next(iter(systems.values()))
    if model not in systems:
        near = difflib.get_close_matches(str(model), systems, 1)
        raise UserError(f"there is no system {str(model)[:80]!r}" + (
            f"; did you mean {near[0]}?" if near else f"; choose one of {', '.join(systems)}"))
    return systems[model]


def _check_names(flags, names, systems, kind):
    """Refuses a flag that the system lacks, naming the systems that have it or the nearest name."""
    for name in flags:
        if name in names:
            continue
        owners = settings.owners_of(systems, name)
        near = difflib.get_close_matches(name, names, 1)
        raise UserError(f"{flag(name)} is not a setting of {kind.model}" + (
            f"; it belongs to {', '.join(owners)}" if owners else f"; did you mean {flag(near[0])}?" if near else
            "; --help lists all settings"))


def _with_plain_flags(arguments, names):
    """Returns the arguments with `--name True` and `--name=False` of booleans as `--name` and `--no-name`."""
    made, index = [], 0
    while index < len(arguments):
        name, joined, text = arguments[index].partition("=")
        following = text if joined else "".join(arguments[index + 1:index + 2])
        if name.startswith("--") and name[2:].replace("-", "_") in names and following.lower() in ("true", "false"):
            made.append(name if following.lower() == "true" else f"--no-{name[2:]}")
            index += 1 if joined else 2
        else:
            made.append(arguments[index])
            index += 1
    return made


def _form(kind, systems, values, hints, extras):
    """Returns a dataclass of dataclasses, one for each group of settings, whose defaults are the values."""
    group_of = {field.name: group.__name__ for group in settings.GROUPS for field in dataclasses.fields(group)}
    groups = {group.__name__: [] for group in settings.GROUPS}
    groups["Training"].append(_field("model", Literal[tuple(systems)], kind.model, docs(kind)["model"]))
    for name, hint in hints.items():
        if name in values and name != "model":
            groups.setdefault(group_of.get(name, kind.model), []).append(_field(name, hint, values[name], docs(kind)[name]))
    groups["Run"] += [_field(*extra) for extra in extras]
    made = []
    for title, fields in groups.items():
        group = dataclasses.make_dataclass(title, fields, frozen=True)
        group.__doc__ = next((each.__doc__ for each in settings.GROUPS if each.__name__ == title), f"{settings.title(kind)}.")
        made.append((title.lower(), group, dataclasses.field(default=group())))
    return dataclasses.make_dataclass("Settings", made, frozen=True)


def _field(name, hint, value, text):
    return name, Annotated[hint, tyro.conf.arg(help=text)], dataclasses.field(default=value)
