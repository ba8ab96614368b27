"""Tables of systems and of their settings as Markdown, read from the classes that declare them. Does not import TensorFlow."""
import dataclasses
import types
import typing
from typing import Annotated, Literal

import tyro

from training import config as settings
from training import forms
from training.app import App
from training.config import Config, Range, Unless, UserError, When

_UNIONS = (types.UnionType, typing.Union)
_POSITIONAL = typing.get_args(tyro.conf.Positional[str])[1]
_OTHER = "-"
"""stands for a data set for which no system has values of its own"""


def table(name):
    """Returns a Markdown table of settings.

    name: "shared" for the settings of all applications, "detection" for those of an application's systems, or "classification
          depths" for those of a verb of one application

    Raises:
        UserError: there is no such application or verb.
    """
    task, _, verb = name.partition(" ")
    if name == "shared":
        return _of_class(Config, [field for group in settings.GROUPS for field in dataclasses.fields(group)])
    app = App(task)
    if not verb:
        return _of_systems(app.systems)
    if verb not in app.verbs:
        raise UserError(f"{task} has no verb {verb}; it has {', '.join(app.verbs) or 'none'}")
    return _of_class(app.verbs[verb], dataclasses.fields(app.verbs[verb]))


def systems(task):
    """Returns a Markdown table of the systems of an application, the default first."""
    return _markdown(("system", "description"), [
        (f"`{model}`" + (" (default)" if number == 0 else ""), settings.title(kind))
        for number, (model, kind) in enumerate(App(task).systems.items())])


def _of_class(kind, fields):
    hints = typing.get_type_hints(kind, include_extras=True)

    def called(name):
        is_positional = _POSITIONAL in getattr(hints[name], "__metadata__", ())
        return f"`{name.upper() if is_positional else settings.flag(name)}`"

    return _markdown(("setting", "default", "allowed", "meaning"), [
        (called(field.name), _default(field), _allowed(hints[field.name]), _meaning(kind, field.name, hints))
        for field in fields if field.name not in ("model", "debug")])


def _of_systems(systems):
    """Returns a row for each setting and each group of systems with the same values; what all applications share is left out.

    Cells that would repeat those of the row above are empty.
    """
    names = dict.fromkeys(field.name for kind in systems.values() for field in dataclasses.fields(kind))
    rows = []
    for name in names:
        alike = {}
        for model, kind in systems.items():
            if name != "model" and name in {field.name for field in dataclasses.fields(kind)}:
                alike.setdefault(_row(kind, name), []).append(model)
        shared = _row(Config, name) if name in {field.name for field in dataclasses.fields(Config)} else None
        above = {}
        for row, models in alike.items():
            if row != shared:
                default, others, allowed, meaning = row
                repeated = dict(setting=f"`{settings.flag(name)}`", allowed=allowed, meaning=meaning)
                new = {key: "" if above.get(key) == text else text for key, text in repeated.items()}
                which = "all" if len(models) == len(systems) else ", ".join(models)
                rows.append((new["setting"], which, default, others, new["allowed"], new["meaning"]))
                above = repeated
    return _markdown(("setting", "systems", "default", "other defaults", "allowed", "meaning"), rows)


def _row(kind, name):
    """Returns (default, other defaults, allowed, meaning) of a system's setting."""
    hints = typing.get_type_hints(kind, include_extras=True)
    usual = kind.defaults(dataset=_OTHER)[name]
    others = {}
    for dataset in _data_sets(kind):
        value = kind.defaults(dataset=dataset)[name]
        if value != usual:
            others.setdefault((_shown(value), "for"), []).append(dataset)
    for setting, value in forms.conditions(kind):
        following = kind.defaults(dataset=_OTHER, **{setting: value})[name]
        if following != usual and name != setting:
            others.setdefault((_shown(following), "with"), []).append(f"`{_given(setting, value)}`")
    other = "; ".join(f"{value} {word} {', '.join(places)}" for (value, word), places in others.items())
    return _value(name, usual), other, _allowed(hints[name]), _meaning(kind, name, hints)


def _data_sets(kind):
    """Returns the data sets for which a system has values of its own, in the order in which they are declared."""
    return dict.fromkeys(name for each in reversed(kind.__mro__) for name in vars(each).get("DATASETS", {}))


def _default(field):
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    return _value(field.name, field.default if field.default is not dataclasses.MISSING else field.default_factory())


def _value(name, value):
    if name == "data_dir":  # the environment decides
        return "`TFDS_DATA_DIR`, else `~/tensorflow_datasets`"
    return _shown(value)


def _shown(value):
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(_shown, value)) or "empty"
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def _given(name, value):
    """Returns the flag that gives a setting a value."""
    if isinstance(value, bool):
        return settings.flag(name if value else f"no_{name}")
    return f"{settings.flag(name)} {_shown(value)}"


def _allowed(hint):
    """Returns what a setting takes, in words."""
    marks = ()
    if typing.get_origin(hint) is Annotated:
        hint, *marks = typing.get_args(hint)
    words, or_none, _ = _kinds(hint).partition(" or none")
    ranges = "".join(f", {mark}" for mark in marks if isinstance(mark, Range))
    return words + ranges + ("," if ranges and or_none else "") + or_none


def _kinds(hint):
    if typing.get_origin(hint) in _UNIONS:
        return " or ".join(_kinds(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is Annotated:
        return _kinds(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"list of {_kinds(typing.get_args(hint)[0])}s"
    return {str: "text", int: "integer", float: "number", bool: "on or off", type(None): "none"}[hint]


def _meaning(kind, name, hints):
    """Returns the docstring of a setting, with the settings beside which alone it has an effect."""
    text = forms.docs(kind)[name]
    for mark in getattr(hints[name], "__metadata__", ()):
        if isinstance(mark, When) and mark.name != "model":
            beside = " or ".join(f"`{_given(mark.name, value)}`" for value in mark.values)
            text += (f" (only without `{settings.flag(mark.name)}`)" if mark.values == (None,) else
                     f" ({'not' if isinstance(mark, Unless) else 'only'} with {beside})")
    return text


def _markdown(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)
