"""Generative and discriminative classifiers by training-set size (F3)."""
import warnings

import matplotlib.figure
import numpy as np
import tensorflow as tf

from apps.foundations import counting, data, lda, naive_bayes
from apps.foundations.pictures import COLORS
from training import UserError, reports
from training.config import Data

KINDS = ("naive_bayes", "shared naive_bayes", "lda", "logistic")
"""the second one shares the variance of each column among the classes, as in Ng and Jordan"""
_PER_CLASS = 2
"""examples of each class that the smallest training set holds: with fewer there is no variance"""
_SIZES = 10
_TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)
_LARGEST = 0.7  # share of train and validation: of all of them there is only one set


def run(app, request):
    """Samples training sets of growing size, and prints and plots the test error of each classifier.

    Two curves cross where the sign of their difference, paired by training set, changes for the last time. Logistic regression
    (softmax regression for more than two classes) is scikit-learn's, because thousands of models are fitted; its minimum is
    that of our systems, as their `difference` shows.

    Source: Ng and Jordan, 2002, "On Discriminative vs. Generative Classifiers: A comparison of logistic regression and naive
    Bayes": the generative classifier approaches its higher asymptotic error with fewer examples.

    Raises:
        UserError: a data set has no classes, or there is no data set.
    """
    if not request.datasets:
        raise UserError("--datasets needs at least one value")
    where = Data(data_dir=request.data_dir)
    tables = {name: simulated() if name == "simulated" else data.read(name, where) for name in request.datasets}
    for name, table in tables.items():
        data.check(table, "softmax", name)
    folder = reports.folder_of(app, "generative", request)
    numbers = {}
    for name, table in tables.items():
        sizes, errors = curves(table, request)
        numbers[name] = _summary(sizes, errors)
        _print(name, numbers[name])
    return reports.keep(folder, "generative", request, {"datasets": numbers}, {"curves": lambda: _figure(numbers)})


