"""Each way to train members against its paper's rule in plain numpy, Keras or scikit-learn."""
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import datasets, ensemble, tree

from apps.ensembles import adaboost, bagging, members, snapshots
from tests.apps.small_ensembles import (
    BATCH,
    CLASSES,
    EXAMPLES,
    IMAGES,
    LABELS,
    PIXELS,
    SIDE,
    STEPS,
    ensemble_of,
    rows_of,
    train,
)


def weights_of(model, member):
    return [weight.numpy()[member] for weight in model.networks.matrices]


def alone(weights, rate):
    """Returns a Keras network with these weights, and Nesterov's momentum at a rate."""
    hidden = [keras.layers.Dense(kernel.shape[1], "relu") for kernel in weights[:-2:2]]
    model = keras.Sequential([keras.Input((SIDE * SIDE,)), *hidden, keras.layers.Dense(CLASSES)])
    model.set_weights(weights)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def outputs(weights, x=PIXELS):
    x = np.asarray(x, "float64")
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2]):
        x = np.maximum(x @ kernel + bias, 0)
    return x @ weights[-2] + weights[-1]


def softmax(values):
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def assert_equal(weights, others):
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sizes, matrices", [(dict(hidden=5, depth=1), 4), (dict(hidden=5, depth=3), 8), (dict(hidden=0), 2)])
def test_independent_members_are_networks_trained_alone(sizes, matrices):
    model = ensemble_of("independent", **sizes)
    assert len(model.networks.matrices) == matrices
    start = [weights_of(model, member) for member in range(3)]
    assert not np.allclose(start[0][0], start[1][0]) and not np.allclose(start[1][0], start[2][0])
    train(model, 6)
    for member in range(3):
        network = alone(start[member], members.WarmupCosine(0.1, 6 * STEPS))
        for epoch in range(6):
            for rows in rows_of(epoch):
                network.train_on_batch(PIXELS[rows], LABELS[rows])
        assert_equal(weights_of(model, member), network.get_weights())
        np.testing.assert_allclose(model({"image": IMAGES})["members"][:, member], softmax(outputs(weights_of(model, member))),
                                   rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden, depth", [(7, 2), (0, 1)])
def test_gradients_of_networks_are_the_differences_of_plain_ones_in_float64(hidden, depth):
    keras.utils.set_random_seed(0)
    networks = members.Networks(3, hidden, depth, 4)
    networks.build((None, 5))
    random = np.random.default_rng(0)
    inputs, factors = random.normal(size=(2, 5)), random.normal(size=(2, 3, 4))
    for weight in networks.matrices:
        weight.assign(random.normal(size=weight.shape) / 2)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(networks(tf.constant(inputs, tf.float32)) * tf.constant(factors, tf.float32))
    gradients = tape.gradient(total, [weight.value for weight in networks.matrices])
    values = [np.asarray(weight, "float64") for weight in networks.get_weights()]

    def plain():
        return sum((outputs([value[member] for value in values], inputs) * factors[:, member]).sum() for member in range(3))

    for value, gradient in zip(values, gradients, strict=True):
        for place in np.ndindex(value.shape):
            before, ends = value[place], []
            for step in (1e-6, -1e-6):
                value[place] = before + step
                ends.append(plain())
            value[place] = before
            assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3, abs=1e-4)


def test_first_weights_have_each_networks_own_variance():
    keras.utils.set_random_seed(0)
    networks = members.Networks(4, 300, 1, 100)
    networks.build((None, 200))
    for member in range(4):
        assert networks.matrices[0].numpy()[member].var() == pytest.approx(2 / 200, rel=0.05)
        assert networks.matrices[2].numpy()[member].var() == pytest.approx(2 / (300 + 100), rel=0.05)


