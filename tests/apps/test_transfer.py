"""Two tasks from one set, what learns in which system, and where the backbone's weights come from."""
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.transfer import backbone, data, evaluation, network, pretraining, regimes
from training import UserError, cli, reports, run
from training import config as settings
from training.app import App
from training.data.spec import load_spec, plain_spec, save_spec
from training.engine import loop

APP = App("transfer")


def resolved(model="all_layers", **changes):
    width = {} if changes.get("backbone", "small") != "small" else dict(width=4)
    return APP.config(model, **width | dict(batch_size=16, image_size=8, augment=False) | changes)


def built(config):
    splits = data.datasets(config)
    keras.utils.set_random_seed(0)
    return APP.build_model(config, splits.spec, steps=10), splits


def whole(batches):
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches.as_numpy_iterator())


def test_both_halves_of_a_sets_classes_are_tasks_of_their_own():
    target, source = data.datasets(resolved(examples=None)).spec.info, data.source(resolved()).spec.info
    assert source.class_names == ["0", "1", "2", "3", "4"] and target.class_names == ["5", "6", "7", "8", "9"]
    assert target.mean == source.mean and target.std == source.std
    inputs, targets = whole(data.datasets(resolved()).test)
    digits = classification_test_set()
    np.testing.assert_array_equal(inputs["image"], digits[0]["image"][digits[1]["label"] >= 5])
    np.testing.assert_array_equal(targets["label"], digits[1]["label"][digits[1]["label"] >= 5] - 5)


def classification_test_set():
    app = App("classification")
    return whole(app.data.datasets(app.config(image_size=8)).test)


def test_another_source_keeps_all_classes_of_both(tmp_path):
    config = resolved(source="digits", dataset="digits")
    other = dataclasses.replace(config, source="digits:1.0.0")  # another name, as another set has
    assert len(data.datasets(other).spec.info.class_names) == len(data.source(other).spec.info.class_names) == 10


def test_few_images_are_of_every_class_and_more_of_them_hold_the_few():
    def images(examples, seed=0):
        inputs, targets = whole(data.datasets(resolved(examples=examples, seed=seed)).train(0, 0, tf.distribute.InputContext()))
        found = {image.tobytes(): int(label) for image, label in zip(inputs["image"], targets["label"])}
        assert np.bincount(list(found.values()), minlength=5).tolist() == [examples] * 5
        return set(found)

    assert images(2) < images(5) and images(2) != images(2, seed=1)


def test_an_epoch_over_few_images_has_each_about_equally_often():
    rows = data._repeated(7, resolved())
    counts = np.bincount(rows(0).ravel(), minlength=7)
    assert rows(0).shape == (62, 16) and counts.min() >= counts.max() - 1
    assert not np.array_equal(rows(0), rows(1)) and np.array_equal(rows(1), data._repeated(7, resolved())(1))


def test_a_batch_of_both_tasks_has_as_many_of_each_and_the_loss_is_the_sum_of_both():
    config = resolved("multi_task", examples=3)
    model, splits = built(config)
    inputs, targets = next(iter(splits.train(0, 0, tf.distribute.InputContext())))
    of_target, of_source = targets["label"].numpy() >= 0, targets["source_label"].numpy() >= 0
    assert (of_target != of_source).all() and of_target.tolist() == [True, False] * 8
    logits = model(inputs)
    expected = sum(
        float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets[name][rows], logits[name][rows])))
        for name, rows in (("label", of_target), ("source_label", of_source)))
    assert float(model.compute_loss(inputs, targets, logits)) == pytest.approx(expected, rel=1e-5)


def test_both_tasks_are_evaluated_each_on_its_own_images():
    config = resolved("multi_task")
    model, splits = built(config)
    metrics = evaluation.evaluate(model, splits.test, config, splits.spec.info)
    inputs, targets = whole(splits.test)
    logits = model(inputs, training=False)
    for name, key in (("label", "accuracy"), ("source_label", "source_accuracy")):
        rows = targets[name] >= 0
        assert metrics[key] == pytest.approx((logits[name].numpy().argmax(axis=1) == targets[name])[rows].mean())
    assert sum(map(sum, metrics["confusion"])) == (targets["label"] >= 0).sum()


@pytest.mark.parametrize(("model", "changes", "learning"), [
    ("all_layers", {}, None), ("higher_layers", {"higher": 3}, 3), ("higher_layers", {"higher": 1}, 1), ("classifier_only", {}, 0),
    ("scratch", {}, None), ("multi_task", {}, None)])
