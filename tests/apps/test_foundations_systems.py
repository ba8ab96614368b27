"""The systems against numpy and scikit-learn, which tables they take, and what their pictures and metrics say."""
import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB

import training
from apps.foundations import counting, evaluation, lda, linear, naive_bayes, pictures, reference
from apps.foundations import data as tables
from training import cli, summary
from training.app import App
from training.data.spec import Spec
from training.engine import loop

APP = App("foundations")
ALONE = tf.distribute.InputContext()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data"))


def resolved(data_dir, model=None, **changes):
    return APP.config(model, data_dir=data_dir, **changes)


def trained(data_dir, **changes):
    """Returns (settings, splits, trained model, standardized training features, answers)."""
    epochs = 1 if changes["model"] in ("naive_bayes", "lda") else 8
    config = resolved(data_dir, **({"epochs": epochs} | changes))
    splits = tables.datasets(config)
    model = APP.build_model(config, splits.spec, steps=1)
    loop.fit(model, splits.train, epochs=config.epochs)
    features, answers = tables.read(config.dataset, config, config.columns).parts["train"]
    info = splits.spec.info
    return config, splits, model, (features - info.mean) / np.array(info.std), answers


@pytest.mark.parametrize("columns", [(), ("bmi",), ("s5", "bp", "bmi")])
def test_linear_regression_equals_least_squares(columns, data_dir):
    config, splits, model, x, target = trained(data_dir, model="linear", columns=columns)
    expected, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), target, rcond=None)
    weights, intercepts = model.coefficients()
    assert len(expected) == 1 + (len(columns) or 10)
    np.testing.assert_allclose(np.append(weights[:, 0], intercepts), expected, atol=1e-4)
    found, name = reference.difference(model, config, splits.spec.info)
    assert found < 1e-6 and name == "numpy.linalg.lstsq"


def test_linear_regression_of_several_targets_equals_least_squares():
    random = np.random.default_rng(0)
    x, targets = random.normal(size=(50, 4)), random.normal(size=(50, 3))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    largest, smallest = tables.curvature(x)
    spec = Spec({"features": tf.TensorSpec([None, 4], tf.float64)}, {"target": tf.TensorSpec([None, 3], tf.float64)},
                tables.Info(columns=list("abcd"), mean=[0.0] * 4, std=[1.0] * 4, examples=50, largest_curvature=largest,
                            smallest_curvature=smallest))
    model = linear.build_model(APP.config("linear"), spec, steps=1)
    batches = tables._passes(({"features": x}, {"target": targets}), None, 0, 200)
    loop.fit(model, batches, epochs=1)
    expected, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), targets, rcond=None)
    np.testing.assert_allclose(np.vstack(model.coefficients()), expected, atol=1e-4)


def test_ridge_regression_equals_scikit_learn(data_dir):
    _, _, model, x, target = trained(data_dir, model="linear", c=0.01)
    other = Ridge(alpha=100).fit(x, target)
    np.testing.assert_allclose(np.append(*model.coefficients()), np.append(other.coef_, other.intercept_), atol=1e-4)


@pytest.mark.parametrize("model, dataset, c", [
    ("logistic", "tabular/breast_cancer", 1.0), ("logistic", "tabular/breast_cancer", 0.1),
    ("softmax", "tabular/wine", 1.0), ("softmax", "tabular/iris", 10.0)])
def test_classifiers_equal_scikit_learn(model, dataset, c, data_dir):
    config, splits, found, x, labels = trained(data_dir, model=model, dataset=dataset, c=c)
    other = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x, labels)
    weights, intercepts = found.coefficients()
    np.testing.assert_allclose(weights.T, other.coef_, atol=1e-3)
    centre = intercepts.mean() if model == "softmax" else 0
    np.testing.assert_allclose(intercepts - centre, other.intercept_ - (other.intercept_.mean() if centre else 0), atol=1e-3)
    difference, name = reference.difference(found, config, splits.spec.info)
    assert difference < 1e-6 and name == "scikit-learn's LogisticRegression"


def test_softmax_regression_of_two_classes_is_logistic_regression_with_half_the_c(data_dir):
    config, splits, model, x, labels = trained(data_dir, model="softmax", dataset="tabular/breast_cancer", c=0.5)
    _, _, other, *_ = trained(data_dir, model="logistic", c=1.0)
    weights, _ = model.coefficients()
    np.testing.assert_allclose(weights[:, 1:] - weights[:, :1], other.coefficients()[0], atol=1e-3)
    assert reference.difference(model, config, splits.spec.info)[0] < 1e-6