def test_weight_decay_is_a_share_of_the_kernel_in_its_gradient():
    rows = {"image": IMAGES[:BATCH]}, {"label": LABELS[:BATCH], "index": np.arange(BATCH, dtype="int32")}
    changes = []
    for decay in (0.0, 0.5):
        model = ensemble_of("independent", weight_decay=decay)
        model.optimizer.iterations.assign(1)  # the first rate is 0
        start = weights_of(model, 1)
        model.train_step(rows)
        changes.append([after - before for after, before in zip(weights_of(model, 1), start)])
    rate = float(members.WarmupCosine(0.1, 6 * STEPS)(1))
    for without, with_decay, before in zip(*changes, start):
        expected = -1.9 * rate * 0.5 * before if before.ndim == 2 else 0 * before
        np.testing.assert_allclose(with_decay - without, expected, rtol=1e-3, atol=1e-6)


def test_combinations_are_those_of_their_definitions():
    model = ensemble_of("independent", members=4)
    train(model, 6)
    found = {name: value.numpy() for name, value in model({"image": IMAGES}).items()}
    weights = [weights_of(model, member) for member in range(4)]
    each = [outputs(one) for one in weights]
    for count in range(1, 5):
        np.testing.assert_allclose(found["probabilities"][:, count - 1], np.mean([softmax(y) for y in each[:count]], axis=0),
                                   rtol=1e-4, atol=1e-5)
        shares = np.mean([np.eye(CLASSES)[y.argmax(axis=1)] for y in each[:count]], axis=0)
        np.testing.assert_allclose(found["vote"][:, count - 1], shares, atol=1e-6)
        mean = [np.mean(parts, axis=0) for parts in zip(*weights[:count])]
        np.testing.assert_allclose(found["parameters"][:, count - 1], softmax(outputs(mean)), rtol=1e-4, atol=1e-5)
    for combine in model.combinations:
        model.combine = combine
        np.testing.assert_array_equal(model.answer(found), found[combine][:, -1])


def test_mean_weights_of_softmax_regressions_have_at_most_the_mean_loss():
    model = ensemble_of("independent", hidden=0)
    train(model, 2)
    weights = [weights_of(model, member) for member in range(3)]
    losses = [-np.log(softmax(outputs(one))[np.arange(EXAMPLES), LABELS]).mean() for one in weights]
    mean = model({"image": IMAGES})["parameters"][:, -1].numpy()
    assert -np.log(mean[np.arange(EXAMPLES), LABELS]).mean() <= np.mean(losses)
    np.testing.assert_allclose(mean, softmax(np.mean([outputs(one) for one in weights], axis=0)), rtol=1e-4)


def test_the_cyclic_rate_is_equation_2():
    peak, total, cycles = 0.3, 22, 4
    rate = snapshots.Cyclic(peak, total, cycles)
    length = math.ceil(total / cycles)
    expected = [peak / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, total + 1)]
    np.testing.assert_allclose([float(rate(step)) for step in range(total)], expected, rtol=1e-5, atol=1e-8)
    assert expected[0] == expected[length] == peak


def test_snapshots_are_one_networks_weights_at_the_ends_of_its_cycles():
    model = ensemble_of("snapshots")
    network = alone(weights_of(model, 0), snapshots.Cyclic(0.1, 6 * STEPS, 3))
    for cycle in range(3):
        train(model, 2, first=2 * cycle)
        assert int(model.started) == cycle + 1
        for epoch in (2 * cycle, 2 * cycle + 1):
            for rows in rows_of(epoch):
                network.train_on_batch(PIXELS[rows], LABELS[rows])
        assert_equal(weights_of(model, cycle), network.get_weights())
    assert not np.allclose(weights_of(model, 0)[0], weights_of(model, 1)[0], atol=1e-3)


