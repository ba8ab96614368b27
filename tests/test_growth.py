"""A new system costs its file, its class in `systems.py`, its tiny settings and its record, and nothing else."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLASS = '''

class ToyPerceptron(Config, model="toy_perceptron", ids=("X1",)):
    """One hidden layer (Nobody, 2026)."""

    units: Annotated[int, Count] = 7
    """of the hidden layer"""
'''
MODULE = '''"""One hidden layer."""
import keras

from training.engine import optimizers


def build_model(config, spec, steps):
    """Returns a compiled network with one hidden layer."""
    image = keras.Input(spec.inputs["image"].shape[1:], dtype="uint8", name="image")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(config.units, "relu", name="features")(x)
    label = keras.layers.Dense(len(spec.info.class_names), dtype="float32", name="label")(x)
    model = keras.Model({"image": image}, {"label": label}, name="toy_perceptron")
    model.compile(optimizers.make("adam", config.learning_rate), metrics={"label": "accuracy"},
                  loss={"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    return model
'''
RECORD = {"app": "classification", "model": "toy_perceptron", "dataset": "digits", "seed": 0, "split": "test",
          "metrics": {"accuracy": 0.5}, "settings": {"model": "toy_perceptron"}}


def ran(folder, *arguments, **environment):
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300,
                           env=os.environ | {"PYTHONPATH": str(folder)} | environment)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    return ended.stdout


def test_a_toy_system_is_added_in_four_places_and_keeps_the_contract(tmp_path):
    for name in ("apps", "layers", "training", "tests", "results", "benchmarks", "setup.cfg", "README.md", "RESULTS.md"):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    (tmp_path / "apps/classification/toy_perceptron.py").write_text(MODULE)
    with open(tmp_path / "apps/classification/systems.py", "a") as file:
        file.write(CLASS)
    table = tmp_path / "tests/apps/tiny.py"
    text = table.read_text()
    line = '        "softmax": dict(image_size=8, batch_size=16),\n'
    assert line in text
    table.write_text(text.replace(line, line + '        "toy_perceptron": dict(image_size=8, batch_size=16),\n'))
    (tmp_path / "results/classification/toy_perceptron-digits.json").write_text(json.dumps(RECORD, indent=1, sort_keys=True) + "\n")

    shown = ran(tmp_path, "-m", "apps")
    assert re.search(r"python -m apps\.classification --model toy_perceptron +X1: One hidden layer \(Nobody, 2026\)\n", shown)
    assert "(default: 7)" in ran(tmp_path, "-m", "apps.classification", "--model", "toy_perceptron", "--help")
    contract = "test_the_cheap_contract and toy_perceptron or every_system_is_in_the_table or typed_rooms and classification"
    said = ran(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/apps/test_apps.py", "-k", contract)
    assert "3 passed" in said
    assert "passed" in ran(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_results.py")