def test_without_a_penalty_classes_that_can_be_separated_have_no_minimum(data_dir):
    config = resolved(data_dir, c="none")
    splits = tables.datasets(config)
    model = APP.build_model(config, splits.spec, steps=1)
    difference, why = reference.difference(model, config, splits.spec.info)
    assert difference is None and "no minimum" in why
    _, _, kept, x, labels = trained(data_dir, model="logistic", c="none", momentum=0.9,
                                      columns=("mean texture", "mean smoothness"))
    other = LogisticRegression(C=np.inf, tol=1e-8, max_iter=10_000).fit(x, labels)
    np.testing.assert_allclose(kept.coefficients()[0].T, other.coef_, atol=1e-3)


@pytest.mark.parametrize("model, dataset, batch_size, precision", [
    ("naive_bayes", "tabular/wine", None, "float32"), ("naive_bayes", "tabular/breast_cancer", 11, "mixed_bfloat16"),
    ("lda", "tabular/iris", None, "mixed_bfloat16"), ("lda", "tabular/breast_cancer", None, "float32")],
    indirect=["precision"])
def test_counted_classifiers_equal_scikit_learn_under_every_precision(model, dataset, batch_size, precision, data_dir):
    config, splits, found, x, labels = trained(data_dir, model=model, dataset=dataset, batch_size=batch_size)
    other = GaussianNB() if model == "naive_bayes" else LinearDiscriminantAnalysis(solver="lsqr")
    assert len(x) % (batch_size or 1) == 0  # every example is counted
    test, _ = next(iter(splits.test))
    expected = other.fit(x, labels).predict_proba((test["features"] - np.array(splits.spec.info.mean)) / splits.spec.info.std)
    np.testing.assert_allclose(tf.nn.softmax(found(test)["label"]), expected, atol=1e-8)
    assert reference.difference(found, config, splits.spec.info)[0] < 1e-8


def test_counting_by_hand():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(30, 2)) + 3, random.integers(0, 3, 30)
    found = counting.statistics(tf.constant(x), tf.constant(labels), 4)  # no example of the last class
    for k in range(3):
        rows = x[labels == k]
        assert found.means()[k].numpy() == pytest.approx(rows.mean(axis=0))
        assert found.scatter()[k].numpy() == pytest.approx(np.cov(rows.T, bias=True) * len(rows))
        assert found.log_priors()[k].numpy() == pytest.approx(np.log(len(rows) / 30))
    for module in (naive_bayes, lda):
        joint = module.log_joint(found, tf.constant(x)).numpy()
        assert np.isfinite(joint).all() and (joint.argmax(axis=1) < 3).all()
    shared = naive_bayes.log_joint(found, tf.constant(x), is_shared=True).numpy()
    slopes = shared[:, 0] - shared[:, 1]  # an affine function of x
    rows = np.column_stack([x, np.ones(30)])
    assert rows @ np.linalg.lstsq(rows, slopes, rcond=None)[0] == pytest.approx(slopes)


@pytest.mark.parametrize("changes, sentence", [
    (dict(model="linear", dataset="tabular/wine"), "linear predicts a number, but tabular/wine has classes"),
    (dict(model="softmax", dataset="tabular/diabetes"), "softmax predicts a class, but the target of tabular/diabetes is a number"),
    (dict(model="logistic", dataset="tabular/wine"), "logistic needs two classes, but tabular/wine has 3"),
    (dict(dataset="digits"), "digits is not a table"),
    (dict(columns=("alcohol", "color")), "tabular/wine has no column 'color'; it has alcohol, "),
    (dict(batch_size=200), "the training split has 10. examples, fewer than one batch of 200"),
])
def test_what_does_not_fit_is_refused(changes, sentence, data_dir):
    with pytest.raises(training.UserError, match=sentence):
        tables.datasets(resolved(data_dir, **changes))


@pytest.mark.parametrize("changes, sentence", [
    (dict(c=0.0), "--c must be above 0, got 0.0"), (dict(c=-1.0), "--c must be above 0"), (dict(momentum=1.0), "--momentum must be")])
def test_settings_out_of_range_are_refused(changes, sentence, data_dir):
    with pytest.raises(training.UserError, match=sentence):
        resolved(data_dir, **changes)


@pytest.mark.parametrize("model", ["naive_bayes", "lda"])
@pytest.mark.parametrize("flags, sentence", [
    (["--learning-rate", "0.1"], "--learning-rate has no effect with --model {model}: leave it out"),
    (["--momentum", "0.5"], "--momentum is not a setting of {model}; it belongs to softmax, logistic, linear"),
    (["--c", "1"], "--c is not a setting of {model}; it belongs to softmax, logistic, linear"),
    (["--passes", "2"], "--passes is not a setting of {model}; it belongs to softmax, logistic, linear")])
