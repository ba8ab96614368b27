"""What an experiment leaves: its numbers as JSON, its pictures as files and in TensorBoard, its texts in TensorBoard."""
import dataclasses
import json
import pathlib

import tensorflow as tf

from training import config as settings
from training.config import UserError
from training.engine import files, tensorboard
from training.engine.figures import rendered

_NO_SETTINGS = ("data_dir", "runs", "name", "debug")
"""what changes no number"""
_ROWS = "rows.json"
"""in an experiment's folder while it is not done"""


class Rows(dict):
    """Numbers that take long to get, kept as JSON with each that comes, so that the same command goes on where it was stopped.

    path:     of the file
    settings: that the numbers depend on, fit for JSON

    Raises:
        UserError: the file is of other settings, or none of these.
    """

    def __init__(self, path, settings):
        super().__init__()
        self.path, self.settings = pathlib.Path(path), json.loads(json.dumps(settings))
        if not self.path.exists():
            return
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            is_alike = kept["settings"] == self.settings
            self.update(kept["rows"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot read {self.path}: delete it or choose another --name: {error!r}") from None
        if not is_alike:
            raise UserError(f"{self.path} is of other settings: delete it or choose another --name")

    def __setitem__(self, key, numbers):
        super().__setitem__(key, numbers)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path, json.dumps({"settings": self.settings, "rows": self}, indent=2) + "\n")


def rows_of(folder, request):
    """Returns the Rows of an experiment that `keep` ends."""
    return Rows(folder / _ROWS, _settings(request))


def folder_of(app, verb, request):
    """Returns the folder runs/<app>/<name> of an experiment, which `keep` makes: one that fails leaves none, or its rows.

    Raises:
        UserError: it holds something else already, or its name is no plain one.
    """
    folder = pathlib.Path(request.runs) / app.task / settings.folder_name(request.name, verb)
    if folder.exists() and any(_ROWS not in path.name for path in folder.iterdir()):
        raise UserError(f"{folder} holds something already: choose another --name")
    return folder


def keep(folder, verb, request, numbers, figures, texts=None):
    """Writes <verb>.json, pictures/<name>.png and what TensorBoard shows, and says where; returns the numbers.

    numbers: fit for JSON
    figures: {name: matplotlib figure}
    texts:   {name: Markdown}
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    pictures = {name: rendered(figure) for name, figure in figures.items()}
    for name, picture in pictures.items():
        tf.io.write_file(str(folder / "pictures" / f"{name}.png"), tf.io.encode_png(picture))
    tensorboard.images(folder, pictures, step=0)
    tensorboard.texts(folder, texts or {}, step=0)
    # not results.json: it is no run that `evaluate` could test
    content = {"app": folder.parent.name, "verb": verb, "settings": _settings(request), **numbers}
    (folder / f"{verb}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / _ROWS).unlink(missing_ok=True)
    print(f"\nnumbers   {folder / f'{verb}.json'}\npictures  {folder / 'pictures'}")
    return numbers


def _settings(request):
    return {name: value for name, value in dataclasses.asdict(request).items() if name not in _NO_SETTINGS}
