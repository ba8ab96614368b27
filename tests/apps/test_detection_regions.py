"""Properties of the detectors with regions from outside the network, of sliding windows, and of their comparison."""
import json
import types

import numpy as np
import pytest
import tensorflow as tf

import training
from apps.detection import compare, outside_regions, sliding_window
from training import cli, runs
from training.app import App
from training.data.spec import Info, Spec
from training.engine import figures

APP = App("detection")
SMALL = {"fast_rcnn": dict(pyramid_filters=16, head_units=16, regions=12, regions_per_image=8),
         "rcnn": dict(region_size=32, head_units=16, regions=12, regions_per_image=8)}


def built(model, **settings):
    config = APP.config(model, image_size=64, **settings)
    return APP.build_model(config, Spec({}, {}, Info(class_names=["a", "b"])), steps=100)


def targets(objects, regions, ignore=()):
    """Returns the targets of one image with two places for objects, all of class 1, and some regions."""
    boxes, ids = np.zeros((1, 2, 4), np.float32), np.full((1, 2), -1)
    boxes[0, :len(objects)], ids[0, :len(objects)] = np.reshape(objects, (-1, 4)), 1
    is_ignored = np.array([[number in ignore for number in range(2)]])
    return {"boxes_yxyx": tf.constant(boxes), "class_ids": tf.constant(ids, tf.int32), "ignore": tf.constant(is_ignored),
            "regions_yxyx": tf.constant([regions], tf.float32)}


def sampled(objects, regions, ignore=(), least_background=0.0):
    """Returns {box: index of its object} of the regions that are sampled."""
    detector = types.SimpleNamespace(
        least_background=least_background, matcher=outside_regions.layers.BoxMatcher(0.5, 0.5),
        sampler=outside_regions.layers.BalancedSampler(20, 1.0))
    boxes, matches, weights, _ = outside_regions.OutsideRegionDetector._sampled(detector, targets(objects, regions, ignore), False)
    return {tuple(box.astype(int)): match for box, match, weight in zip(boxes.numpy()[0], matches.numpy()[0], weights.numpy()[0]) if weight}


NEAR, FAR, HALF = (0, 0, 20, 24), (40, 40, 60, 60), (0, 0, 20, 60)  # an IoU of 0.83, 0 and 0.33 with the object
OBJECT = (0, 0, 20, 20)


@pytest.mark.parametrize("given, expected", [
    (dict(objects=[OBJECT]), {OBJECT: 0, NEAR: 0, HALF: -1, FAR: -1}),  # the true box joins the regions
    (dict(objects=[OBJECT], least_background=0.1), {OBJECT: 0, NEAR: 0, HALF: -1}),
    (dict(objects=[], least_background=0.1), {NEAR: -1, HALF: -1, FAR: -1}),  # all of an empty image is background
    (dict(objects=[OBJECT], ignore=[0]), {HALF: -1, FAR: -1}),  # a crowd is neither object nor background
])
def test_which_regions_are_objects_and_which_background(given, expected):
    assert sampled(regions=[NEAR, FAR, HALF, (0, 0, 0, 0)], **given) == expected


@pytest.mark.parametrize("model", SMALL)
def test_an_export_finds_the_regions_that_the_data_has(model):
    """So that a system is trained, tested and served with the same regions; and padding is never detected."""
    made = built(model, **SMALL[model])
    images = np.zeros((2, 64, 64, 3), np.uint8)
    images[0, 10:40, 20:35], images[1, 30:60, 5:50] = (250, 30, 40), (20, 200, 60)
    regions = tf.function(made.searched)(tf.constant(images))
    given = tf.function(made.detect)(tf.constant(images), regions)
    found = tf.function(made.detect)(tf.constant(images, tf.float32))
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value)
    assert [10, 20, 40, 35] in regions.numpy()[0].tolist()
    scores, _ = made.class_scores(tf.constant(images), tf.zeros_like(regions))
    assert not scores.numpy().any()
    proposed, order = made.propose(tf.constant(images), regions)
    np.testing.assert_array_equal(proposed, regions)
    assert (np.diff(order.numpy()[0]) <= 0).all() and order.numpy()[0, 0] == 1


@pytest.mark.parametrize("model", SMALL)
def test_images_without_objects_and_with_many_train(model):
    made = built(model, **SMALL[model])
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)), tf.uint8)
    boxes = np.zeros((2, 1000, 4), np.float32)
    boxes[1] = [8, 8, 30, 30]
    ids = np.stack([np.full(1000, -1), np.zeros(1000, int)]).astype("int32")
    regions = tf.constant([[[8, 8, 31, 31], [20, 20, 60, 60]] + [[0, 0, 0, 0]] * 10] * 2, tf.float32)
    made.optimizer.build(made.trainable_variables)
    step = tf.function(made.train_step)
    logs = step(({"image": images, "regions_yxyx": regions}, {
        "boxes_yxyx": tf.constant(boxes), "class_ids": tf.constant(ids), "ignore": tf.zeros((2, 1000), tf.bool)}))
    assert np.isfinite([float(value) for value in logs.values()]).all() and float(logs["class"]) > 0


