"""`--initialize` with the run of another application: its backbone, or one clear sentence."""
import contextlib
import io

import keras
import numpy as np
import pytest

import training
from training import cli, initial_backbone, run
from training.app import App

TINY = {
    "classification": dict(width=32, blocks=2, image_size=16, batch_size=16),
    "localization": dict(image_size=64, batch_size=8, backbone="small", hidden_units=8, stride=16, dataset="digit_scenes/one"),
    "detection": dict(image_size=64, batch_size=4, pyramid_filters=8, head_units=8, regions_per_image=8, proposals=8)}
KEPT = ("stem", "stage1_block1_convolution1", "stage1_block1_shortcut")
"""convolutions in which the classifier of TINY differs from the detectors: those that the stem's channels enter"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def config(task, folder, **changes):
    return App(task).config(**TINY[task] | dict(limit_steps=1, runs=str(folder), saved_models=str(folder / "saved"), name="tiny") | changes)


def finished(task, folder, **changes):
    """Returns (folder of a run of one step, what it printed)."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run.train(App(task), config(task, folder, **changes))
    return folder / task / changes.get("name", "tiny"), said.getvalue()


@pytest.fixture(scope="module")
def classifier(folder):
    return finished("classification", folder)[0]


def built(task, folder, **changes):
    """Returns (app, its untrained model, settings)."""
    resolved = config(task, folder, **changes)
    splits = App(task).data.datasets(resolved)
    return App(task), App(task).build_model(resolved, splits.spec, 10), resolved


def weights_of(model):
    return {layer.name: [keras.ops.convert_to_numpy(weight) for weight in layer.weights]
            for layer in model._flatten_layers(include_self=False) if layer.name.startswith(("stem", "stage")) and layer.weights}


@pytest.mark.parametrize("task", ["localization", "detection"])
def test_a_classifier_starts_a_localizer_and_a_detector(task, folder, classifier, capsys):
    """Convolutions and statistics are equal bit for bit where the shapes fit; the others stay as they were."""
    source = weights_of(training.load(classifier)[0])
    app, model, resolved = built(task, folder, initialize=str(classifier), name="other")
    before = weights_of(model)
    run.initialize(app, model, resolved, folder)
    after = weights_of(model)
    assert "starting from the backbone of" in (said := capsys.readouterr().out) and ", ".join(KEPT) in said
    for name, values in after.items():
        expected = before if name.removesuffix("_normalization") in KEPT else source
        for one, other in zip(values, expected[name], strict=True):
            np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for name in after for one, other in zip(after[name], before[name]))


def test_a_localizer_starts_a_detector_from_the_command_line(folder, capsys):
    source, _ = finished("localization", folder)
    _, said = finished("detection", folder, initialize=str(source), name="second")
    line, = [line for line in said.splitlines() if line.startswith("starting from")]
    assert line.endswith("(localization localizer): 14 of 14 convolutions")


def refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(*arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    return said


def test_another_width_is_refused_with_both_shapes(folder, classifier):
    app, model, resolved = built("detection", folder, initialize=str(finished("classification", folder, name="narrow", width=4)[0]))
    with pytest.raises(training.UserError, match=r"its stem has the shape \(3, 3, 1, 4\), and this network needs \(3, 3, 3, 24\)"):
        run.initialize(app, model, resolved, folder)


def test_networks_without_a_backbone_are_refused(folder, classifier):
    model, plain = training.load(classifier)[0], keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(training.UserError, match="this system has no backbone .* not NAME"):
        initial_backbone.take(plain, model, "NAME")
    with pytest.raises(training.UserError, match="NAME has no backbone to start from"):
        initial_backbone.take(model, plain, "NAME")


def test_a_normalization_is_not_taken_without_its_convolution():
    """Its statistics would be those of other features."""
    def network(channels):
        image = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(channels, 3, name="stem")(image)
        x = keras.layers.Conv2D(8, 3, name="stage1_block1_convolution1")(x)
        x = keras.layers.BatchNormalization(name="stage1_block1_convolution1_normalization")(x)
        return keras.Model(image, keras.layers.Conv2D(4, 3, name="stage1_block1_convolution2")(x))

    wide, narrow = network(5), network(6)
    wide.get_layer("stage1_block1_convolution1_normalization").gamma.assign(np.arange(8.0))
    assert initial_backbone.take(narrow, wide, "") == (["stage1_block1_convolution2"], ["stem", "stage1_block1_convolution1"])
    assert (narrow.get_layer("stage1_block1_convolution1_normalization").gamma.numpy() == 1).all()


def test_the_name_of_another_applications_run_is_no_name_here(folder, classifier, capsys):
    said = refused(["apps.localization", ["--runs", str(folder), "--initialize", "narrow"]], capsys)
    assert f"give its folder: --initialize {folder / 'classification' / 'narrow'}" in said


def test_precision_is_the_new_networks(folder, classifier):
    app, model, resolved = built("localization", folder, initialize=str(classifier))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run.initialize(app, model, resolved, folder)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
