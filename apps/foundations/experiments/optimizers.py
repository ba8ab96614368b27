"""Paths of optimizers over two-dimensional surfaces, and the convergence rate of Newton's method (F6)."""
import functools
from typing import Callable, NamedTuple

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
from keras import ops

from apps.foundations import data, logistic, regression
from apps.foundations.experiments import newton
from apps.foundations.pictures import COLORS
from training import reports
from training.config import Data
from training.engine import optimizers

RATES = tuple(float(10 ** power) for power in np.arange(-4, 0.6, 0.5))
"""learning rates that are tried with every optimizer"""
_CORRECTED_RATE = 0.05
"""at which the bias correction is shown"""
_REACHED = 1e-6
"""above the minimum: there the table's steps end"""
_FLOOR = 1e-12  # of what is plotted, and of what the choice of a rate values


class Surface(NamedTuple):
    """A function of two variables with a known minimum."""

    function: Callable
    """function from a tensor (2, …) of points to their values (…,)"""
    start: tuple[float, float]
    lowest: float
    minima: tuple[tuple[float, float], ...]
    window: tuple[float, float, float, float]
    """limits of the plot: left, right, bottom, top"""


_TURN = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
_BOWL = _TURN @ np.diag([1.0, 25.0]) @ _TURN.T
SURFACES = {
    "bowl": Surface(lambda x: (_BOWL[0, 0] * x[0] ** 2 + 2 * _BOWL[0, 1] * x[0] * x[1] + _BOWL[1, 1] * x[1] ** 2) / 2,
                    (-2.4, 1.2), 0.0, ((0.0, 0.0),), (-3.2, 2.8, -2.6, 2.4)),
    "valley": Surface(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, (-1.2, 1.0), 0.0, ((1.0, 1.0),),
                      (-1.8, 1.6, -0.8, 2.0)),
    "saddle": Surface(lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4 / 4, (1.5, 1e-3), -1.0, ((0.0, 2 ** 0.5), (0.0, -2 ** 0.5)),
                      (-1.6, 1.9, -2.4, 2.4)),
}
"""a quadratic whose curvatures are 1 and 25; Rosenbrock's function; a saddle at (0, 0) with a minimum on each side"""


class UncorrectedAdam(keras.optimizers.Adam):
    """Adam without bias correction of the moments, which start at 0 and are too small at first.

        step_t = rate m_t / (sqrt(v_t) + epsilon)

    At the first step that is (1 - beta_1) / sqrt(1 - beta_2) = 3.2 times Adam's.
    """

    def update_step(self, gradient, variable, learning_rate):
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        place = self._get_variable_index(variable)
        mean, square = self._momentums[place], self._velocities[place]
        self.assign(mean, self.beta_1 * mean + (1 - self.beta_1) * gradient)
        self.assign(square, self.beta_2 * square + (1 - self.beta_2) * ops.square(gradient))
        self.assign_sub(variable, rate * mean / (ops.sqrt(square) + self.epsilon))


def kinds(noise, seed):
    """Returns {name: function of the rate that returns a Keras optimizer}."""
    return {
        "GD": lambda rate: optimizers.make("sgd", rate),
        "SGD": lambda rate: optimizers.make("sgd", rate, gradient_noise=noise ** 2, seed=seed),
        "momentum": lambda rate: optimizers.make("momentum", rate),
        "Nesterov": lambda rate: optimizers.make("nesterov", rate),
        "RMSProp": lambda rate: optimizers.make("rmsprop", rate),
        "Adagrad": lambda rate: optimizers.make("adagrad", rate),
        "Adam": lambda rate: optimizers.make("adam", rate),
        "Adam, uncorrected": UncorrectedAdam,
    }


def run(app, request):
    """Plots every optimizer on every surface with its best learning rate, and prints how fast Newton's method converges."""
    folder = reports.folder_of(app, "optimizers", request)
    found, newtons, figures, numbers = {}, {}, {}, {}
    for name, surface in SURFACES.items():
        made = kinds(request.noise, request.seed)
        found[name] = {kind: best(surface, make, request.steps) for kind, make in made.items()}
        newtons[name] = newton.minimize(newton.Derivatives(surface.function), surface.start, seed=request.seed)
        found[name]["Newton"] = None, np.array([step.place for step in newtons[name]])
        numbers[name] = _table(name, surface, found[name])
        figures[f"paths_{name}"] = functools.partial(_paths, surface, found[name])
    figures["losses"] = lambda: _losses(found)
    numbers["bias_correction"] = _bias_correction()
    figures["bias_correction"] = lambda: _corrections(numbers["bias_correction"]["lengths"])
    newtons["logistic regression of breast_cancer"] = _logistic(request)
    numbers["newton"] = {name: _convergence(name, path) for name, path in newtons.items()}
    figures["newton"] = lambda: _rates(newtons)
    return reports.keep(folder, "optimizers", request, numbers, figures)