def test_rcnn_refines_the_boxes_of_good_regions_only():
    made = built("rcnn", **SMALL["rcnn"])
    assert made.least_regressed == 0.6 and made.warp.context == round(32 * 16 / 227)
    images = tf.zeros((1, 64, 64, 3))
    one = (0, 0, 20, 36)  # an IoU of 0.56: an object whose box is not refined
    losses = made.losses(images, targets([OBJECT], [one] * 12), training=False)
    only_true = made.losses(images, targets([OBJECT], [(0, 0, 0, 0)] * 12), training=False)
    assert float(losses["offsets"]) < float(only_true["offsets"]) + 1e-6


def test_windows_tile_the_image_at_every_size_and_shape():
    model = built("sliding_window", filters=8, window_heights=(16, 32), window_ratios=(1.0, 2.0))
    windows = model.windows
    assert model.class_scores(tf.zeros((1, 64, 64, 3)))[0].shape == (1, len(windows), 2)
    sides = np.unique((windows[:, 2:] - windows[:, :2]).round(3), axis=0)
    assert sides.tolist() == [[16, 8], [16, 16], [32, 16], [32, 32]]
    assert windows.min() == 0 and windows.max() == 64


def test_a_window_sees_the_place_that_it_stands_for():
    """Changing the image within one window of the finest size changes its score, and far away it does not."""
    model = built("sliding_window", filters=8, window_heights=(16,), window_ratios=(1.0,))
    images = np.zeros((1, 64, 64, 3), np.float32)
    before = model.class_scores(tf.constant(images))[0].numpy()[0]
    images[0, 36:44, 4:12] = 255
    changed = np.abs(model.class_scores(tf.constant(images))[0].numpy()[0] - before).max(axis=1) > 1e-7
    there = np.flatnonzero((model.windows == [32, 0, 48, 16]).all(axis=1))
    assert changed[there].all() and not changed[np.flatnonzero((model.windows[:, 1] >= 40) & (model.windows[:, 2] <= 20))].any()


def test_resizing_keeps_constants_and_the_middle():
    for side, new in ((64, 16), (16, 64), (7, 7)):
        matrix = sliding_window._resizing(side, new)
        np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose((matrix @ (np.arange(side) + 0.5)).mean(), side / 2, rtol=1e-3)
    np.testing.assert_array_equal(sliding_window._resizing(7, 7), np.eye(7))


def run_folder(parent, name, **results):
    """Writes what `compare` reads of a run before its model."""
    folder = parent / "runs" / "detection" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model": "retinanet", "dataset": results.pop("dataset", "digit_scenes")}))
    (folder / "results.json").write_text(json.dumps({"metrics": results}))
    return name


@pytest.mark.parametrize("arguments, words", [
    ([], "no finished run of detection on digit_scenes"), (["nothing"], "no run nothing"), (["one", "other"], "different data sets"),
    (["bare"], "no ap and ap50"), (["--dataset", "coco"], "no finished run of detection on coco"),
    (["one", "--dataset", "bccd"], "--dataset has no effect")])
def test_what_cannot_be_compared_is_one_sentence(arguments, words, tmp_path, capsys):
    if arguments:
        run_folder(tmp_path, "one", ap=0.5, ap50=0.7)
        run_folder(tmp_path, "other", ap=0.5, ap50=0.7, dataset="bccd")
        run_folder(tmp_path, "bare")
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.detection", ["compare", *arguments, "--runs", str(tmp_path / "runs")])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and words in said and said.count("\n") == 1


def test_the_comparison_measures_and_shows_every_run(tmp_path, monkeypatch, capsys):
    name = run_folder(tmp_path, "$a|b", ap=0.5, ap50=0.75)
    model, config = built("fast_rcnn", **SMALL["fast_rcnn"]), APP.config("fast_rcnn", image_size=64, batch_size=4)
    monkeypatch.setattr(compare.runner, "load", lambda folder: (model, config))
    batch = {"image": tf.zeros((4, 64, 64, 3), tf.uint8), "regions_yxyx": tf.ones((4, 12, 4))}
    app = types.SimpleNamespace(task="detection", systems=APP.systems, data=types.SimpleNamespace(
        datasets=lambda config: types.SimpleNamespace(test=[(batch, {})] * 3)))
    request = APP.verbs["compare"](run=(name,), images=9, runs=str(tmp_path / "runs"), name="report")
    rows = compare.run(app, request)
    assert rows[0]["images_per_second_with_given_regions"] > rows[0]["images_per_second"] > 0
    assert "| $a\\|b | fast_rcnn | 0.500 | 0.750 |" in capsys.readouterr().out
    folder = tmp_path / "runs" / "detection" / "report"
    assert json.loads((folder / "compare.json").read_text())["rows"] == rows and (folder / "pictures" / "compare.png").is_file()
    assert figures.rendered(compare.plotted(rows)).ndim == 3
    assert [found.folder.name for found in runs.every(tmp_path / "runs")] == [name]  # the report is no run


def test_settings_that_make_no_window_are_refused():
    with pytest.raises(training.UserError, match="--window-heights must be 1 or more"):
        APP.config("sliding_window", window_heights=(0,))
