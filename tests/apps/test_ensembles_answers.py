"""The data of ensembles, their metrics and answers, and the table that compares them."""
import io
import json

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from apps.ensembles import compare, evaluation, pictures, serving, systems
from apps.ensembles import data as ensemble_data
from training import UserError, cli
from training.app import App
from training.data.spec import Spec

APP = App("ensembles")
INFO = ensemble_data.Info(class_names=["a", "b", "c"], mean=[100.0], std=[50.0], train_examples=30)
SPEC = Spec({"image": tf.TensorSpec([None, 8, 8, 1], tf.uint8)}, {"label": tf.TensorSpec([None], tf.int32)}, INFO)


def config_of(model="independent", **changes):
    return APP.config(model, **(dict(members=3, hidden=4, epochs=6) | changes))


def built(model="independent", **changes):
    config = config_of(model, **changes)
    return APP.build_model(config, SPEC, steps=12), config


def rows_of(batches):
    return np.concatenate([targets["index"] for _, targets in batches])


def test_each_epoch_has_every_example_and_goes_on_where_it_stopped():
    arrays = {"image": np.arange(23)}, {"index": np.arange(23, dtype="int32")}
    batches = ensemble_data.covering(arrays, 5, seed=7)
    alone = tf.distribute.InputContext()
    rows = rows_of(batches(0, 0, alone))
    assert len(rows) == 25 and set(rows[:23]) == set(range(23)) and rows[23:].tolist() == rows[:2].tolist()
    assert batches(0, 0, alone).element_spec[1]["index"].shape == (5,)
    assert not np.array_equal(rows, rows_of(batches(1, 0, alone)))
    assert np.array_equal(rows[10:], rows_of(batches(0, 2, alone)))
    assert all((inputs["image"].numpy() == targets["index"].numpy()).all() for inputs, targets in batches(0, 0, alone))
    assert len(rows_of(ensemble_data.covering(arrays, 50, seed=7)(0, 0, alone))) == 50


def test_two_workers_share_each_batch():
    batches = ensemble_data.covering(({"image": np.arange(8)}, {"index": np.arange(8, dtype="int32")}), 4, seed=1)
    whole = rows_of(batches(0, 0, tf.distribute.InputContext())).reshape(2, 4)
    parts = [rows_of(batches(0, 0, tf.distribute.InputContext(2, worker, 2))).reshape(2, 2) for worker in (0, 1)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)


def test_digits_come_with_their_rows(tmp_path):
    splits = ensemble_data.datasets(config_of(data_dir=str(tmp_path)))
    assert splits.spec.info.train_examples == 1078
    assert set(splits.spec.targets) == {"label", "index"} and set(splits.spec.inputs) == {"image"}
    assert sum(len(targets["label"]) for _, targets in splits.test) == 450


class Given:
    """Answers what it is given."""

    combinations, combine, started = ("vote", "probabilities"), "probabilities", np.array(2)

    def __init__(self, **outputs):
        self.outputs = outputs

    def __call__(self, inputs, training):
        return {name: tf.gather(tf.constant(value, tf.float32), inputs["row"]) for name, value in self.outputs.items()}

    def own_metrics(self):
        return {}


def test_metrics_are_those_of_the_definitions():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 40)
    members, vote, probabilities = random.dirichlet(np.ones(3), (3, 40, 3)).astype("float32")
    model = Given(members=members, vote=vote, probabilities=probabilities)
    batches = [({"row": rows}, {"label": labels[rows]}) for rows in (np.arange(25), np.arange(25, 40))]
    metrics = evaluation.evaluate(model, batches, config_of(), INFO, resamples=50)
    each = (members[:, :2].argmax(axis=-1) == labels[:, None]).mean(axis=0)  # the third has not started
    assert metrics["members"] == pytest.approx(each.tolist())
    assert [metrics[f"member_accuracy{name}"] for name in ("", "_lowest", "_highest")] == pytest.approx(
        [each.mean(), each.min(), each.max()])
    assert metrics["disagreement"] == pytest.approx((members[:, 0].argmax(axis=1) != members[:, 1].argmax(axis=1)).mean())
    for name, values in (("vote", vote), ("probabilities", probabilities)):
        errors = (values[:, :2].argmax(axis=-1) != labels[:, None]).mean(axis=0)
        assert metrics["error_by_members"][name] == pytest.approx(errors.tolist())
        assert metrics["accuracy_by"][name] == pytest.approx(1 - errors[-1])
    assert metrics["accuracy"] == pytest.approx(metrics["accuracy_by"]["probabilities"])
    assert metrics["error"] == pytest.approx(1 - metrics["accuracy"])
    assert metrics["loss"] == pytest.approx(-np.log(probabilities[np.arange(40), 1, labels]).mean(), rel=1e-5)
    assert np.sum(metrics["confusion"]) == 40 and set(metrics["per_class"]) == {"a", "b", "c"}
    assert metrics["intervals"]["accuracy"][0] <= metrics["accuracy"] <= metrics["intervals"]["accuracy"][1]
    json.dumps(metrics)