def simulated(examples=2000, columns=30, seed=0):
    """Returns the Table of two classes of Gaussian columns with one covariance, in which neighbors correlate by 0.3.

    The assumptions of linear discriminant analysis hold, those of naive Bayes do not, because the columns are dependent.
    """
    random = np.random.default_rng(seed)
    places = np.arange(columns)
    root = np.linalg.cholesky(0.3 ** np.abs(places[:, None] - places))
    shift = 0.3 * random.normal(size=columns)
    labels = random.integers(0, 2, 2 * examples).astype(np.int32)
    features = random.normal(size=(2 * examples, columns)) @ root.T + np.where(labels[:, None] == 1, shift, -shift)
    ends = {"train": (0, examples // 2), "validation": (examples // 2, examples), "test": (examples, 2 * examples)}
    return data.Table({part: (features[first:last], labels[first:last]) for part, (first, last) in ends.items()},
                      [f"column {place + 1}" for place in places], ["first", "second"])


def curves(table, request):
    """Returns (sizes, {kind: test errors (sizes, resamples)}), with the same training sets for all kinds."""
    parts = table.parts
    features, labels = (np.concatenate([parts["train"][place], parts["validation"][place]]) for place in (0, 1))
    classes = len(table.class_names)
    smallest = _PER_CLASS * classes
    sizes = np.unique(np.round(np.geomspace(smallest, _LARGEST * len(labels), _SIZES)).astype(int))
    errors = {kind: np.zeros((len(sizes), request.resamples)) for kind in KINDS}
    for number in range(request.resamples):
        order = _order(labels, classes, np.random.default_rng([request.seed, number]))
        for place, size in enumerate(sizes):
            rows = order[:size]  # each set holds the smaller ones, so that the curves are of one piece
            mean, std = data.moments(features[rows])
            x, test = (features[rows] - mean) / std, (parts["test"][0] - mean) / std
            predicted = _predicted(x, labels[rows], classes, test, request.c)
            for kind in KINDS:
                errors[kind][place, number] = (predicted[kind] != parts["test"][1]).mean()
    return sizes, errors


def _order(labels, classes, random):
    """Returns all rows in random order, but first some of each class."""
    order = random.permutation(len(labels))
    first = np.concatenate([order[labels[order] == k][:_PER_CLASS] for k in range(classes)])
    return np.concatenate([first, order[~np.isin(order, first)]])


def _predicted(x, labels, classes, test, c):
    """Returns {kind: the class that it predicts for each row of `test`}."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    found = _generative(tf.constant(x), tf.constant(labels), classes, tf.constant(test))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # in the last digits, where classes can be separated without error
        logistic = LogisticRegression(C=c, max_iter=300, tol=1e-3).fit(x, labels).predict(test)
    return dict(zip(KINDS, [*(each.numpy() for each in found), logistic]))


@tf.function(reduce_retracing=True)
def _generative(x, labels, classes, test):
    statistics = counting.statistics(x, labels, classes)
    joints = (naive_bayes.log_joint(statistics, test), naive_bayes.log_joint(statistics, test, is_shared=True),
              lda.log_joint(statistics, test))
    return tuple(tf.argmax(joint, axis=1) for joint in joints)


def _summary(sizes, errors):
    """Returns the means with 95 % intervals over the training sets, and from which size on logistic regression errs less."""
    def interval(values):
        return (1.96 * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])).tolist()

    crossings = {}
    for kind in KINDS[:-1]:
        ahead = errors[kind] - errors["logistic"]
        crossings[kind] = crossing(sizes, ahead.mean(axis=1), np.array(interval(ahead)))
    means = {kind: {"mean": values.mean(axis=1).tolist(), "interval": interval(values)} for kind, values in errors.items()}
    return {"sizes": sizes.tolist(), "crossings": crossings, "errors": means}


def crossing(sizes, differences, intervals):
    """Returns the size above which the difference is positive, if it is significantly negative before and significantly
    positive after.

    differences: error of a generative classifier minus that of logistic regression, by size; intervals: half widths of the 95
                 % intervals
    """
    above = np.flatnonzero(differences <= 0)
    last = above[-1] + 1 if len(above) else 0
    is_sure = (differences[:last] < -intervals[:last]).any() and (differences[last:] > intervals[last:]).any()
    return int(sizes[last]) if is_sure else None


def _print(name, numbers):
    print(f"\n{name}: test error by training-set size")
    print(f"{'size':>5}" + "".join(f"{kind:>20}" for kind in KINDS))
    for place, size in enumerate(numbers["sizes"]):
        print(f"{size:5}" + "".join(f"{values['mean'][place]:12.1%} ± {values['interval'][place]:5.1%}"
                                    for values in numbers["errors"].values()))
    for kind, size in numbers["crossings"].items():
        if not size:
            print(f"logistic regression and {kind} do not cross")
            continue
        means = (numbers["errors"][each]["mean"] for each in ("logistic", kind))
        others = [str(each) for each, ours, theirs in zip(numbers["sizes"], *means) if each < size and ours <= theirs]
        print(f"logistic regression and {kind} cross last at {size} examples: from there on logistic regression has the "
              "lower error, before that the higher one" + (f", except at {', '.join(others)} examples" if others else ""))


def _figure(numbers):
    figure = matplotlib.figure.Figure((4.6 * len(numbers) + 0.6, 4.4))
    for axes, (name, found) in zip(np.atleast_1d(figure.subplots(1, len(numbers))), numbers.items()):
        sizes = np.array(found["sizes"])
        for kind, color in zip(KINDS, COLORS):
            mean, half = (np.array(found["errors"][kind][part]) for part in ("mean", "interval"))
            axes.plot(sizes, 100 * mean, "o-", markersize=3, color=color, label=kind)
            axes.fill_between(sizes, 100 * (mean - half), 100 * (mean + half), color=color, alpha=0.2)
            if found["crossings"].get(kind):
                axes.axvline(found["crossings"][kind], color=color, linestyle=":", linewidth=1.2)
        axes.set(xscale="log", yscale="log", xlabel="training examples", title=name)
        axes.set_xticks([tick for tick in _TICKS if sizes[0] <= tick <= sizes[-1]])
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yticks([tick for tick in _TICKS if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("test error in %")
    figure.axes[0].legend(fontsize=8, title="dotted: crosses logistic", title_fontsize=8)
    return figure
