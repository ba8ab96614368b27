"""Metrics of class maps against numpy and scikit-learn, and class maps at the size of the original image."""
import types

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from apps.segmentation import original_size, pixel_metrics
from training.data.spec import Info, renumbered

RANDOM = np.random.default_rng(0)
NAMES = ["background", "a", "b", "c", "never"]


def maps(images=6, sides=(13, 17)):
    """Returns true and found classes; the last class never occurs, some pixels are void, and much is right."""
    truth = RANDOM.integers(0, 4, (images, *sides))
    found = np.where(RANDOM.random(truth.shape) < 0.6, truth, RANDOM.integers(0, 5, truth.shape))
    return np.where(RANDOM.random(truth.shape) < 0.1, -1, truth), found


def plain(truth, found):
    """Returns (IoU by class, pixel accuracy) by counting sets."""
    labeled = truth >= 0
    iou = {}
    for k in range(5):
        both, either = ((truth == k) & (found == k) & labeled).sum(), (((truth == k) | (found == k)) & labeled).sum()
        if ((truth == k) & labeled).any():
            iou[k] = both / either
    return iou, (truth == found)[labeled].mean()


def test_metrics_equal_the_oracle_and_scikit_learn():
    truth, found = maps()
    counts = np.stack([pixel_metrics.confusion(t, f, 5) for t, f in zip(truth, found)])
    metrics = pixel_metrics.summary(counts, NAMES)
    iou, accuracy = plain(truth, found)
    assert metrics["per_class"] == {NAMES[k]: pytest.approx(value, abs=1e-12) for k, value in iou.items()}
    assert metrics["mean_iou"] == pytest.approx(np.mean(list(iou.values())), abs=1e-12)
    assert metrics["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    t, f = truth[truth >= 0], found[truth >= 0]
    assert metrics["mean_iou"] == pytest.approx(sklearn.metrics.jaccard_score(t, f, labels=range(4), average="macro"), abs=1e-12)
    assert metrics["weighted_iou"] == pytest.approx(sklearn.metrics.jaccard_score(t, f, average="weighted"), abs=1e-12)
    assert metrics["mean_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(t, f), abs=1e-12)
    np.testing.assert_array_equal(metrics["confusion"], sklearn.metrics.confusion_matrix(t, f, labels=range(5)))
    assert sum(map(sum, metrics["confusion"])) == (truth >= 0).sum()


def test_counts_are_exact_where_float32_is_not():
    counts = np.full((3, 2, 2), 2 ** 24 + 1, np.int64)
    assert pixel_metrics.summary(counts, NAMES[:2])["confusion"][0][0] == 3 * (2 ** 24 + 1)


def test_the_worst_and_the_best_answer():
    truth = RANDOM.integers(0, 3, (2, 9, 8))
    for found, value in ((truth, 1.0), ((truth + 1) % 3, 0.0)):
        metrics = pixel_metrics.summary(np.stack([pixel_metrics.confusion(*pair, 3) for pair in zip(truth, found)]), NAMES[:3])
        assert metrics["mean_iou"] == metrics["pixel_accuracy"] == metrics["mean_accuracy"] == value


def test_without_labels_there_is_nothing_to_measure(capsys):
    metrics = pixel_metrics.summary(np.zeros((4, 5, 5), int), NAMES, resamples=5)
    assert metrics["mean_iou"] == metrics["pixel_accuracy"] == -1 and metrics["per_class"] == {}
    assert metrics["intervals"] == {"mean_iou": [-1, -1], "pixel_accuracy": [-1, -1]}
    pixel_metrics.table(metrics)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["mean", "-"]


def test_intervals_hold_the_figure_and_shrink_with_more_images():
    widths = []
    for images in (10, 160):
        truth, found = maps(images)
        counts = np.stack([pixel_metrics.confusion(*pair, 5) for pair in zip(truth, found)])
        metrics = pixel_metrics.summary(counts, NAMES, resamples=100, seed=1)
        low, high = metrics["intervals"]["mean_iou"]
        assert low < metrics["mean_iou"] < high
        assert pixel_metrics.summary(counts, NAMES, resamples=100, seed=1) == metrics
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


@pytest.mark.parametrize("height, width", [(32, 32), (32, 24), (7, 32), (50, 90), (1, 40), (700, 1), (800, 401), (31, 33)])
def test_maps_of_the_original_size(height, width):
    """A gradient from left to right and one from top to bottom: the classes change where both are equal."""
    from apps.segmentation.labeled_pixels import fitted_sides

    rows, columns = fitted_sides(height, width, 32).numpy()
    y, x = np.meshgrid((np.arange(32) + 0.5) / rows, (np.arange(32) + 0.5) / columns, indexing="ij")
    probabilities = np.stack([y, x, np.full_like(x, -9)], -1).astype("float32")
    probabilities[rows:] = probabilities[:, columns:] = (0, 0, 9)  # outside of the image
    best, score = tf.function(original_size.maps)(tf.constant(probabilities), height, width)
    assert best.shape == score.shape == (height, width) and best.dtype == score.dtype == tf.uint8
    y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    is_clear = np.abs(x - y) > 1.5 / min(rows, columns, height, width)
    np.testing.assert_array_equal(best.numpy()[is_clear], (x > y).astype(int)[is_clear])
    middle = is_clear & (np.maximum(x, y) < 0.9)
    np.testing.assert_allclose(score.numpy()[middle] / 255, np.maximum(x, y)[middle], atol=0.6 / min(rows, columns) + 0.01)


def test_strips_are_one_map(monkeypatch):
    probabilities = tf.nn.softmax(tf.constant(RANDOM.normal(size=(16, 16, 4)).astype("float32") * 3))
    whole = [part.numpy() for part in original_size.maps(probabilities, 53, 41)]
    monkeypatch.setattr(original_size, "_STRIP", 7 * 41)  # 53 rows are 7 strips of 7 and a rest of 4
    for one, other in zip(whole, original_size.maps(probabilities, 53, 41)):
        np.testing.assert_array_equal(one, other)


def test_classes_are_matched_by_name_at_the_original_resolution():
    """The data lists the classes in another order than the model."""
    mask = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)
    targets = {"mask": [tf.io.encode_png(mask[..., None]).numpy()], "class_ids": np.arange(3, dtype="int32")[None],
               "classes": np.array([[[0, 1, -1], [2, 2, 0]]], "int32")}
    batches = tf.data.Dataset.from_tensors(({"image": np.zeros((1, 2, 3, 3), "uint8")}, targets))
    _, changed = next(iter(renumbered(batches, Info(class_names=["a", "b", "c"]), types.SimpleNamespace(class_names=["c", "a", "b"]))))
    changed = {name: value.numpy() for name, value in changed.items()}
    expected = [[1, 2, -1], [0, 0, 1]]
    assert pixel_metrics.truth_of(changed, 0).tolist() == expected and changed["classes"][0].tolist() == expected