def test_settings_of_a_training_are_refused_where_weights_are_counted(model, flags, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.foundations", ["--model", model, *flags])
    assert stopped.value.code == 2 and capsys.readouterr().err == f"error: {sentence.format(model=model)}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags, word", [
    (["--shared-variances"], "--shared-variances is not a setting of softmax; it belongs to naive_bayes"),
    (["--dtype", "mixed_bfloat16"], "dtype"), (["--c", "0"], "--c must be above 0, got 0.0"),
    (["--batch-size", "0"], "--batch-size must be 1 or more, got 0"), (["--passes", "0"], "--passes must be 1 or more, got 0"),
    (["--learning-rate", "-1"], "--learning-rate must be above 0, got -1.0")])
def test_flags_that_are_refused(flags, word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.foundations", flags)
    assert stopped.value.code == 2 and word in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_each_system_has_its_own_data_and_optional_settings_stay_open():
    found = {model: APP.config(model) for model in APP.systems}
    assert {model: config.dataset for model, config in found.items()} == {
        "softmax": "tabular/wine", "logistic": "tabular/breast_cancer", "linear": "tabular/diabetes", "naive_bayes": "tabular/wine",
        "lda": "tabular/wine"}
    assert (found["softmax"].c, found["linear"].c, found["lda"].epochs) == (1.0, "none", 1)
    assert found["softmax"].batch_size is found["softmax"].learning_rate is found["softmax"].momentum is None
    assert not any(config.BEST_WEIGHTS for config in found.values())
    assert tables.Info.SAME == ("class_names", "columns")


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("model", ["softmax", "logistic", "linear"])
def test_a_step_is_the_gradient_s_formula_under_every_precision(model, precision, data_dir):
    config = resolved(data_dir, model=model, c=2.0, learning_rate=0.01, momentum=0.0)
    splits = tables.datasets(config)
    made = APP.build_model(config, splits.spec, steps=1)
    inputs, targets = next(iter(splits.train(0, 0, ALONE)))
    for _ in range(2):  # the second step has a penalty
        made.train_step((inputs, targets))
    x = (inputs["features"].numpy() - splits.spec.info.mean) / splits.spec.info.std
    x, (answers,) = np.column_stack([x, np.ones(len(x))]), targets.values()
    weights = np.zeros((x.shape[1], made.affine.units))
    for _ in range(2):
        z = x @ weights
        if model == "linear":
            errors = z - answers.numpy()
        elif model == "logistic":
            errors = 1 / (1 + np.exp(-z)) - answers.numpy()[:, None]
        else:
            errors = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(3)[answers]
        gradient = x.T @ errors / len(x)
        gradient[:-1] += weights[:-1] / (2.0 * len(x))
        weights = weights - 0.01 * gradient
    np.testing.assert_allclose(np.vstack(made.coefficients()), weights, rtol=1e-5, atol=1e-7)


def test_data_are_whole_passes_or_batches(data_dir):
    splits = tables.datasets(resolved(data_dir, passes=3))
    whole = list(splits.train(0, 0, ALONE))
    rows = splits.spec.info.examples
    assert [len(inputs["features"]) for inputs, _ in whole] == [rows] * 3 and len(list(splits.train(0, 2, ALONE))) == 1
    assert whole[0][0]["features"].dtype == tf.float64
    assert whole[0][0]["features"].numpy().mean(axis=0) == pytest.approx(splits.spec.info.mean)
    assert whole[0][0]["features"].numpy().std(axis=0) == pytest.approx(splits.spec.info.std)
    batches = tables.datasets(resolved(data_dir, passes=2, batch_size=30)).train
    found = [inputs["features"].numpy() for inputs, _ in batches(4, 0, ALONE)]
    assert [len(part) for part in found] == [30] * (rows // 30 * 2)
    assert np.array_equal(found[2], next(iter(batches(4, 2, ALONE)))[0]["features"])
    for half in (found[:len(found) // 2], found[len(found) // 2:]):  # no example twice in a pass
        assert len({row.tobytes() for row in np.concatenate(half)}) == len(np.concatenate(half))
    assert not np.array_equal(found[0], next(iter(batches(5, 0, ALONE)))[0]["features"])
    shards = [next(iter(batches(4, 0, tf.distribute.InputContext(2, place, 2))))[0]["features"] for place in (0, 1)]
    assert sorted(map(bytes, np.concatenate(shards))) == sorted(map(bytes, found[0]))


def test_the_curvature_bounds_the_hessian():
    x = np.random.default_rng(0).normal(size=(40, 3)) * [1, 2, 3]
    rows = np.column_stack([x, np.ones(40)])
    eigenvalues = np.linalg.eigvalsh(rows.T @ rows / 40)
    assert tables.curvature(x) == pytest.approx((eigenvalues[-1], eigenvalues[0]), rel=1e-5)
    largest, _ = tables.curvature(x, whole=False)
    for start in range(0, 40, 8):
        part = rows[start:start + 8]
        assert np.linalg.eigvalsh(part.T @ part / 8)[-1] <= largest


def test_metrics_are_those_of_their_definitions(data_dir, capsys):
    config, splits, model, *_ = trained(data_dir, model="linear")
    metrics = evaluation.evaluate(model, splits.test, config, splits.spec.info, resamples=200)
    predicted, target = evaluation.predicted(model, splits.test)
    assert metrics["rmse"] == pytest.approx(np.sqrt(((predicted[:, 0] - target) ** 2).mean()))
    assert metrics["r2"] == pytest.approx(1 - metrics["rmse"] ** 2 / target.var()) and 0.3 < metrics["r2"] < 0.6
    low, high = metrics["intervals"]["rmse"]
    assert low < metrics["rmse"] < high and metrics["difference"] < 1e-6
    evaluation.table(metrics)
    assert "largest difference from numpy.linalg.lstsq" in capsys.readouterr().out
    config, splits, model, *_ = trained(data_dir, model="logistic")
    metrics = evaluation.evaluate(model, splits.test, config, splits.spec.info, resamples=200)
    logits, labels = evaluation.predicted(model, splits.test)
    assert metrics["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean()) and metrics["accuracy"] > 0.95
    probability = 1 / (1 + np.exp(-logits[:, 1]))
    assert metrics["loss"] == pytest.approx(-np.log(np.where(labels == 1, probability, 1 - probability)).mean())
    assert np.sum(metrics["confusion"]) == len(labels) == 142
    assert "difference" not in evaluation.evaluate(model, splits.validation, config, splits.spec.info, validating=True)


@pytest.mark.parametrize("changes, names", [
    (dict(model="linear", columns=("bmi",)), {"coefficients", "residuals", "line"}),
    (dict(model="softmax"), {"coefficients", "confusion", "boundary"}),
    (dict(model="naive_bayes"), {"coefficients", "confusion", "boundary"}),
    (dict(model="lda", columns=("alcohol",)), {"coefficients", "confusion"})])
def test_pictures(changes, names, data_dir):
    config, splits, model, *_ = trained(data_dir, **({"epochs": 1} | changes))
    made = pictures.render(model, splits, config, splits.spec.info, {}).pictures
    assert set(made) == names
    assert all(image.dtype == np.uint8 and image.shape[0] == 1 and image.std() > 5 for image in made.values())


def test_a_run_says_how_far_it_is_from_scikit_learn(data_dir, tmp_path, capsys):
    cli.main("apps.foundations", ["--model", "logistic", "--epochs", "8", "--data-dir", data_dir, "--runs", str(tmp_path / "runs"), "--name", "one",
                           "--saved-models", str(tmp_path / "saved_models")])
    results = json.loads((tmp_path / "runs" / "foundations" / "one" / "results.json").read_text())
    assert results["metrics"]["difference"] < 1e-6 and results["parameters"] == 31
    assert "largest difference from scikit-learn's LogisticRegression" in capsys.readouterr().out
    cli.main("apps.foundations", ["evaluate", "one", "--runs", str(tmp_path / "runs")])
    assert "difference" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main("apps.foundations", ["evaluate", "one", "--dataset", "tabular/iris", "--runs", str(tmp_path / "runs")])
    assert capsys.readouterr().err == ("error: logistic needs two classes, but tabular/iris has 3: "
                                       "use --model softmax\n")


@pytest.mark.parametrize("model, count", [("softmax", 13 * 3 + 3), ("logistic", 30 + 1), ("linear", 10 + 1),
                                          ("naive_bayes", 3 * (1 + 13 + 13)), ("lda", 3 * (1 + 13 + 13 * 13))])
def test_the_rows_of_a_summary_sum_to_what_the_answer_is_computed_from(model, count, data_dir):
    config = resolved(data_dir, model=model)
    spec = tables.datasets(config).spec
    made = APP.build_model(config, spec, steps=1)
    assert sum(row[2] for row in summary.layer_rows(made, spec)) == made.count_params() == count


def test_a_system_without_log_joint_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match="Half must define log_joint"):
        class Half(counting.Counter):
            pass
