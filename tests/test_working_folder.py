"""Folders and files of the user's own, called as packages of the suite, do not get into the way of `python -m apps`."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# as pip's editable installs do it: asked after Python's own finder, for which a folder without __init__.py is a package
EDITABLE = f"""
import importlib.util, os
class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        place = os.path.join({str(ROOT)!r}, name)
        if name in ("apps", "layers", "training"):
            return importlib.util.spec_from_file_location(name, os.path.join(place, "__init__.py"), submodule_search_locations=[place])
sys.meta_path.append(Editable)
"""
SHOW = "import apps, training, importlib.util; print(training.__file__, importlib.util.find_spec('layers').origin, training.UserError)"


def run(folder, code, **environment):
    """Runs code that sees the working folder first and the installed packages last, but no editable install of this suite."""
    site = [path for path in sys.path if path.endswith("site-packages")]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = f"import sys; sys.path.insert(0, ''); sys.path.extend({site})\n{code}"
    return subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60,
                          env=kept | environment)


@pytest.fixture(params=["folders", "files"])
def crowded(request, tmp_path):
    """A working folder with `training` and `layers` of the user's own."""
    for name in ("training", "layers"):
        if request.param == "folders":
            (tmp_path / name / "cats").mkdir(parents=True)
        else:
            (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    return tmp_path


@pytest.mark.parametrize("install", ["editable", "by path"])
def test_the_packages_of_the_suite_win(crowded, install):
    ended = run(crowded, EDITABLE + SHOW) if install == "editable" else run(crowded, SHOW, PYTHONPATH=str(ROOT))
    assert ended.stdout.split()[:2] == [str(ROOT / "training/__init__.py"), str(ROOT / "layers/__init__.py")], ended.stderr


def test_the_program_runs_there(crowded):
    ended = subprocess.run([sys.executable, "-m", "apps.detection", "--print-config"], cwd=crowded, capture_output=True, text=True,
                           timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ended.returncode == 0 and '"model": "faster_rcnn"' in ended.stdout, ended.stderr


def test_a_package_that_was_imported_before_is_named(tmp_path):
    (tmp_path / "training.py").touch()
    ended = run(tmp_path, "import training, apps", PYTHONPATH=str(ROOT))
    assert ended.returncode == 1 and "ImportError: a package training from outside" in ended.stderr
