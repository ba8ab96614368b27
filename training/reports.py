"""Reports of experiments: numbers as JSON, pictures as files and in TensorBoard, and texts in TensorBoard."""
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
    """Numbers of a long computation, saved as JSON after each new one; the same command then continues where it stopped.

    path:     path of the file
    settings: the settings that the numbers depend on, as JSON-serializable values

    Raises:
        UserError: the file belongs to other settings or cannot be read.
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
            raise UserError(f"cannot read {self.path} ({error!r}): delete it or choose another --name") from None
        if not is_alike:
            raise UserError(f"{self.path} belongs to other settings: delete it or choose another --name")

    def __setitem__(self, key, numbers):
        super().__setitem__(key, numbers)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self.path, json.dumps({"settings": self.settings, "rows": self}, indent=2) + "\n")


def rows_of(folder, request):
    """Returns the Rows of an experiment; `keep` removes their file."""
    return Rows(folder / _ROWS, _settings(request))


def folder_of(app, verb, request):
    """Returns the folder runs/<app>/<name> of an experiment. `keep` creates it, so a failed experiment leaves at most its rows.

    Raises:
        UserError: the folder is not empty, or its name is not a plain folder name.
    """
    folder = pathlib.Path(request.runs) / app.task / settings.folder_name(request.name, verb)
    if folder.exists() and any(_ROWS not in path.name for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty: choose another --name")
    return folder


def keep(folder, verb, request, numbers, figures, texts=None, trials=None):
    """Writes <verb>.json, then pictures/<name>.png and the TensorBoard logs, and prints their paths; returns the numbers.

    Without a --name, the folder gets a number if another experiment has taken the name in the same second. A picture that
    cannot be rendered is reported in one line and does not affect the rest.

    numbers: JSON-serializable dict
    figures: {name: function without arguments that returns a matplotlib figure}
    texts:   {name: Markdown}
    trials:  {name: (settings, metrics)} for TensorBoard's HParams page
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
        with showing.optional(f"TensorBoard's HParams page of {name}", request.debug):
            tensorboard.hparams(folder / name, chosen, found)
    print(f"\nnumbers   {folder / f'{verb}.json'}\npictures  {folder / 'pictures'}")
    return numbers


def _settings(request):
    return {name: value for name, value in dataclasses.asdict(request).items() if name not in _NO_SETTINGS}
