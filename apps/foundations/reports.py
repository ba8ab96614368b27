"""What an experiment leaves: its numbers as JSON, its pictures as files and in TensorBoard."""
import dataclasses
import datetime
import json
import pathlib

import tensorflow as tf

from training import tensorboard
from training.config import UserError
from training.figures import drawn

_NO_SETTINGS = ("data_dir", "runs", "name", "debug")
"""what changes no number"""


def folder_of(request, verb):
    """Returns the new folder runs/foundations/<name> of an experiment.

    Raises:
        UserError: it holds something already, or its name is no plain one.
    """
    name = request.name or f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{verb}"
    if pathlib.Path(name).name != name or name.startswith("."):
        raise UserError(f"--name {name} must be the plain name of a folder")
    folder = pathlib.Path(request.runs) / "foundations" / name
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds something already: choose another --name")
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    return folder


def keep(folder, verb, request, numbers, figures):
    """Writes <verb>.json, pictures/<name>.png and the same pictures for TensorBoard, and says where; returns the numbers.

    numbers: fit for JSON
    figures: {name: matplotlib figure}
    """
    settings = {name: value for name, value in dataclasses.asdict(request).items() if name not in _NO_SETTINGS}
    images = {name: drawn(figure) for name, figure in figures.items()}
    for name, image in images.items():
        tf.io.write_file(str(folder / "pictures" / f"{name}.png"), tf.io.encode_png(image))
    tensorboard.images(folder, images, step=0)
    # not results.json: it is no run that `evaluate` could test
    content = {"app": "foundations", "verb": verb, "settings": settings, **numbers}
    (folder / f"{verb}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"\nnumbers   {folder / f'{verb}.json'}\npictures  {folder / 'pictures'}")
    return numbers
