"""Applications, one per task: `python -m apps.<task>`."""
import importlib.machinery
import pathlib
import sys

_HOME = pathlib.Path(__file__).resolve().parents[1]
_NEIGHBORS = ("layers", "training")


class _Neighbors:
    """Finds the packages next to this one before Python searches the working folder.

    A user's working folder may contain folders or files with these names, such as `training/` with images.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        return importlib.machinery.PathFinder.find_spec(name, [str(_HOME)]) if name in _NEIGHBORS else None


sys.meta_path.insert(0, _Neighbors)
for _name in _NEIGHBORS:
    if _name in sys.modules and pathlib.Path(sys.modules[_name].__file__ or "").resolve().parent != _HOME / _name:
        raise ImportError(f"a package {_name} from outside {_HOME} was imported before apps: import apps first")
