"""Choice of C by cross-validation, coarse to fine (F5)."""
import matplotlib.figure
import numpy as np
import tensorflow as tf

from apps.foundations import data, evaluation, linear, logistic, regression
from apps.foundations.experiments import newton
from training import UserError, reports
from training.config import Data

_COARSE = (-4.0, 4.0)
"""powers of 10 of the coarse grid's ends"""


def run(app, request):
    """Chooses C by the mean loss on the held-out folds of train and validation, then evaluates it once on test.

    Every model is fitted by Newton's method; its columns are standardized by the folds used for fitting. In addition to the
    best C, the report shows the smallest C with a mean loss within one standard error of the best: a simpler model that may be
    as good.

    Source: Hastie, Tibshirani and Friedman, 2009, "The Elements of Statistical Learning", section 7.10.

    Raises:
        UserError: the system cannot predict the data set, or there are fewer examples than folds.
    """
    dataset = request.dataset or app.systems[request.model].dataset
    table = data.read(dataset, Data(data_dir=request.data_dir))
    data.check(table, request.model, dataset)
    features, answers = (np.concatenate([table.parts[part][place] for part in ("train", "validation")]) for place in (0, 1))
    if request.folds > len(answers):
        raise UserError(f"--folds must be at most {len(answers)}, the number of examples of {dataset}, got {request.folds}")
    folder = reports.folder_of(app, "cross_validation", request)
    fold_of = assign(answers, request.folds, request.seed, bool(table.class_names))
    fitter = Fitter(request.model, len(table.class_names))
    rows = {}

    def measure(grid):
        for c in grid:
            if c not in rows:
                rows[c] = _losses(fitter, features, answers, fold_of, request.folds, c)

    coarse = _grid(10 ** _COARSE[0], 10 ** _COARSE[1], request.coarse)
    measure(coarse)
    place = min(range(request.coarse), key=lambda place: rows[coarse[place]].mean())
    measure(_grid(coarse[max(0, place - 1)], coarse[min(request.coarse - 1, place + 1)], request.fine))
    table_rows, chosen, simpler = _choice(rows)
    _print(table_rows, chosen, simpler, request, dataset)
    evaluated = {}
    for name, c in (("chosen", chosen), ("simpler", simpler)):
        evaluated[name] = {"c": c} | _evaluated(fitter, features, answers, table.parts["test"], c)
        print(f"{name:8} c {c:.3g}: " + "  ".join(f"{key} {value:.4f}" for key, value in evaluated[name].items() if key != "c")
              + " on test")
    trials = {f"c_{row['c']:.3g}": ({"model": request.model, "dataset": dataset, "c": row["c"]},
                                    {"loss": row["loss"], "standard_error": row["standard_error"]}) for row in table_rows}
    numbers = {"dataset": dataset, "grid": table_rows, "test": evaluated}
    return reports.keep(folder, "cross_validation", request, numbers,
                        {"cross_validation": lambda: _figure(table_rows, chosen, simpler, request, dataset)}, trials=trials)


class Fitter:
    """Fits a system to arrays of any number of examples with a single trace.

    model:   "softmax", "logistic" or "linear"
    classes: number of classes; 0 if a number is predicted
    """

    def __init__(self, model, classes):
        self.outputs = classes if model == "softmax" else 1
        self.finish = logistic.logits if model == "logistic" else lambda z: z
        loss = linear.loss if model == "linear" else regression.cross_entropy
        self.derivatives = newton.Derivatives(regression.objective(loss, self.finish))

    def fit(self, features, answers, c):
        """Returns a function: features (n, columns) -> outputs (n, outputs), fitted with the penalty of `c`."""
        mean, std = data.moments(features)
        x = tf.constant((features - mean) / std)
        targets = tf.constant(answers[:, None] if answers.dtype.kind == "f" else answers)
        start = np.zeros((features.shape[1] + 1, self.outputs))
        path = newton.minimize(self.derivatives, start.ravel(), x, targets, tf.constant(1 / (c * len(answers)), tf.float64),
                               damping=0.01, tolerance=1e-7, curvature=False)
        matrix = path[-1].place.reshape(start.shape)
        return lambda others: np.asarray(self.finish(tf.constant((others - mean) / std @ matrix[:-1] + matrix[-1])))


def _grid(least, most, count):
    """Returns values with one ratio between neighbors, rounded so that a finer grid meets a coarser one."""
    return [float(f"{c:.6g}") for c in np.geomspace(least, most, count)]


def assign(answers, folds, seed, has_classes):
    """Returns the fold of each example, (n,); the sizes of the folds, also by class, differ by at most one."""
    order = np.random.default_rng(seed).permutation(len(answers))
    if has_classes:
        order = order[np.argsort(answers[order], kind="stable")]
    found = np.empty(len(answers), int)
    found[order] = np.arange(len(answers)) % folds
    return found


def _losses(fitter, features, answers, fold_of, folds, c):
    """Returns the mean loss on each fold, (folds,)."""
    found = []
    for fold in range(folds):
        out = fold_of == fold
        predicted = fitter.fit(features[~out], answers[~out], c)(features[out])
        found.append(_loss(predicted, answers[out]).mean())
    return np.array(found)


def _loss(outputs, answers):
    if answers.dtype.kind == "f":
        return (outputs[:, 0] - answers) ** 2 / 2
    return evaluation.cross_entropy(outputs, answers)


def _choice(rows):
    """Returns (rows of the table by growing c, the c of the least mean loss, the least c within its standard error)."""
    table = [{"c": c, "loss": float(losses.mean()), "standard_error": float(losses.std(ddof=1) / np.sqrt(len(losses)))}
             for c, losses in sorted(rows.items())]
    best = min(table, key=lambda row: row["loss"])
    return table, best["c"], next(row["c"] for row in table if row["loss"] <= best["loss"] + best["standard_error"])


def _evaluated(fitter, features, answers, test, c):
    predicted = fitter.fit(features, answers, c)(test[0])
    found = {"loss": float(_loss(predicted, test[1]).mean())}
    if answers.dtype.kind == "f":
        return found | {"rmse": float(np.sqrt(2 * found["loss"]))}
    return found | {"accuracy": float((predicted.argmax(axis=1) == test[1]).mean())}


def _print(rows, chosen, simpler, request, dataset):
    print(f"\n{request.model} on {dataset}: loss on {request.folds} held-out folds\n{'c':>10}  loss")
    for row in rows:
        mark = "  least" if row["c"] == chosen else "  within one standard error" if row["c"] == simpler else ""
        print(f"{row['c']:10.4g}  {row['loss']:.5g} ± {row['standard_error']:.2g}{mark}")
    if chosen in (rows[0]["c"], rows[-1]["c"]):
        print("the smallest loss is at the edge of the grid: values beyond it may be better")


def _figure(rows, chosen, simpler, request, dataset):
    figure = matplotlib.figure.Figure((7, 4.4))
    axes = figure.add_subplot()
    axes.errorbar([row["c"] for row in rows], [row["loss"] for row in rows], yerr=[row["standard_error"] for row in rows],
                  fmt="o-", markersize=4, capsize=2, linewidth=1)
    axes.axvline(chosen, color="tab:red", label=f"least: {chosen:.3g}")
    axes.axvline(simpler, color="tab:green", linestyle="--", label=f"within one standard error: {simpler:.3g}")
    axes.set(xscale="log", yscale="log", xlabel="c: the penalty weakens to the right", ylabel="loss on the held-out fold",
             title=f"{request.model} on {dataset}, {request.folds} folds")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    axes.tick_params(labelsize=8, which="both")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