def test_bootstrap_counts_are_drawn_with_replacement():
    counts = bagging.bootstrap_counts(1000, 5, seed=3)
    assert counts.shape == (1000, 5) and (counts.sum(axis=0) == 1000).all()
    for count in range(4):  # nearly Poisson's law with mean 1
        np.testing.assert_allclose((counts == count).mean(axis=0), math.exp(-1) / math.factorial(count), atol=0.04)
    assert not np.array_equal(counts[:, 0], counts[:, 1])
    assert np.array_equal(counts, bagging.bootstrap_counts(1000, 5, seed=3))
    assert not np.array_equal(counts, bagging.bootstrap_counts(1000, 5, seed=4))


@pytest.mark.parametrize("combine", ["probabilities", "vote"])
def test_bagged_members_learn_their_samples_and_are_evaluated_on_the_rest(combine):
    model = ensemble_of("bagging", combine=combine)
    counts = model.counts.numpy()
    start = weights_of(model, 1)
    train(model, 5)
    assert not model.own_metrics()
    network = alone(start, members.WarmupCosine(0.1, 6 * STEPS, STEPS))
    for epoch in range(5):
        for rows in rows_of(epoch):
            network.train_on_batch(PIXELS[rows], LABELS[rows], sample_weight=counts[rows, 1])
    assert_equal(weights_of(model, 1), network.get_weights())
    before = model.networks.get_weights()
    train(model, 1, first=5)
    assert_equal(before, model.networks.get_weights())
    each = np.stack([outputs(weights_of(model, member)) for member in range(3)], axis=1)
    answers = softmax(each) if combine == "probabilities" else np.eye(CLASSES)[each.argmax(axis=-1)]
    unseen = counts == 0
    wrong = (answers * unseen[..., None]).sum(axis=1).argmax(axis=1) != LABELS
    assert 0 < unseen.any(axis=1).sum() < EXAMPLES
    assert model.own_metrics()["out_of_bag_error"] == pytest.approx(wrong[unseen.any(axis=1)].mean())


def test_samme_is_that_of_scikit_learn():
    x, y = datasets.load_digits(return_X_y=True)
    x, y = x[:300], y[:300]
    theirs = ensemble.AdaBoostClassifier(tree.DecisionTreeClassifier(max_depth=3), n_estimators=6, random_state=0).fit(x, y)
    weights = tf.ones(300)
    sums = np.zeros((300, 10))
    for one, alpha in zip(theirs.estimators_, theirs.estimator_weights_):
        found = one.predict(x)
        ours, weights = adaboost.samme(weights, tf.cast(found == y, tf.float32), 10)
        assert float(ours) == pytest.approx(alpha, rel=1e-4)
        assert float(tf.reduce_sum(weights)) == pytest.approx(300, rel=1e-4)
        sums[np.arange(300), found] += float(ours)
    np.testing.assert_array_equal(sums.argmax(axis=1), theirs.predict(x))


def test_samme_leaves_out_who_guesses_and_bounds_who_is_never_wrong():
    weights = tf.constant([1.5, 0.5, 1.0, 1.0])
    alpha, after = adaboost.samme(weights, tf.constant([0.0, 1.0, 0.0, 0.0]), 4)  # an error of 7/8, above 3/4
    assert float(alpha) == 0
    np.testing.assert_allclose(after, weights)
    alpha, after = adaboost.samme(weights, tf.ones(4), 4)
    assert float(alpha) == pytest.approx(math.log(7) + math.log(3))
    np.testing.assert_allclose(after, weights)


