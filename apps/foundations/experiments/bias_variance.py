"""Bias, variance and noise of regression on a known function, over many training sets (F4)."""
import matplotlib.figure
import numpy as np

from training import UserError, reports

_POINTS = 400  # at which the error is measured
_PENALTIES = tuple(float(10 ** power) for power in np.arange(3, -5, -0.5))
"""of ridge regression, from little capacity to much"""
_SHOWN = 20
"""fitted curves in a picture"""


def truth(x):
    """Returns sin(2 pi x)."""
    return np.sin(2 * np.pi * x)


def run(app, request):
    """Compares bias^2 + variance + noise with the expected squared error, by degree and by penalty.

        E (y - g(x))^2 = (f(x) - E g(x))^2 + E (g(x) - E g(x))^2 + std^2

    with the expectation over training sets to which g is fitted, y = f(x) + noise, and x uniform between 0 and 1.

    Source: Geman, Bienenstock and Doursat, 1992, "Neural Networks and the Bias/Variance Dilemma", eq. 2.1 and 2.2; Bishop, 2006,
    "Pattern Recognition and Machine Learning", section 3.2.

    Raises:
        UserError: there are too few points for the degrees.
    """
    if request.examples <= request.degrees:
        raise UserError(f"bias_variance needs more --examples than --degrees, got {request.examples} and {request.degrees}")
    folder = reports.folder_of(app, "bias_variance", request)
    random = np.random.default_rng(request.seed)
    # a point in each of as many parts of the interval: no gap in which a polynomial could go anywhere
    x = (np.arange(request.examples) + random.random((request.resamples, request.examples))) / request.examples
    y = truth(x) + request.std * random.normal(size=x.shape)
    points = (np.arange(_POINTS) + 0.5) / _POINTS
    fresh = truth(points) + request.std * random.normal(size=(request.resamples, _POINTS))
    capacities = {"degree": list(range(request.degrees + 1)), "penalty": list(_PENALTIES)}
    fits = {kind: {} for kind in capacities}
    for degree in capacities["degree"]:
        fits["degree"][degree] = fitted(x, y, points, degree, 0.0)
    for penalty in capacities["penalty"]:
        fits["penalty"][penalty] = fitted(x, y, points, request.degrees, penalty)
    numbers = {}
    for kind, curves in fits.items():
        numbers[kind] = [{kind: capacity} | decomposition(curve, points, fresh, request.std)
                         for capacity, curve in curves.items()]
        _print(kind, numbers[kind])
    figures = {"decomposition": lambda: _decompositions(numbers, request),
               "curves": lambda: _curves(fits, numbers, points, x, y)}
    return reports.keep(folder, "bias_variance", request, numbers, figures)


def fitted(x, y, points, degree, penalty):
    """Returns the predictions at the points of polynomials fitted to each training set, (resamples, points).

        sum (y - P w)^2 + penalty |w|^2, without a penalty on the constant

    P contains Legendre polynomials, which are nearly orthogonal for nearly uniform points.
    """
    design, shown = (np.polynomial.legendre.legvander(2 * values - 1, degree) for values in (x, points))
    if penalty:
        root = np.sqrt(penalty) * np.eye(degree + 1)
        root[0] = 0
        design = np.concatenate([design, np.broadcast_to(root, (len(x), *root.shape))], axis=1)
        y = np.concatenate([y, np.zeros((len(y), degree + 1))], axis=1)
    weights = np.linalg.pinv(design) @ y[:, :, None]  # (resamples, degree + 1, 1)
    return weights[:, :, 0] @ shown.T


def decomposition(curves, points, fresh, std):
    """Returns bias^2, variance, noise, their sum, the measured error, and its standard error over the training sets.

    curves: predictions of the polynomial of each training set, (resamples, points)
    points: values of x, (points,)
    fresh:  new values of y at the points, (resamples, points)
    std:    standard deviation of the noise
    """
    mean = curves.mean(axis=0)
    bias, variance, noise = ((truth(points) - mean) ** 2).mean(), curves.var(axis=0).mean(), std ** 2
    errors = ((fresh - curves) ** 2).mean(axis=1)
    return {"bias": float(bias), "variance": float(variance), "noise": float(noise), "sum": float(bias + variance + noise),
            "error": float(errors.mean()), "standard_error": float(errors.std(ddof=1) / np.sqrt(len(errors)))}


def _print(kind, rows):
    print(f"\n{kind:>9}   bias^2  variance     noise       sum  measured error")
    best = min(rows, key=lambda row: row["error"])
    for row in rows:
        print(f"{row[kind]:9.4g} {row['bias']:8.4f} {row['variance']:9.4f} {row['noise']:9.4f} {row['sum']:9.4f}  "
              f"{row['error']:8.4f} ± {1.96 * row['standard_error']:.4f}{'  least' if row is best else ''}")
    farthest = max(abs(row["sum"] - row["error"]) / max(row["standard_error"], 1e-12) for row in rows)
    print(f"the sum is at most {farthest:.1f} standard errors from the measured error")


def _decompositions(numbers, request):
    figure = matplotlib.figure.Figure((11, 4.6))
    for axes, (kind, rows) in zip(figure.subplots(1, 2, sharey=True), numbers.items()):
        at = [row[kind] for row in rows]
        for name, color in (("bias", "tab:blue"), ("variance", "tab:orange"), ("noise", "tab:gray"), ("sum", "black")):
            axes.plot(at, [row[name] for row in rows], color=color, label="bias²" if name == "bias" else name,
                      linewidth=2 if name == "sum" else 1.5)
        axes.errorbar(at, [row["error"] for row in rows], yerr=[1.96 * row["standard_error"] for row in rows], fmt="o",
                      color="tab:red", markersize=5, label="measured error")
        axes.set_yscale("log")
        axes.set_ylim(min(row[name] for row in rows for name in ("variance", "noise")) / 3, None)
        axes.grid(alpha=0.3)
    left, right = figure.axes
    left.set(xlabel="degree of the polynomial: capacity rises to the right", ylabel="mean over the interval")
    right.set(xlabel=f"penalty at degree {request.degrees}: capacity rises to the right")
    right.set_xscale("log")
    right.invert_xaxis()
    left.legend(fontsize=8)
    return figure


def _curves(fits, numbers, points, x, y):
    """Plots some of the fitted curves, and their mean, for the least, the best and the most capacity of each kind."""
    figure = matplotlib.figure.Figure((11, 6.4))
    for row, (kind, curves) in enumerate(fits.items()):
        best = min(numbers[kind], key=lambda one: one["error"])[kind]
        chosen = [list(curves)[1 if kind == "degree" else 0], best, list(curves)[-1]]
        for column, (capacity, words) in enumerate(zip(chosen, ("little", "best", "most"))):
            axes = figure.add_subplot(2, 3, 3 * row + column + 1)
            axes.plot(points, curves[capacity][:_SHOWN].T, color="tab:orange", linewidth=0.6, alpha=0.7)
            axes.plot(points, truth(points), color="black", linewidth=1.5, label="truth")
            axes.plot(points, curves[capacity].mean(axis=0), color="tab:blue", linewidth=1.5, linestyle="--", label="mean of all")
            axes.scatter(x[0], y[0], s=8, color="tab:gray", zorder=3)
            axes.set(ylim=(-2, 2), title=f"{kind} {capacity:.3g}: {words} capacity")
            axes.title.set_fontsize(10)
    figure.axes[0].legend(fontsize=8)
    return figure
