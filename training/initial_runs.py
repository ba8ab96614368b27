"""The run that a training starts from, as `--initialize` names it. Importing this module does not import TensorFlow."""
import pathlib

from training import runs
from training.app import App
from training.errors import UserError


def weights(task, config):
    """Returns the file of the weights that `--initialize` names: by the name of a run of this application, or by a folder.

    Raises:
        UserError: there is no such run, or it has no weights yet.
    """
    try:
        found = runs.find(config.initialize, config.runs, task)
    except UserError:
        others = [run.folder for run in runs.every(config.runs) if run.folder.name == config.initialize]
        if not others:
            raise
        raise UserError(f"there is no run {config.initialize} of {task} in {config.runs}; to start from the backbone of another "
                        f"application's run, give its folder: --initialize {others[0]}") from None
    return runs.weights(found.folder)


def task_of(folder, usual):
    """Returns the application whose run is in this folder: the name of the folder above, or `usual` if that is none."""
    name = pathlib.Path(folder).resolve().parent.name
    try:
        return App(name).task
    except UserError:
        return usual
