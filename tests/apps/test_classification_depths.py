"""The study of where training dies: its networks against Keras's layers, and what it writes."""
import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.classification import blocks, depths
from training import UserError, cli
from training.app import App

APP = App("classification")
SETTINGS = dict(units=6, epochs=2, seeds=2)
REQUEST = APP.verbs["depths"](depths=(1, 2), **SETTINGS)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(70, 5)).astype("float32")
LABELS = (IMAGES[:, 0] > 0).astype("int64") + 2 * (IMAGES[:, 1] > 0)


@pytest.mark.parametrize("normalization", depths.NORMALIZATIONS)
@pytest.mark.parametrize("activation", depths.ACTIVATIONS)
def test_each_member_is_the_network_that_keras_would_make(activation, normalization):
    networks = depths.Networks(activation, normalization, 2, inputs=5, classes=4, **SETTINGS)
    logits, hidden = networks.logits(tf.constant(IMAGES))
    assert logits.shape == (24, 70, 4) and hidden.shape == (24, 70, 6)
    member = 7
    weights = iter([weight.numpy()[member] for weight in networks.weights])
    x = IMAGES
    for _ in range(2):
        x = x @ next(weights) + next(weights)
        if activation == "maxout":
            x = np.maximum(x[:, :6], x[:, 6:])
        if normalization == "batch":
            x = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5) * next(weights) + next(weights)
        if activation == "prelu":
            x = np.where(x > 0, x, 0.25 * x)
            assert next(weights).tolist() == [[0.25]]
        elif activation != "maxout":
            made = blocks._ACTIVATIONS[activation]("x", (None, 6))
            x = made(x).numpy()
    np.testing.assert_allclose(hidden[member], x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits[member], x @ next(weights) + next(weights), rtol=1e-4, atol=1e-5)
    assert next(weights, None) is None


def test_members_of_one_scheme_and_seed_begin_alike_and_all_others_differ():
    networks = depths.Networks("relu", "none", 1, inputs=5, classes=4, **SETTINGS)
    kernel = networks.weights[0].numpy()
    for (one, a), (other, b) in zip(zip(networks.members, kernel), zip(networks.members[1:], kernel[1:])):
        assert np.array_equal(a, b) == (one[0] == other[0] and one[2] == other[2])
    begin = {}
    for (scheme, _, seed), weight in zip(networks.members, kernel):
        assert np.array_equal(begin.setdefault((scheme, seed), weight), weight)
    assert kernel[0].std() == pytest.approx(0.01, rel=0.4)  # "small" comes first


def test_training_is_momentum_on_each_member_alone():
    """Against one member trained by Keras with the same batches."""
    networks = depths.Networks("tanh", "none", 1, inputs=5, classes=4, **SETTINGS)
    member = networks.members.index(("glorot", 0.03, 1))
    start = [weight.numpy()[member] for weight in networks.weights]
    networks.train((IMAGES, LABELS), (IMAGES, LABELS))
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(4)])
    model.set_weights([weight if index % 2 == 0 else weight[0] for index, weight in enumerate(start)])
    model.compile(keras.optimizers.SGD(0.03, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(0)
    for _ in range(SETTINGS["epochs"]):
        for rows in random.permutation(70)[:64].reshape(2, 32):
            model.train_on_batch(IMAGES[rows], LABELS[rows])
    for ours, theirs in zip(networks.weights, model.get_weights()):
        np.testing.assert_allclose(ours.numpy()[member].reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5)


def test_a_deep_sigmoid_network_dies_and_batch_normalization_revives_it():
    labels = LABELS % 2
    found = {kind: depths.Networks("sigmoid", kind, 5, 5, 2, epochs=40, seeds=1, units=16).train((IMAGES, labels), (IMAGES, labels))["glorot"]
             for kind in depths.NORMALIZATIONS}
    assert found["none"]["loss"] > 0.6 and found["batch"]["loss"] < 0.4
    assert found["none"]["std"] < 0.1 < found["batch"]["std"]


def test_the_study_is_rendered_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(depths, "ACTIVATIONS", ("relu", "elu"))
    request = dataclasses.replace(REQUEST, runs=str(tmp_path), epochs=1, seeds=1)
    rows = depths.run(APP, request)
    assert len(rows) == 2 * 2 * 2 * 4
    folder = tmp_path / "classification" / "depths"
    kept = json.loads((folder / "depths.json").read_text())
    assert len(kept["rows"]) == 32 and set(kept["rows"][0]) == {*depths._KEYS, "accuracy", "loss", "std"}
    picture = tf.io.decode_png((folder / "pictures" / "depths.png").read_bytes())
    assert picture.shape[1] > 600 and list(folder.glob("events*"))
    said = capsys.readouterr().out
    assert said.count("| relu |") == 4 and "2 layers, batch norm" in said


@pytest.mark.parametrize("flags, words", [
    (["--depths", "0", "2"], "--depths must be 1 or more, got 0"), (["--units", "0"], "--units must be 1 or more, got 0"),
    (["--epochs", "0"], "--epochs must be 1 or more, got 0"), (["--seeds", "0"], "--seeds must be 1 or more, got 0"),
    (["--depths"], "--depths needs at least one value")])
def test_what_makes_no_network_is_refused(flags, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.classification", ["depths", *flags])
    assert stopped.value.code == 2 and capsys.readouterr().err == f"error: {words}\n"


def test_the_study_takes_sets_that_are_fetched_by_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="elsewhere"):
        depths.run(APP, dataclasses.replace(
            REQUEST, dataset="image_folder", manual_dir=str(tmp_path / "elsewhere"), data_dir=str(tmp_path / "data")))
