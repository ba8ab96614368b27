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


def name_of(path):
    return str(path.relative_to(ROOT))


def trees():
    """Yields (path, its syntax tree) of every source file."""
    for path in SOURCES:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_there_is_something_to_check():
    assert TASKS and {path.relative_to(ROOT).parts[0] for path in SOURCES} == set(PACKAGES)


def test_arrows_point_one_way():
    wrong = []
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        allowed = {"layers": {"layers"}, "training": {"training", "layers"}, "apps": set(PACKAGES)}[parts[0]]
        for name in imports(path):
            package = name.split(".")[0]
            if package in PACKAGES and package not in allowed:
                wrong.append(f"{name_of(path)} imports {name}")
            if parts[0] == "apps" and len(parts) > 2 and package == "apps" and name.split(".")[1] != parts[1]:
                wrong.append(f"{name_of(path)} imports another application: {name}")
    assert not wrong


def test_the_engine_knows_no_modality():
    allowed = re.compile(r"training\.(engine|config|doctor)(\.|$)")
    wrong = [f"{name_of(path)} imports {name}" for path in sorted(ROOT.glob("training/engine/*.py")) for name in imports(path)
             if name.split(".")[0] in PACKAGES and not allowed.match(name)]
    assert not wrong


def test_imports_are_of_the_house_style():
    wrong = []
    for path in PYTHON:
        for name in imports(path):
            if name.split(".")[0] in {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "joblib", "marshal"}:
                wrong.append(f"{name_of(path)} imports {name}, which runs code that it reads")
            if name == "keras.layers" or name.startswith("keras.layers."):
                wrong.append(f"{name_of(path)}: write keras.layers.Dense")
            if name.endswith(".*"):
                wrong.append(f"{name_of(path)} has a star import")
            if name == "tensorflow.keras" or name.startswith("tensorflow.keras."):
                wrong.append(f"{name_of(path)}: import keras")
    assert not wrong


def test_arrays_are_never_unpickled():
    wrong = [f"{name_of(path)}:{node.value.lineno}" for path, tree in trees() for node in ast.walk(tree)
             if isinstance(node, ast.keyword) and node.arg == "allow_pickle"
             and not (isinstance(node.value, ast.Constant) and node.value.value is False)]
    assert not wrong


def test_names_say_what_is_inside():
    wrong = []
    for path in PYTHON:
        wrong += [name_of(path) for part in path.relative_to(ROOT).with_suffix("").parts if FORBIDDEN_NAMES.search(part.replace("_", " "))]
        wrong += [f"{name_of(path)}: {node.name}" for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                  if isinstance(node, ast.ClassDef) and FORBIDDEN_NAMES.search(node.name)]
    assert not wrong


def test_public_things_have_docstrings():
    wrong = []
    for path, tree in trees():
        if path.name == "__main__.py" and len(path.relative_to(ROOT).parts) == 3:
            if len(path.read_text(encoding="utf-8").strip().splitlines()) > 6:
                wrong.append(f"{name_of(path)} does more than to parse and run")
        elif not ast.get_docstring(tree):
            wrong.append(name_of(path))
        wrong += [f"{name_of(path)}: {node.name}" for node in tree.body
                  if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)]
    assert not wrong


def test_files_are_short():
    long = [f"{name_of(path)}: {count} lines" for path in SOURCES if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400]
    assert not long


def test_no_path_of_one_machine():
    wrong = [name_of(path) for path in [*PYTHON, *ROOT.glob("*.md"), *ROOT.glob("docs/*.*")]
             if re.search(r"/(root|home|Users|work|tmp)/[a-z]", path.read_text(encoding="utf-8"))]
    assert not wrong


IN_THE_DATA = ("colour", "centre")
"""words of the features and texts of `digit_scenes`, which stay as they are since they are in prepared data"""


def test_words_are_spelled_as_in_keras():
    """American spelling, and the field's terms, in code and prose alike."""
    british = re.compile(r"(?i)(normalis|initialis|optimis|regularis|standardis|generalis|colour|\bgrey\b|behaviour|neighbour|learnt|centre[ds]?\b|\btrunks?\b)")
    wrong = []
    pages = [path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.py")) if path.name != "CHANGELOG.md"]
    for path in [*SOURCES, *pages, ROOT / "saved_models" / "README.md"]:
        wrong += [f"{name_of(path)}:{number}: {found.group()}" for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
                  if (found := british.search(line)) and not (path.name == "digit_scenes.py" and found.group() in IN_THE_DATA)]
    assert not wrong


def test_every_application_has_its_rooms():
    for task in TASKS:
        folder = ROOT / "apps" / task
        for room in ("__main__", "systems", "data", "evaluation", "pictures", "serving"):
            assert (folder / f"{room}.py").is_file(), f"apps/{task} lacks {room}.py"
        assert f"python -m apps.{task}" in ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))


LIGHT = ["training", "training.app", "training.cli", "training.config", "training.doctor", "training.engine.files", "training.forms",
         "training.pruning", "training.records", "training.runs", "training.serving.requests", "training.tables", "apps.__main__",
         *(f"apps.{task}{room}" for task in TASKS for room in ("", ".systems"))]
"""modules that the command line needs before anything is computed"""


def test_import_takes_no_tensorflow():
    code = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module(name)
    print(name, *{{'tensorflow', 'keras', 'numpy', 'matplotlib'}} & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.stdout.split("\n")[:-1], ended.returncode) == (LIGHT, 0), ended.stderr


@pytest.mark.parametrize("arguments", [["apps"], ["apps", "runs"], ["apps", "nothing"],
                                       *([f"apps.{task}", flag] for task in TASKS for flag in ("--help", "--nothing")),
                                       *(["apps.detection", *words.split()] for words in (
                                           "--model retinanet --dataset bccd --help", "--print-config",
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