def best(surface, make, steps):
    """Returns (rate, its path (steps + 1, 2)) with the smallest mean logarithm of the height above the minimum.

    Paths that leave the window are excluded.
    """
    left, right, bottom, top = surface.window
    paths = walks(surface, make, RATES, steps)

    def height(place):
        heights = _heights(surface, paths[place])
        x, y = paths[place].T
        is_inside = np.isfinite(heights).all() and left < x.min() and x.max() < right and bottom < y.min() and y.max() < top
        return np.log(np.maximum(heights, _FLOOR)).mean() if is_inside else np.inf

    place = min(range(len(RATES)), key=height)
    return RATES[place], paths[place]


def walks(surface, make, rates, steps):
    """Returns the paths (rates, steps + 1, 2) of a Keras optimizer, which uses all rates at once, one per row.

    make: function of the rate
    """
    places = keras.Variable(np.tile(surface.start, (len(rates), 1)), dtype="float64", trainable=True, name="places")
    optimizer = make(_Rates(rates))
    optimizer.build([places])

    @tf.function
    def walk():
        found = tf.TensorArray(tf.float64, steps + 1, element_shape=places.shape).write(0, places.value)
        for number in tf.range(steps):
            with tf.GradientTape() as tape:
                height = surface.function(tf.transpose(places.value))  # of each row a height of its own
            optimizer.apply([tape.gradient(height, places.value)], [places])
            found = found.write(number + 1, tf.identity(places.value))
        return found.stack()

    return walk.get_concrete_function()().numpy().transpose(1, 0, 2)


class _Rates(keras.optimizers.schedules.LearningRateSchedule):
    """A rate for each row of the weights, at every step."""

    def __init__(self, rates):
        self.rates = tf.constant(rates, tf.float64)[:, None]

    def __call__(self, step):
        return self.rates


def _heights(surface, places):
    """Returns the heights above the minimum, not a number where the function has none."""
    with np.errstate(all="ignore"):
        heights = np.asarray(surface.function(tf.constant(places.T))) - surface.lowest
        return np.where(np.isfinite(heights) & (np.abs(places) < 1e6).all(axis=1), heights, np.nan)


def _table(name, surface, found):
    print(f"\n{name:19} rate     above the minimum after 10, 100 and all steps   steps to {_REACHED:g}")
    rows = {}
    for kind, (rate, places) in found.items():
        heights = _heights(surface, places)
        reached = np.flatnonzero(heights < _REACHED)
        steps = int(reached[0]) if len(reached) else None
        ends = [float(max(heights[min(step, len(heights) - 1)], 0.0)) for step in (10, 100, len(heights))]
        rows[kind] = {"rate": rate, "above": ends, "steps": steps, "end": places[-1].tolist()}
        print(f"{kind:19} {'' if rate is None else f'{rate:.2g}':7} " + "  ".join(f"{value:9.1e}" for value in ends)
              + f"{'':20}{'-' if steps is None else steps}")
    return rows


def _paths(surface, found):
    left, right, bottom, top = surface.window
    x, y = np.meshgrid(np.linspace(left, right, 160), np.linspace(bottom, top, 160))
    heights = np.asarray(surface.function(tf.constant(np.stack([x.ravel(), y.ravel()])))).reshape(x.shape) - surface.lowest
    figure = matplotlib.figure.Figure((11, 9.5))
    for number, (kind, (rate, places)) in enumerate(found.items()):
        axes = figure.add_subplot(3, 3, number + 1)
        axes.contour(x, y, np.log10(np.maximum(heights, 1e-3)), 18, cmap="Greys_r", linewidths=0.6)
        shown = places[np.isfinite(places).all(axis=1)]
        axes.plot(*shown.T, color="tab:blue", linewidth=0.9, alpha=0.8)
        axes.scatter(*shown.T, s=5, c=np.arange(len(shown)), cmap="plasma", zorder=3)
        axes.scatter(*np.array(surface.minima).T, marker="*", s=90, color="tab:green", zorder=4)
        axes.scatter(*surface.start, marker="s", s=28, color="black", zorder=4)
        axes.set(xlim=(left, right), ylim=(bottom, top))
        axes.set_title(kind + (f", {len(places) - 1} steps" if rate is None else f", rate {rate:.2g}"), fontsize=10)
        axes.tick_params(labelsize=7)
    figure.suptitle("square: start; star: minimum; the brighter a point, the later", fontsize=10)
    return figure


