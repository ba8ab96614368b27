"""Removes old checkpoints and exports. Does not import TensorFlow."""
import dataclasses
import re
import shutil

from training import runs
from training.config import UserError
from training.paths import Expanding, Path

_CHECKPOINT = re.compile(r"epoch-(\d+)-step-(\d+)\.npz")


@dataclasses.dataclass(frozen=True)
class Prune(Expanding):
    """Removes old checkpoints and exports. Without --yes, only lists them."""

    keep: int
    """number of newest checkpoints of each run, and of newest exports of each model, to keep; at least 1"""
    app: str | None = None
    """only runs and exports of this application"""
    yes: bool = False
    """remove them instead of only listing them"""
    runs: Path = "runs"
    """parent folder of the runs"""
    saved_models: Path = "saved_models"
    """parent folder of the exports"""
    debug: bool = False
    """show the traceback of an error"""


def prune(request):
    """Removes old checkpoints and exports, or lists what it would remove."""
    if request.keep < 1:
        raise UserError("--keep must be at least 1: the newest version is never removed")
    total = 0
    for run in runs.every(request.runs, request.app):
        old = _checkpoints(run.folder)[request.keep:]
        if not old:
            continue
        with runs.unless_in_use(run.folder) as free:
            if not free:
                print(f"kept    {runs.clean(run.folder)}: in use")
                continue
            total += sum(_removed(path, request.yes) for path in old)
    for versions in _exports(request.saved_models, request.app):
        total += sum(_removed(path, request.yes) for path in versions[request.keep:])
    print(f"{_size(total)} " + ("removed" if request.yes else "can be removed: add --yes to remove them") if total
          else "nothing to remove")


def _checkpoints(folder):
    """Returns a run's checkpoints, the furthest first."""
    found = [(tuple(map(int, match.groups())), path) for path in (folder / "checkpoints").glob("*.npz")
             if (match := _CHECKPOINT.fullmatch(path.name)) and path.is_file() and not path.is_symlink()]
    return [path for _, path in sorted(found, reverse=True)]


def _exports(saved_models, app):
    """Yields the versions of every exported model, the newest first: the folders whose names are numbers."""
    for model in runs.folders(saved_models):
        if app is None or model.name == app or model.name.startswith(f"{app}-"):
            yield sorted((path for path in runs.folders(model) if re.fullmatch(r"[0-9]+", path.name)),
                         key=lambda path: int(path.name), reverse=True)


def _removed(path, really):
    """Removes a file or folder, if `really`, says so, and returns its bytes."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    size = sum(file.stat().st_size for file in files)
    print(f"{'removed' if really else 'old    '} {_size(size):>9}  {path}")
    if really and path.is_file():
        path.unlink()
    elif really:
        # a server that looks meanwhile must not find half a version: only whole numbers are versions to it
        aside = path.with_name(f"removed-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)  # of a removal that was broken off
        shutil.rmtree(path.rename(aside))
    return size


def _size(size):
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
