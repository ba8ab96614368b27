"""Newton's method: products with the Hessian, exact and quadratic steps, and no rest on a saddle."""
import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from apps.foundations import logistic, regression, systems
from apps.foundations.experiments import newton, optimizers
from training.app import App

ROSENBROCK = optimizers.SURFACES["valley"].function
SADDLE = optimizers.SURFACES["saddle"].function


def quadratic(size, seed=0, negative=0):
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(random.normal(size=(size, size)))
    eigenvalues = np.geomspace(1, 100, size)
    eigenvalues[:negative] *= -1
    matrix, right = turn @ np.diag(eigenvalues) @ turn.T, random.normal(size=size)
    return lambda x: tf.tensordot(x, tf.linalg.matvec(matrix, x), 1) / 2 - tf.tensordot(x, right, 1), matrix, right


def classification(examples=80, columns=5):
    random = np.random.default_rng(1)
    x = random.normal(size=(examples, columns))
    labels = (x @ random.normal(size=columns) + 0.7 * random.normal(size=examples) > 0).astype(np.int32)
    return x, labels


def objective():
    return newton.Derivatives(regression.objective(regression.cross_entropy, logistic.logits))


def logistic_path(**settings):
    x, labels = classification()
    return newton.minimize(objective(), np.zeros(6), tf.constant(x), tf.constant(labels), tf.constant(1 / 80, tf.float64), **settings)


def is_quadratic(path, bound):
    """Whether the last steps, once the gradient is small, fall as its square does, the last of them by twice the digits."""
    norms = np.array([step.gradient_norm for step in path])
    near = [place for place in range(len(norms) - 1) if 1e-7 < norms[place] < 1e-2]
    return len(near) >= 2 and all(norms[place + 1] <= max(bound * norms[place] ** 2, 1e-12) for place in near)


@pytest.mark.parametrize("function, place", [
    (ROSENBROCK, [0.3, -1.2]), (SADDLE, [0.4, 0.9]), (quadratic(6)[0], np.arange(6.0)),
    (lambda x: tf.reduce_sum(tf.sin(x[:-1]) * x[1:] ** 3) + tf.exp(x[0]), [0.1, -0.5, 0.7, 1.3])])
def test_products_are_those_with_the_whole_hessian(function, place):
    place = np.array(place)
    with tf.GradientTape() as outer:
        x = tf.constant(place)
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = function(x)
        gradient = inner.gradient(value, x)
    hessian = outer.jacobian(gradient, x).numpy()
    derivatives = newton.Derivatives(function)
    for direction in np.random.default_rng(0).normal(size=(3, len(place))):
        np.testing.assert_allclose(derivatives.product(place, direction), hessian @ direction, rtol=1e-12, atol=1e-12)
    assert derivatives.gradient(place)[1] == pytest.approx(gradient.numpy())


def test_products_of_logistic_regression_are_those_of_its_formula():
    x, labels = classification()
    place, direction = np.random.default_rng(3).normal(size=(2, 6))
    rows = np.column_stack([x, np.ones(len(x))])
    p = 1 / (1 + np.exp(-rows @ place))
    hessian = (rows * (p * (1 - p))[:, None]).T @ rows / len(x) + np.diag([0.1] * 5 + [0.0])
    found = objective().product(place, direction, tf.constant(x), tf.constant(labels), tf.constant(0.1, tf.float64))
    np.testing.assert_allclose(found, hessian @ direction, rtol=1e-10)


