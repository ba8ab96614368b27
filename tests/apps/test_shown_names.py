"""What each application shows takes users' names with marks of markup languages in them."""
import types

import numpy as np
import pytest

from apps.dialog import pictures as dialog
from apps.foundations import pictures as foundations
from apps.memory_qa import evaluation as memory_qa_evaluation
from apps.memory_qa import pictures as memory_qa
from training.engine import figures
from training.vision import classification_metrics, classification_pictures, drawing
from training.vision.detection import metrics
from training.vision.detection import pictures as detection_pictures

NAMES = ["$5 [on]", "$10 [/off]", "_<i>a|b\\"]


def test_images_that_are_predicted_wrong_and_confusions():
    images, labels = np.zeros((3, 4, 4, 1)), np.array([1, 2, 0])
    assert classification_pictures.wrong(images, np.eye(3), labels, NAMES).ndim == 3
    assert classification_pictures.confusion(np.eye(3), labels, NAMES).ndim == 3


def test_tables_of_classes(capsys):
    shares = dict.fromkeys(NAMES, 0.5)
    classification_metrics.table({"per_class": shares | {"two\nlines": 0.5}})
    metrics.table({"per_class": shares, "per_class_ap50": shares, "ap": 0.5, "ap50": 0.5})
    memory_qa_evaluation.table({"per_task": shares})
    shown = capsys.readouterr().out
    assert all(shown.count(name) == 3 for name in NAMES) and "two lines  " in shown


@pytest.mark.parametrize("name", [*NAMES, "two\nlines"])
def test_boxes_and_their_titles(name):
    image = np.zeros((64, 64, 3), np.uint8)
    assert drawing.draw(image, [[5, 5, 40, 40]], [name], [0.5]).any()
    found = {"class_ids": [0], "boxes_yxyx": np.array([[5.0, 5, 40, 40]])}
    assert detection_pictures._labelled(image, found, 1.0, [name], "truth")[:24].any()


def test_columns_and_classes_of_a_table():
    model = types.SimpleNamespace(coefficients=lambda: (np.eye(3), None))
    info = types.SimpleNamespace(columns=NAMES, class_names=NAMES)
    assert figures.rendered(foundations._coefficients(model, info)).ndim == 3
    one = types.SimpleNamespace(coefficients=lambda: (np.ones((3, 1)), None))
    assert figures.rendered(foundations._coefficients(one, info)).ndim == 3
    counted = types.SimpleNamespace(counts=[1, 1, 1], means=lambda: np.eye(3), scatter=lambda: np.stack([np.eye(3)] * 3))
    gaussians = foundations._gaussians(counted, NAMES, NAMES)
    assert [text.get_text() for text in gaussians.axes[0].get_legend().get_texts()] == NAMES  # one begins with an underscore
    assert figures.rendered(gaussians).ndim == 3
    line = foundations._line(np.arange(3.0), np.arange(3.0), np.arange(3.0), "$a [b] $c")
    assert figures.rendered(line).ndim == 3


def test_stories():
    example = memory_qa.Example(["costs $5 or $10", "a|b"], "how <much> $1 or $2", "$5", "$6", np.full((2, 2), 0.5))
    assert memory_qa._heat_map(example).shape == (480, 640, 3)
    assert memory_qa._errors(dict.fromkeys(NAMES, 0.5)).ndim == 3
    text = memory_qa._as_table(example)
    assert "&lt;much&gt;" in text and "a\\|b" in text


def test_dialogues():
    info = types.SimpleNamespace(candidates=["$5 or $10?", "$1 $2"])
    heat_map = dialog._heat_map(["costs $1 or $2"], "$3 $4", np.full((2, 1), 0.5), "$5 $6", "$7 $8")
    assert heat_map.shape == (int(80 * (0.22 * 28 + 1.4)), 720, 3)
    assert dialog._bars(np.array([0.1, 0.2]), info, 0).shape == (240, 720, 3)