def test_a_class_without_a_vote_has_a_finite_loss():
    sure = np.zeros((4, 2, 3), "float32")
    sure[..., 0] = 1
    model = Given(members=sure, vote=sure, probabilities=sure)
    metrics = evaluation.evaluate(model, [({"row": np.arange(4)}, {"label": np.array([0, 0, 0, 1])})], config_of(), INFO)
    assert metrics["loss"] == pytest.approx(-np.log(1e-7) / 4, rel=1e-3)


@pytest.mark.parametrize("model", ["independent", "adaboost"])
def test_exported_signatures_answer_for_files_and_explain(model):
    made, config = built(model, epochs=6)
    random = np.random.default_rng(0)
    made.started.assign(2)
    file = io.BytesIO()
    PIL.Image.fromarray(random.integers(0, 256, (20, 12), np.uint8)).save(file, "png")
    given = tf.constant([file.getvalue(), b"no image"])
    signatures = serving.signatures(made, config, INFO)
    answer = {name: value.numpy() for name, value in tf.function(signatures["serving_default"][0])(given).items()}
    assert set(answer) == {"class_names", "class_ids", "scores", "probabilities", "error"}
    assert [bool(error) for error in answer["error"]] == [False, True]
    np.testing.assert_allclose(answer["probabilities"].sum(axis=1), [1, 0], rtol=1e-5)
    assert answer["scores"].shape == (2, 3) and answer["class_ids"][1].tolist() == [-1] * 3
    explained = {name: value.numpy() for name, value in tf.function(signatures["explain"][0])(given).items()}
    assert explained["member_probabilities"].shape == (2, 2, 3)
    np.testing.assert_allclose(explained["member_probabilities"].sum(axis=-1), [[1, 1], [0, 0]], rtol=1e-5)
    if model == "independent":
        np.testing.assert_allclose(answer["probabilities"][0], explained["member_probabilities"][0].mean(axis=0), rtol=1e-5)
    assert all(len(value) == 0 for value in tf.function(signatures["serving_default"][0])(tf.constant([], tf.string)).values())


def test_pictures_are_rendered_of_one_member_too():
    assert pictures.by_members({"vote": np.array([0.1])}, np.array([0.1])).shape[2] == 3
    assert pictures._disagreement(np.zeros((1, 1))).shape[2] == 3


def test_the_comparison_is_printed_kept_and_plotted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "KINDS", {name: (model, own | dict(members=2, hidden=min(own.get("hidden", 4), 4)))
                                           for name, (model, own) in compare.KINDS.items()})
    request = systems.Compare(epochs=4, seeds=1, runs=str(tmp_path / "runs"), data_dir=str(tmp_path / "data"))
    rows = compare.run(APP, request)
    folder = tmp_path / "runs" / "ensembles" / "compare"
    kept = json.loads((folder / "compare.json").read_text())
    assert kept["rows"] == json.loads(json.dumps(rows)) and set(kept["rows"]) == set(compare.KINDS)
    assert set(rows["independent"]["accuracy"]) == {"members", "probabilities", "vote", "parameters"}
    assert set(rows["AdaBoost"]["accuracy"]) == {"members", "boosting"} and "out_of_bag_error" in rows["bagging"]
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == len(rows) + 1 and "convex" in printed
    accuracy = rows["softmax regression"]["accuracy"]["parameters"][0]
    assert f"{100 * accuracy:.2f} ({100 * accuracy:.2f} to {100 * accuracy:.2f})" in printed
    above = accuracy - rows["softmax regression"]["accuracy"]["members"][0]
    assert f"softmax regression {100 * above:+.2f}" in printed
    assert tf.io.decode_png((folder / "pictures" / "compare.png").read_bytes()).shape[1] > 900
    assert list(folder.glob("events*"))


def test_a_cell_of_the_table_is_the_median_of_the_seeds_and_their_range():
    rows = {"bagging": {"members": 7, "accuracy": {"members": [0.5, 0.9, 0.6], "vote": [0.8, 0.9, 0.7, 0.95]}}}
    assert compare.markdown(rows).splitlines()[-1] == (
        "| bagging | 7 | 60.00 (50.00 to 90.00) |  | 85.00 (70.00 to 95.00) |  |  |")


def test_epochs_that_do_not_suit_every_ensemble_are_refused_before_the_first_training(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "trained", lambda *_: pytest.fail("has trained"))
    with pytest.raises(UserError, match="--epochs 10 must be a multiple of --members 20 for adaboost"):
        compare.run(APP, systems.Compare(epochs=10, runs=str(tmp_path / "runs")))
    assert not list(tmp_path.iterdir())


def test_the_comparison_takes_sets_that_are_fetched_by_hand(tmp_path):
    with pytest.raises(UserError, match="elsewhere"):
        compare.run(APP, systems.Compare(dataset="image_folder", manual_dir=str(tmp_path / "elsewhere"),
                                         data_dir=str(tmp_path / "data"), runs=str(tmp_path / "runs")))


@pytest.mark.parametrize("flags, words", [(["--seeds", "0"], "--seeds must be 1 or more"), (["--name", "a/b"], "plain folder name")])
def test_a_comparison_of_nothing_is_refused(flags, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.ensembles", ["compare", "--runs", str(tmp_path), *flags])
    assert ended.value.code == 2 and words in capsys.readouterr().err