def test_adaboost_trains_and_weighs_stage_by_stage():
    model = ensemble_of("adaboost", hidden=2, epochs=9, members=3)
    weights = np.ones(EXAMPLES)
    for stage in range(3):
        start = weights_of(model, stage)
        others = [weights_of(model, member) for member in range(3) if member != stage]
        network = alone(start, members.WarmupCosine(0.1, 3 * STEPS, STEPS))
        for epoch in (3 * stage, 3 * stage + 1):
            for rows in rows_of(epoch):
                network.train_on_batch(PIXELS[rows], LABELS[rows], sample_weight=weights[rows])
        train(model, 3, first=3 * stage)
        assert_equal(weights_of(model, stage), network.get_weights())
        for one, other in zip(others, [weights_of(model, member) for member in range(3) if member != stage]):
            assert all(np.array_equal(a, b) for a, b in zip(one, other))
        wrong = outputs(weights_of(model, stage)).argmax(axis=1) != LABELS
        error = weights[wrong].sum() / weights.sum()
        assert 0 < error < 1 - 1 / CLASSES
        alpha = math.log((1 - error) / error) + math.log(CLASSES - 1)
        weights = weights * np.exp(alpha * wrong)
        weights *= EXAMPLES / weights.sum()
        assert model.own_metrics()["alphas"][stage] == pytest.approx(alpha, rel=1e-3)
        np.testing.assert_allclose(model.example_weights.numpy(), weights, rtol=1e-3)
    alphas = model.own_metrics()["alphas"]
    sums = sum(alphas[m] * np.eye(CLASSES)[outputs(weights_of(model, m)).argmax(axis=1)] for m in range(3))
    answer = model({"image": IMAGES})["boosting"][:, -1].numpy()
    np.testing.assert_allclose(answer, softmax(sums), rtol=1e-4, atol=1e-5)


def test_gradient_boosting_fits_residuals_and_adds_them_up():
    shrinkage = 0.7
    model = ensemble_of("gradient_boosting", members=2, epochs=4, shrinkage=shrinkage)
    start = weights_of(model, 1)
    train(model, 2)
    assert_equal(start, weights_of(model, 1))
    first = outputs(weights_of(model, 0))
    residuals = np.eye(CLASSES)[LABELS] - softmax(shrinkage * first)
    network = alone(start, members.WarmupCosine(0.1, 2 * STEPS))
    network.compile(keras.optimizers.SGD(members.WarmupCosine(0.1, 2 * STEPS), momentum=0.9, nesterov=True),
                    lambda truth, found: keras.ops.sum((truth - found) ** 2, axis=-1) / 2)
    expected = [float(network.train_on_batch(PIXELS[rows], residuals[rows])) for epoch in (2, 3) for rows in rows_of(epoch)
                if not network.reset_metrics()]
    np.testing.assert_allclose(train(model, 2, first=2), expected, rtol=1e-4)
    assert_equal(weights_of(model, 1), network.get_weights())
    together = model({"image": IMAGES})["boosting"].numpy()
    np.testing.assert_allclose(together[:, 0], softmax(shrinkage * first), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together[:, 1], softmax(shrinkage * (first + outputs(weights_of(model, 1)))), rtol=1e-4, atol=1e-6)


def test_gradient_boosting_lowers_the_training_loss_member_by_member():
    model = ensemble_of("gradient_boosting", members=6, epochs=240, shrinkage=1.0)
    train(model, 240)
    together = model({"image": IMAGES})["boosting"].numpy()
    losses = -np.log(together[np.arange(EXAMPLES), :, LABELS]).mean(axis=0)
    assert (np.diff(losses) < 0).all() and losses[-1] < 0.5 * losses[0]


def test_a_member_that_is_not_trained_keeps_its_weights_and_begins_without_momentum():
    optimizer = members.Momentum(0.5, lambda step: tf.cast(tf.range(2) == tf.cast(step, tf.int32), tf.float32), 0.0)
    weight = keras.Variable(np.ones((2, 1), "float32"))
    optimizer.build([weight])
    optimizer.apply([tf.ones((2, 1))], [weight])
    np.testing.assert_allclose(weight.numpy()[:, 0], [1 - 0.5 * 1.9, 1], rtol=1e-5)
    optimizer.apply([tf.ones((2, 1))], [weight])
    np.testing.assert_allclose(weight.numpy()[:, 0], [1 - 0.5 * 1.9, 1 - 0.5 * 1.9], rtol=1e-5)