def _losses(found):
    figure = matplotlib.figure.Figure((13, 5))
    for number, (name, paths) in enumerate(found.items()):
        axes = figure.add_subplot(1, 3, number + 1)
        for place, (kind, (_, places)) in enumerate(paths.items()):
            heights = np.maximum(_heights(SURFACES[name], places), _FLOOR)
            style = dict(color="black", linewidth=2) if kind == "Newton" else dict(color=COLORS[place], linewidth=1.2)
            axes.semilogy(heights, label=kind, linestyle="--" if "uncorrected" in kind else "-", **style)
        axes.set(title=name, xlabel="step", ylim=(_FLOOR / 2, None))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("above the minimum")
    figure.axes[1].legend(fontsize=8, loc="lower right")  # few come down here
    return figure


def _bias_correction(steps=60):
    """Returns the numbers of Adam's steps with and without the correction, over the bowl at one rate."""
    surface = SURFACES["bowl"]
    made = kinds(0.0, 0)
    paths = {kind: walks(surface, made[kind], [_CORRECTED_RATE], steps)[0] for kind in ("Adam", "Adam, uncorrected")}
    lengths = {kind: np.linalg.norm(np.diff(places, axis=0), axis=1) for kind, places in paths.items()}
    first = lengths["Adam, uncorrected"][0] / lengths["Adam"][0]
    print(f"\nAdam's first step without bias correction is {first:.3f} times as long as with it "
          f"(0.1 / sqrt(0.001) = {0.1 / 0.001 ** 0.5:.3f})")
    return {"first_step_ratio": float(first), "lengths": {kind: values.tolist() for kind, values in lengths.items()}}


def _corrections(lengths):
    """Returns a figure of the lengths of Adam's steps, {with or without the correction: (steps,)}, and of the correction."""
    numbers = np.arange(1, len(lengths["Adam"]) + 1)
    factor = (1 - 0.9 ** numbers) / np.sqrt(1 - 0.999 ** numbers)
    figure = matplotlib.figure.Figure((9.5, 4))
    left, right = figure.subplots(1, 2)
    for kind, values in lengths.items():
        left.plot(numbers, values, "o-", markersize=3, label=kind)
    left.set(xlabel="step", ylabel="its length", title=f"steps over the bowl at rate {_CORRECTED_RATE}")
    left.legend()
    right.plot(numbers, factor, color="black")
    right.axhline(1, color="tab:gray", linewidth=0.8)
    right.set(xlabel="step t", ylabel="uncorrected / corrected", title="(1 - 0.9^t) / sqrt(1 - 0.999^t)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def _logistic(request):
    """Returns the Steps of Newton's method on the objective of `logistic` at c = 1."""
    table = data.read("tabular/breast_cancer", Data(data_dir=request.data_dir))
    features, labels = table.parts["train"]
    mean, std = data.moments(features)
    derivatives = newton.Derivatives(regression.objective(regression.cross_entropy, logistic.logits))
    return newton.minimize(derivatives, np.zeros(features.shape[1] + 1), tf.constant((features - mean) / std),
                           tf.constant(labels), tf.constant(1 / len(labels), tf.float64), seed=request.seed)


def _convergence(name, path):
    """Prints how the gradient falls at each step; returns that as numbers."""
    print(f"\nNewton, {name}\nstep   |gradient|  right digits     damping  length  |g_k+1| / |g_k|^2  along")
    rows = []
    for number, (step, after) in enumerate(zip(path, [*path[1:], None])):
        ratio = after.gradient_norm / step.gradient_norm ** 2 if after else None
        rows.append({"gradient_norm": step.gradient_norm, "damping": step.damping, "length": step.length, "kind": step.kind,
                     "ratio": ratio})
        if number >= len(path) - 9:  # the end is what the rate is about
            digits = -np.log10(max(step.gradient_norm, 1e-300))
            print(f"{number:4} {step.gradient_norm:12.3e} {max(0.0, digits):13.1f} "
                  + (f"{step.damping:11.1e} {step.length:7.2g} {ratio:18.3g}  {step.kind}" if after else f"{'':39}  {step.kind}"))
    return rows


def _rates(paths):
    figure = matplotlib.figure.Figure((8.5, 4.6))
    axes = figure.add_subplot()
    for name, path in paths.items():
        axes.semilogy([max(step.gradient_norm, 1e-17) for step in path], "o-", markersize=4, label=name)
    axes.set(xlabel="step", ylabel="norm of the gradient", title="Newton's method: the last steps double the digits")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