def test_a_linear_function_has_no_curvature():
    assert newton.Derivatives(tf.reduce_sum).product([1.0, 2.0], [1.0, 1.0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("size", [2, 7, 20])
def test_one_undamped_step_is_exact_on_a_quadratic(size):
    function, matrix, right = quadratic(size)
    path = newton.minimize(newton.Derivatives(function), np.full(size, 3.0), damping=0.0, forcing=0.0, tolerance=1e-9)
    assert [step.kind for step in path] == ["newton", "end"] and path[0].length == 1
    np.testing.assert_allclose(path[-1].place, np.linalg.solve(matrix, right), rtol=1e-9, atol=1e-10)


def test_conjugate_gradients_solve_to_the_tolerance_and_tell_of_negative_curvature():
    _, matrix, right = quadratic(12)
    for tolerance in (1e-1, 1e-4, 1e-8):
        found, downward = newton.conjugate_gradients(lambda d: matrix @ d, right, tolerance)
        assert downward is None and np.linalg.norm(matrix @ found - right) <= tolerance
    _, indefinite, right = quadratic(12, negative=3)
    found, downward = newton.conjugate_gradients(lambda d: indefinite @ d, right, 0.0)
    assert found is None and downward @ indefinite @ downward < 0


def test_the_rate_is_quadratic_on_rosenbrocks_function():
    path = newton.minimize(newton.Derivatives(ROSENBROCK), [-1.2, 1.0])
    assert path[-1].place == pytest.approx([1, 1], abs=1e-10) and len(path) < 40
    assert is_quadratic(path, bound=1000)  # its third derivative over the square of its least curvature, 0.4, is as large
    values = [step.value for step in path]
    assert values == sorted(values, reverse=True)


def test_the_rate_is_quadratic_on_logistic_regression_and_the_damping_goes_to_zero():
    path = logistic_path()
    assert is_quadratic(path, bound=30)
    dampings = [step.damping for step in path[:-1]]
    assert dampings[0] > 0.1 and dampings[-1] < 1e-8
    x, labels = classification()
    rows, sign = np.column_stack([x, np.ones(len(x))]), 2 * labels - 1
    found = scipy.optimize.minimize(lambda w: np.logaddexp(0, -sign * (rows @ w)).mean() + (w[:-1] @ w[:-1]) / 160, np.zeros(6),
                                    method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(path[-1].place, found.x, atol=1e-6)


def test_gradient_descent_is_not_quadratic():
    """The test of the rate can fail."""
    x, labels = classification()
    derivatives, place, path = objective(), np.zeros(6), []
    for _ in range(200):
        value, gradient = derivatives.gradient(place, tf.constant(x), tf.constant(labels), tf.constant(1 / 80, tf.float64))
        path.append(newton.Step(place, value, float(np.linalg.norm(gradient)), 0.0, 1.0, "newton"))
        place = place - gradient
    assert path[-1].gradient_norm < 1e-3 and not is_quadratic(path, bound=30)


@pytest.mark.parametrize("start", [[1.5, 1e-3], [1.5, 0.0], [0.0, 0.0]])
def test_a_saddle_is_no_end(start):
    path = newton.minimize(newton.Derivatives(SADDLE), start)
    assert "curvature" in [step.kind for step in path]
    assert path[-1].value == pytest.approx(-1, abs=1e-12) and abs(path[-1].place) == pytest.approx([0, 2 ** 0.5], abs=1e-7)


def test_a_minimum_is_an_end_at_once():
    path = newton.minimize(newton.Derivatives(ROSENBROCK), [1.0, 1.0])
    assert [step.kind for step in path] == ["end"]


def test_keras_optimizers_take_all_rates_at_once_as_they_would_one():
    surface = optimizers.SURFACES["bowl"]
    made = optimizers.kinds(0.0, 0)
    for kind in ("momentum", "RMSProp", "Adam", "Adagrad"):
        found = optimizers.walks(surface, made[kind], (0.001, 0.01), 8)
        for place, rate in enumerate((0.001, 0.01)):
            x = keras.Variable(surface.start, dtype="float64")
            alone = made[kind](rate)
            for step in range(8):
                assert found[place, step] == pytest.approx(x.numpy(), rel=1e-6)
                with tf.GradientTape() as tape:
                    value = surface.function(x.value)
                alone.apply([tape.gradient(value, x.value)], [x])


def test_adam_without_bias_correction_is_its_formula():
    surface, rate, m, v = optimizers.SURFACES["bowl"], 0.05, 0.0, 0.0
    derivatives, x = newton.Derivatives(surface.function), np.array(surface.start)
    for place in optimizers.walks(surface, optimizers.UncorrectedAdam, (rate,), 10)[0]:
        assert place == pytest.approx(x, rel=1e-6)
        gradient = derivatives.gradient(x)[1]
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient ** 2
        x = x - rate * m / (np.sqrt(v) + 1e-7)


def test_every_optimizer_is_plotted_and_newton_wins(tmp_path, capsys):
    request = systems.Optimizers(steps=60, runs=str(tmp_path), name="paths")
    numbers = optimizers.run(App("foundations"), request)
    for name in optimizers.SURFACES:
        assert set(numbers[name]) == {*optimizers.kinds(0.0, 0), "Newton"}
        reached = {kind: row["steps"] for kind, row in numbers[name].items() if row["steps"] is not None}
        assert min(reached, key=reached.get) == "Newton"
    assert numbers["bias_correction"]["first_step_ratio"] == pytest.approx(0.1 / 0.001 ** 0.5, rel=1e-4)
    assert all(rows[-1]["gradient_norm"] < 1e-11 for rows in numbers["newton"].values())
    names = {path.stem for path in (tmp_path / "foundations" / "paths" / "pictures").glob("*.png")}
    assert names == {"paths_bowl", "paths_valley", "paths_saddle", "losses", "bias_correction", "newton"}
    assert "|g_k+1| / |g_k|^2" in capsys.readouterr().out