def test_only_what_should_learn_does(model, changes, learning):
    built_model, splits = built(resolved(model, **changes))
    below = built_model.get_layer("backbone")
    before = {weight.path: weight.numpy() for weight in below.weights}
    loop.fit(built_model, splits.train, epochs=1, limit_steps=5)
    changed = [weight.path for weight in below.weights if not np.array_equal(before[weight.path], weight.numpy())]
    kernels = [path for path in before if path.endswith("kernel")]
    expected = kernels if learning is None else kernels[len(kernels) - learning:]
    assert [path for path in changed if path.endswith("kernel")] == expected
    first = list(before).index(expected[0]) if expected else len(before)
    assert set(changed) == set(list(before)[first:])  # statistics of batch normalization too


def test_pretraining_is_done_once_and_gives_the_backbone_its_weights(tmp_path, monkeypatch):
    config = resolved()
    source, _ = built(resolved("scratch"))
    monkeypatch.setattr(pretraining, "on_source", lambda config, watching: (source, None))
    model, again = built(config)[0], built(config)[0]
    for weight in source.get_layer("backbone").weights:
        weight.assign(weight + 1)
    pretraining.initialize(model, config, tmp_path)
    monkeypatch.setattr(pretraining, "on_source", None)
    pretraining.initialize(again, config, tmp_path)
    weights = [one.get_layer("backbone").get_weights() for one in (source, model, again)]
    for first, second, third in zip(*weights, strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)


