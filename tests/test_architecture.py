"""What the architecture promises of every file, checked on the source itself."""
import ast
import pathlib
import re
import resource
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("apps", "layers", "training")
TASKS = sorted(path.parent.name for path in ROOT.glob("apps/*/__init__.py"))
SOURCES = sorted(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))
PYTHON = SOURCES + sorted([*ROOT.glob("benchmarks/**/*.py"), *ROOT.glob("tests/**/*.py")])
FORBIDDEN_NAMES = re.compile(r"(?i)\b(utils?|common|base|helpers?|managers?)\b|(manager|helper)$")


def imports(path):
    """Yields the dotted name of everything a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ids(path):
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check():
    assert TASKS and {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_arrows_point_one_way(path):
    parts = path.relative_to(ROOT).parts
    allowed = {"layers": {"layers"}, "training": {"training"}, "apps": set(PACKAGES)}[parts[0]]
    for name in imports(path):
        package = name.split(".")[0]
        assert package not in PACKAGES or package in allowed, f"{parts[0]} imports {name}"
        if parts[0] == "apps" and len(parts) > 2 and package == "apps" and name != "apps":
            assert name.split(".")[1] == parts[1], f"an application imports another one: {name}"


def test_the_engine_knows_no_modality():
    for path in ROOT.glob("training/engine/*.py"):
        for name in imports(path):
            assert name.split(".")[0] not in PACKAGES or re.match(r"training\.(engine|config|doctor)\b", name), \
                f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("path", PYTHON, ids=ids)
def test_imports_are_of_the_house_style(path):
    for name in imports(path):
        assert name.split(".")[0] not in {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "joblib", "marshal"}, name
        assert name != "keras.layers" and not name.startswith("keras.layers."), "write keras.layers.Dense"
        assert not name.endswith(".*"), "no star imports"
        assert name != "tensorflow.keras" and not name.startswith("tensorflow.keras."), "import keras"


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_arrays_are_never_unpickled(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False


@pytest.mark.parametrize("path", PYTHON, ids=ids)
def test_names_say_what_is_inside(path):
    for part in path.relative_to(ROOT).with_suffix("").parts:
        assert not FORBIDDEN_NAMES.search(part.replace("_", " ")), part
    classes = [node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    assert not [name for name in classes if FORBIDDEN_NAMES.search(name)]


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_public_things_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name == "__main__.py" and len(path.relative_to(ROOT).parts) == 3:
        assert len(path.read_text(encoding="utf-8").strip().splitlines()) <= 6  # parse, then run
        return
    assert ast.get_docstring(tree)
    assert not [node.name for node in tree.body if isinstance(node, ast.ClassDef)
                and not node.name.startswith("_") and not ast.get_docstring(node)]


@pytest.mark.parametrize("path", PYTHON + [ROOT / "README.md"], ids=ids)
def test_no_path_of_one_machine(path):
    assert not re.search(r"/(root|home|Users|work)/[a-z]", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("task", TASKS)
def test_every_application_has_its_rooms(task):
    folder = ROOT / "apps" / task
    assert (folder / "__main__.py").is_file()
    assert (folder / "data.py").is_file()
    assert f"python -m apps.{task}" in ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", ["training", "training.cli", "training.config", "training.runs", "training.doctor",
                                    "training.engine.files", "training.engine.signals",
                                    "apps.__main__", *(f"apps.{task}" for task in TASKS)])
def test_import_takes_no_tensorflow(module):
    code = f"import sys, {module}; print(sorted({{'tensorflow', 'keras', 'numpy', 'matplotlib'}} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.stdout.strip(), ended.returncode) == ("[]", 0), ended.stderr


@pytest.mark.parametrize("arguments", [["apps"], ["apps", "runs"], ["apps", "nothing"],
                                       *([f"apps.{task}", flag] for task in TASKS for flag in ("--help", "--nothing")),
                                       *(["apps.detection", *words.split()] for words in (
                                           "--name ../x", "--resume --runs nowhere", "--initialize nothing", "evaluate nothing",
                                           "predict missing.png", "predict setup.cfg --server nowhere"))],
                         ids=" ".join)
def test_help_and_errors_come_in_under_a_second(arguments, tmp_path):
    seconds = []
    while not seconds or (min(seconds) >= 1.0 and len(seconds) < 3):  # the first time the files may not be in memory yet
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ended.returncode in (0, 2) and ended.stdout + ended.stderr
        # processor time, not the clock's: other tests may run beside this one
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1.0
