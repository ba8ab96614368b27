"""What an experiment leaves: its numbers as JSON, its pictures as files and in TensorBoard, its texts in TensorBoard."""
import dataclasses
import json
import pathlib

import tensorflow as tf

from training import config as settings
from training import tensorboard
from training.config import UserError
from training.figures import drawn

_NO_SETTINGS = ("data_dir", "runs", "name", "debug")
"""what changes no number"""


def folder_of(app, verb, request):
    """Returns the folder runs/<app>/<name> of an experiment, which `keep` makes: one that fails leaves none.

    Raises:
        UserError: it holds something already, or its name is no plain one.
    """
    folder = pathlib.Path(request.runs) / app.__name__.rpartition(".")[2] / settings.folder_name(request.name, verb)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds something already: choose another --name")
    return folder


def keep(folder, verb, request, numbers, figures, texts=None):
    """Writes <verb>.json, pictures/<name>.png and what TensorBoard shows, and says where; returns the numbers.

    numbers: fit for JSON
    figures: {name: matplotlib figure}
    texts:   {name: Markdown}
    """
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    pictures = {name: drawn(figure) for name, figure in figures.items()}
    for name, picture in pictures.items():
        tf.io.write_file(str(folder / "pictures" / f"{name}.png"), tf.io.encode_png(picture))
    tensorboard.images(folder, pictures, step=0)
    tensorboard.texts(folder, texts or {}, step=0)
    # not results.json: it is no run that `evaluate` could test
    content = {"app": folder.parent.name, "verb": verb, "settings": {
        name: value for name, value in dataclasses.asdict(request).items() if name not in _NO_SETTINGS}, **numbers}
    (folder / f"{verb}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"\nnumbers   {folder / f'{verb}.json'}\npictures  {folder / 'pictures'}")
    return numbers
