"""What an experiment leaves: its numbers as JSON, its pictures as files and in TensorBoard, its texts in TensorBoard."""
import dataclasses
import json
import pathlib

from training import config as settings
from training import showing
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


def keep(folder, verb, request, numbers, figures, texts=None, trials=None):
    """Writes <verb>.json, then pictures/<name>.png and what TensorBoard shows, and says where; returns the numbers.

    The folder of an experiment without a --name gets a number where another one took the name in the same second. A picture
    that fails is said in one line, and costs nothing of the rest.

    numbers: fit for JSON
    figures: {name: function without arguments that returns a matplotlib figure}
    texts:   {name: Markdown}
    trials:  {name: (settings, figures)} for TensorBoard's page that compares them
    """
    if request.name is None and not (folder / _ROWS).exists():
        folder = files.new_folder(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
    # not results.json: it is no run that `evaluate` could test
    content = {"app": folder.parent.name, "verb": verb, "settings": _settings(request), **numbers}
    files.write_text(folder / f"{verb}.json", json.dumps(content, indent=2) + "\n")
    (folder / _ROWS).unlink(missing_ok=True)
    for name, figure in figures.items():
        with showing.optional(f"the picture {name}", request.debug):
            picture = rendered(figure())
            showing.write_picture(folder / "pictures" / f"{name}.png", picture)
            tensorboard.images(folder, {name: picture}, step=0)
    with showing.optional("TensorBoard's texts", request.debug):
        tensorboard.texts(folder, texts or {}, step=0)
    for name, (chosen, found) in (trials or {}).items():
        with showing.optional(f"TensorBoard's page of settings for {name}", request.debug):
            tensorboard.hparams(folder / name, chosen, found)
    print(f"\nnumbers   {folder / f'{verb}.json'}\npictures  {folder / 'pictures'}")
    return numbers


def _settings(request):
    return {name: value for name, value in dataclasses.asdict(request).items() if name not in _NO_SETTINGS}
