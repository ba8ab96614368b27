"""A new system costs its file, its class in `systems.py`, its tiny settings and its record, as docs/adding_a_system.md says."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adding_a_system.md").read_text(encoding="utf-8")
COPIED = ("apps", "layers", "training", "tests", "results", "benchmarks", "docs", "setup.cfg", "README.md", "RESULTS.md",
          "saved_models/README.md")
END = '    },\n    "segmentation": {\n'
"""the end of the tiny settings of detectors, before which the new line goes"""
RECORD = {"app": "detection", "model": "toy_detector", "dataset": "digit_scenes", "seed": 0, "split": "test",
          "metrics": {"ap": 0.25, "ap50": 0.5}, "settings": {"model": "toy_detector"}}


def code(path):
    """Returns what the page says to write into a file."""
    found, = re.findall(rf"^<!-- file: {re.escape(path)} -->\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def ran(folder, *arguments):
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=900,
                           env=os.environ | {"PYTHONPATH": str(folder)})
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


def test_the_toy_detector_of_the_page_is_added_in_four_places_and_keeps_the_contract(tmp_path):
    for name in COPIED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copytree(ROOT / name, tmp_path / name) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, tmp_path / name)
    module, systems, tiny = (f"{name}.py" for name in ("apps/detection/toy_detector", "apps/detection/systems", "tests/apps/tiny"))
    (tmp_path / module).write_text(code(module))
    (tmp_path / systems).write_text((tmp_path / systems).read_text() + code(systems))
    text = (tmp_path / tiny).read_text()
    assert END in text
    (tmp_path / tiny).write_text(text.replace(END, code(tiny) + END))
    (tmp_path / "results/detection/toy_detector-digit_scenes.json").write_text(json.dumps(RECORD, indent=1, sort_keys=True) + "\n")
    row, = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with open(tmp_path / "results/tables.toml", "a") as file:
        file.write("\n" + row)

    shown = ran(tmp_path, "-m", "apps")
    assert re.search(r"python -m apps\.detection --model toy_detector +X1: A toy detector with one grid of anchors\n", shown)
    assert "(default: 24)" in ran(tmp_path, "-m", "apps.detection", "--model", "toy_detector", "--help")
    contract = ("test_the_cheap_contract and toy_detector or every_system_is_in_the_table or typed_rooms and detection "
                "or built_in_a_notebook and detection")
    said = ran(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/apps/test_apps.py", "tests/test_docstrings.py", "-k", contract)
    assert "4 passed" in said
    assert ran(tmp_path, "-m", "apps", "runs", "tables") == "written: RESULTS.md, docs/detection.md\n"
    assert "| `toy_detector` | A toy detector with one grid of anchors |" in (tmp_path / "docs/detection.md").read_text()
    assert "passed" in ran(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_results.py")