def kept(app, folder, config):
    """Leaves in a folder what a finished run keeps of an untrained model."""
    folder.mkdir(parents=True)
    spec = app.data.datasets(config).spec
    (folder / "config.json").write_text(settings.dumps(config))
    save_spec(spec, 1, folder / "spec.json")
    app.build_model(config, spec, 1).save_weights(folder / "last.weights.h5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs of a classifier, a detector, a memory network and an ensemble."""
    runs = tmp_path_factory.mktemp("trained") / "runs"
    for name, given in (
            ("classification/grey", dict(model="vgg16", image_size=12, width=4, batch_size=16)),
            ("detection/scenes", dict(image_size=64, batch_size=4, pyramid_filters=16, head_units=32)),
            ("memory_qa/words", dict(tasks=(1,), epochs=1)),
            ("ensembles/plain", dict(members=2, hidden=4))):
        app = App(name.partition("/")[0])
        kept(app, runs / name, app.config(**given))
    return runs.parent


@pytest.mark.parametrize(("name", "shape", "features"), [("grey", (12, 12, 1), 32), ("scenes", (64, 64, 3), 16)])
def test_the_network_of_an_earlier_run_is_taken_on(name, shape, features, trained, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(trained / "runs", runs)
    config = resolved("classifier_only", backbone=name, runs=str(runs), image_size=None)
    model, _ = built(config)
    pretraining.initialize(model, config, tmp_path)
    source, _ = run.load(next(runs.glob(f"*/{name}")))
    expected = backbone.cut(source, "it").get_weights()
    folder = runs / "transfer" / "on"
    kept(APP, folder, config)
    model.save_weights(folder / "best.weights.h5")
    shutil.rmtree(next(runs.glob(f"*/{name}")))  # what was made of it does without it
    below = run.load(folder)[0].get_layer("backbone")
    assert below.input_shape[1:] == shape and below.output_shape[1:] == (features,)
    for one, other in zip(below.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_imagenets_weights_are_taken_from_their_file_and_never_fetched_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    config = resolved("classifier_only", backbone="mobilenet_v2", image_size=32, examples=1)
    model, splits = built(config)
    assert splits.spec.inputs["image"].shape == (None, 32, 32, 3)
    with pytest.raises(UserError, match="1.0_224_no_top.h5: use --download to fetch them"):
        pretraining.initialize(model, config, tmp_path)
    file = tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    file.parent.mkdir()
    file.touch()
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    given = {}
    monkeypatch.setattr(keras.applications.mobilenet_v2, "MobileNetV2", lambda **kwargs: given.update(kwargs) or network)
    pretraining.initialize(model, config, tmp_path)
    assert given["weights"] == "imagenet"
    for one, other in zip(model.get_layer("backbone").get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("flags", "words"), [
    (["--backbone", "mobilenet"], "--backbone must be small, mobilenet_v2"),
    (["--backbone", "grey", "--image-size", "20"], "--image-size must be 12"),
    (["--backbone", "words"], "inputs are not images"),
    (["--backbone", "plain"], "no feature layer"),
    (["--model", "multi_task", "--batch-size", "15"], "must be even"),
    (["--model", "scratch", "--source", "mnist"], "--source is not a setting of scratch; it belongs to all_layers"),
    (["--backbone", "grey", "--width", "8"], "--width has no effect with --backbone grey"),
    (["--backbone", "mobilenet_v2", "--blocks", "2"], "--blocks has no effect with --backbone mobilenet_v2"),
    (["--backbone", "mobilenet_v2", "--source", "mnist"], "--source has no effect with --backbone mobilenet_v2"),
    (["--backbone", "mobilenet_v2", "--source-epochs", "2"], "--source-epochs has no effect with --backbone mobilenet_v2"),
    (["--initialize", "run", "--source-learning-rate", "0.2"], "--source-learning-rate has no effect with --initialize run"),
    (["--higher", "2"], "--higher is not a setting of all_layers; it belongs to higher_layers"),
    (["--examples", "0"], "--examples must be 1 or more"),
    (["--examples", "1000"], "training images, fewer than --examples 1000"),
    (["regimes", "--sizes", "1", "1000"], "training images, fewer than --examples 1000"),
    (["--dataset", "digit_scenes"], "not a classification data set"),
    (["regimes", "--sizes", "0", "5"], "--sizes"),
    (["regimes", "--sizes", "5", "5"], "--sizes must be distinct numbers"),
    (["regimes", "--seeds", "0"], "--seeds"),
])
def test_what_cannot_be_is_said_in_one_sentence(flags, words, trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.transfer", flags)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and words in said and said.count("\n") == 1


def test_regimes_go_on_where_they_were_stopped_and_print_and_plot_every_system(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["regimes", "--sizes", "2", "--seeds", "1", "--source-epochs", "1", "--epochs"]
    rows = tmp_path / "runs" / "transfer" / "regimes" / "rows.json"

    def stopped(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(reports, "keep", stopped)
    with pytest.raises(SystemExit):
        cli.main("apps.transfer", [*flags, "1"])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    content = json.loads(rows.read_text())
    assert len(content["rows"]) == 6
    trained_again = content["rows"].pop("seed 0 2 all_layers")
    content["rows"]["seed 0 2 scratch"]["accuracy"] = 0.123
    rows.write_text(json.dumps(content))
    with pytest.raises(SystemExit):
        cli.main("apps.transfer", [*flags, "2"])
    assert "other settings" in capsys.readouterr().err
    cli.main("apps.transfer", [*flags, "1"])
    kept = json.loads((rows.parent / "regimes.json").read_text())
    assert set(kept["accuracy"]) == set(APP.systems) and set(kept["source_accuracy"]) == {"alone", "2"}
    assert all(list(row) == ["2"] and 0 <= row["2"][0] <= 1 for row in kept["accuracy"].values())
    assert (rows.parent / "pictures" / "regimes.png").is_file()
    said = capsys.readouterr().out
    assert all(f"| {words} |" in said for words in regimes.WORDS.values())
    assert kept["accuracy"]["scratch"]["2"] == [0.123]
    assert kept["accuracy"]["all_layers"]["2"] == [trained_again["accuracy"]]  # from the same backbone as before
    assert not list(rows.parent.glob("rows*"))


def test_the_table_of_regimes_has_means_and_standard_deviations():
    accuracy = {model: {1: [0.5, 0.7], 20: [0.9, 0.9]} for model in regimes.WORDS}
    lines = regimes.markdown(accuracy).splitlines()
    assert lines[0] == "| images of each class | 1 | 20 |" and lines[2] == "| from scratch | 60.0 ± 10.0 | 90.0 ± 0.0 |"
    tasks = regimes.multi_task_table(accuracy, {"alone": [1.0, 1.0], 1: [0.8, 0.8], 20: [0.9, 0.9]}, 1000, 1200)
    assert "| 1 | 60.0 ± 10.0 | 60.0 ± 10.0 | 100.0 ± 0.0 | 80.0 ± 0.0 |" in tasks and "1,200" in tasks


def test_layers_without_kernels_do_not_count_as_layers_that_learn():
    model, _ = built(resolved("scratch"))
    below = model.get_layer("backbone")
    network.freeze(below, 10_000)
    assert all(layer.trainable for layer in below.layers)
    network.freeze(below, 2)
    learning = {layer.name for layer in below.layers if layer.trainable and hasattr(layer, "kernel")}
    assert learning == {"stage3_block1_convolution2", "stage3_block1_shortcut"}


@pytest.mark.parametrize(("kind", "last"), [("scenes", "pyramid"), ("mobilenet_v2", "Conv_1")])
def test_the_last_layers_learn_in_networks_within_networks_too(kind, last, trained):
    model, splits = built(resolved("higher_layers", higher=1, backbone=kind, runs=str(trained / "runs"), image_size=None))
    learning = {weight.path for weight in model.get_layer("backbone").trainable_weights if "kernel" in weight.path}
    assert learning and all(last in path for path in learning)
    assert len(splits.spec.info.class_names) == 10  # no source is learned: all classes are the target's


def test_a_run_on_a_detector_is_evaluated(trained, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(trained / "runs", runs)
    kept(APP, runs / "transfer" / "on", APP.config("classifier_only", backbone="scenes", runs=str(runs), batch_size=16))
    (runs / "transfer" / "on" / "results.json").write_text(json.dumps({"metrics": {}}))
    cli.main("apps.transfer", ["evaluate", "on", "--runs", str(runs)])
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("change", [
    dict(app="nothing"), dict(app=3), dict(app="../transfer"), dict(config=[]), dict(config={"model": "scratch", "units": 3}),
    dict(config={"model": "scratch", "width": -1}), dict(spec={}), dict(spec={"inputs": 1, "targets": {}, "info": {}}),
    dict(steps="many")], ids=str)
def test_a_description_of_a_backbone_from_a_file_is_not_trusted(change):
    config = resolved("scratch")
    described = {"app": "transfer", "config": dataclasses.asdict(config), "spec": plain_spec(data.datasets(config).spec), "steps": 1}
    made = backbone.of_run(json.loads(json.dumps(described)))
    assert made.input_shape == (None, 8, 8, 1) and made.output_shape == (None, 16)
    with pytest.raises(UserError) as refused:
        backbone.of_run(described | change)
    assert "\n" not in str(refused.value)


def test_a_description_that_is_none_is_refused_too():
    for described in ([], "transfer", {}):
        with pytest.raises(UserError, match="description of the backbone cannot be read"):
            backbone.of_run(described)


@pytest.mark.parametrize("model", ["scratch", "multi_task"])
def test_systems_that_begin_at_random_get_no_weights_for_the_small_backbone(model, tmp_path):
    made, _ = built(resolved(model, batch_size=16))
    before = made.get_weights()
    run.initialize(APP, made, resolved(model, batch_size=16), tmp_path)
    assert all(np.array_equal(one, other) for one, other in zip(made.get_weights(), before, strict=True))
    assert not list(tmp_path.iterdir())


def test_scratch_takes_only_the_architecture_of_an_earlier_runs_network(trained, tmp_path):
    config = resolved("scratch", backbone="grey", runs=str(trained / "runs"), image_size=None)
    model, _ = built(config)
    before = model.get_weights()
    run.initialize(APP, model, config, tmp_path)
    assert model.get_layer("backbone").input_shape == (None, 12, 12, 1)
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights(), before, strict=True))


def test_pretraining_learns_the_source_as_scratch_does_with_rates_and_epochs_of_its_own():
    config = resolved("higher_layers", source_epochs=7, source_learning_rate=0.2, seed=3)
    made = config.pretraining()
    assert (made.model, made.epochs, made.validate_every, made.learning_rate) == ("scratch", 7, 7, 0.2)
    assert (made.width, made.seed, made.image_size, made.backbone) == (4, 3, 8, "small")


def test_every_training_of_regimes_has_only_givens_system_and_learns_the_same_task():
    request = APP.verbs["regimes"](source="digits:1.0.0", epochs=3, source_epochs=4, data_dir=resolved().data_dir)
    configs = {model: regimes._config(APP, request, model, 1, examples=2) for model in APP.systems}
    assert {model: config.epochs for model, config in configs.items()} == {**dict.fromkeys(APP.systems, 3), "multi_task": 4}
    assert configs["all_layers"].source_epochs == 4 and configs["all_layers"].source == configs["multi_task"].source == "digits:1.0.0"
    assert not {"source", "source_epochs"} & set(dataclasses.asdict(configs["scratch"]))
    assert all((config.examples, config.seed) == (2, 1) for config in configs.values())


def test_what_builds_a_backbone_again_is_kept_with_the_data(trained, tmp_path):
    config = resolved("classifier_only", backbone="scenes", runs=str(trained / "runs"), image_size=None)
    spec = data.datasets(config).spec
    save_spec(spec, 5, tmp_path / "spec.json")
    again, steps = load_spec(tmp_path / "spec.json", data.Info)
    assert steps == 5 and again.info.backbone["app"] == "detection" and again.info.mean == again.info.std == []
    assert again == spec._replace(info=dataclasses.replace(spec.info, backbone=json.loads(json.dumps(spec.info.backbone))))


def test_both_tasks_start_from_an_earlier_runs_network_where_one_is_named(trained, tmp_path):
    config = resolved("multi_task", backbone="grey", runs=str(trained / "runs"), image_size=None)
    model, _ = built(config)
    run.initialize(APP, model, config, tmp_path)
    source, _ = run.load(trained / "runs" / "classification" / "grey")
    for one, other in zip(model.get_layer("backbone").get_weights(), backbone.cut(source, "it").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_search_tries_settings_on_the_pretrained_backbone(tmp_path, monkeypatch, capsys):
    found = []
    monkeypatch.setattr(pretraining, "initialize", lambda model, config, folder: found.append(folder))
    cli.main("apps.transfer", ["search", "--model", "classifier_only", "--trials", "1", "--epochs", "1", "--image-size", "8", "--width", "4",
                        "--runs", str(tmp_path / "runs")])
    assert found == [tmp_path / "runs" / "transfer" / "search-classifier_only-digits"]
