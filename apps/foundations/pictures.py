"""Pictures: weights, errors, confusion matrix, and decision regions."""
import matplotlib.figure
import numpy as np

from apps.foundations import data, evaluation, naive_bayes
from training.app import Rendered
from training.engine import figures
from training.vision import classification_pictures

COLORS = tuple(f"tab:{name}" for name in ("blue", "orange", "green", "red", "purple", "brown", "pink", "olive", "cyan", "gray"))


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures, see `pictures`."""
    return Rendered(pictures(model, splits, config, info))


def pictures(model, splits, config, info):
    """Returns {name: uint8 (1, height, width, 3)}.

    coefficients: weights of the standardized columns; for naive Bayes, mean and standard deviation by class
    residuals:    predicted and true numbers of the test split, and the residuals
    line:         predicted numbers over the column, if there is only one
    confusion:    confusion matrix of true and predicted classes
    boundary:     predicted classes on the plane of the first two principal components through the mean of the training split,
                  with the projected test examples
    """
    features = np.concatenate([inputs["features"] for inputs, _ in splits.test])
    outputs, answers = evaluation.predicted(model, splits.test)
    made = {"coefficients": figures.rendered(_coefficients(model, info))}
    if not info.class_names:
        made["residuals"] = figures.rendered(_residuals(outputs[:, 0], answers))
        if len(info.columns) == 1:
            made["line"] = figures.rendered(_line(features[:, 0], outputs[:, 0], answers, info.columns[0]))
    else:
        made["confusion"] = classification_pictures.confusion(outputs, answers, info.class_names)
        if len(info.columns) > 1:
            made["boundary"] = figures.rendered(_boundary(model, config, info, features, answers))
    return {name: picture[None] for name, picture in made.items()}


def _coefficients(model, info):
    columns, names = info.columns, info.class_names or ["target"]
    if isinstance(model, naive_bayes.NaiveBayes):
        return _gaussians(model.statistics(), columns, names)
    weights, _ = model.coefficients()
    if weights.shape[1] == 1:
        figure = matplotlib.figure.Figure((7, 0.26 * len(columns) + 1.4))
        axes = figure.add_subplot()
        axes.barh(range(len(columns)), weights[:, 0], color=np.where(weights[:, 0] > 0, "tab:red", "tab:blue"))
        axes.set_yticks(range(len(columns)), columns, fontsize=8)
        axes.set_ylim(len(columns) - 0.4, -0.6)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel(f"weight of the standardized column for {names[-1]}")
        return figure
    figure = matplotlib.figure.Figure((1.0 * len(names) + 4, 0.3 * len(columns) + 1.6))
    axes = figure.add_subplot()
    _heat_map(axes, weights, columns, names)
    axes.set_title("weight of the standardized column", fontsize=10)
    return figure


def _gaussians(statistics, columns, names):
    """Plots the mean of each class and, as a line, one standard deviation to each side."""
    counts, means = np.asarray(statistics.counts), np.asarray(statistics.means())
    variances = np.diagonal(np.asarray(statistics.scatter()), axis1=1, axis2=2) / np.maximum(counts, 1)[:, None]
    figure = matplotlib.figure.Figure((7, (0.12 * len(names) + 0.12) * len(columns) + 1.6))
    axes = figure.add_subplot()
    for place in range(len(names)):
        heights = np.arange(len(columns)) + (place - (len(names) - 1) / 2) * 0.7 / len(names)
        axes.errorbar(means[place], heights, xerr=np.sqrt(np.maximum(variances[place], 0)), fmt="o", markersize=4, linewidth=1.5,
                      color=COLORS[place % len(COLORS)], label=str(place))
    axes.set_yticks(range(len(columns)), columns, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("mean and standard deviation of the standardized column")
    figures.legend(axes, names, fontsize=8)
    return figure


def _heat_map(axes, values, rows, columns):
    limit = max(np.abs(values).max(), 1e-12)
    axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7,
                  color="white" if abs(value) > 0.6 * limit else "black")


def _residuals(predicted, target):
    figure = matplotlib.figure.Figure((9.5, 4.2))
    left, right = figure.subplots(1, 2)
    ends = [min(target.min(), predicted.min()), max(target.max(), predicted.max())]
    left.plot(ends, ends, color="black", linewidth=0.8)
    left.scatter(target, predicted, s=14, alpha=0.7)
    left.set(xlabel="true number", ylabel="predicted number", title="test split")
    right.axhline(0, color="black", linewidth=0.8)
    right.scatter(predicted, target - predicted, s=14, alpha=0.7)
    right.set(xlabel="predicted number", ylabel="true - predicted", title=f"standard deviation {np.std(target - predicted):.4g}")
    return figure


def _line(column, predicted, target, name):
    figure = matplotlib.figure.Figure((6, 4.2))
    axes = figure.add_subplot()
    order = np.argsort(column)
    axes.scatter(column, target, s=14, alpha=0.7, label="test examples")
    axes.plot(column[order], predicted[order], color="tab:red", label="predicted")
    axes.set(xlabel=name, ylabel="target")
    axes.legend()
    return figure


def _boundary(model, config, info, features, labels):
    mean, std = np.array(info.mean), np.array(info.std)
    train, _ = data.read(config.dataset, config, config.columns).parts["train"]
    _, lengths, axes_of = np.linalg.svd((train - mean) / std, full_matrices=False)
    plane = axes_of[:2]  # (2, columns)
    share = (lengths[:2] ** 2).sum() / (lengths ** 2).sum()
    points = (features - mean) / std @ plane.T
    (left, bottom), (right, top) = points.min(axis=0) - 0.7, points.max(axis=0) + 0.7
    grid = np.stack(np.meshgrid(np.linspace(left, right, 240), np.linspace(bottom, top, 200)), axis=-1)  # (y, x, 2)
    logits = np.asarray(model({"features": (grid.reshape(-1, 2) @ plane) * std + mean})["label"])
    predicted = logits.argmax(axis=1).reshape(grid.shape[:2])
    names = info.class_names
    is_right = evaluation.predicted(model, [({"features": features}, {"label": labels})])[0].argmax(axis=1) == labels
    figure = matplotlib.figure.Figure((7, 5.4))
    axes = figure.add_subplot()
    colors = [COLORS[place % len(COLORS)] for place in range(len(names))]
    axes.contourf(grid[0, :, 0], grid[:, 0, 1], predicted, np.arange(len(names) + 1) - 0.5, colors=colors, alpha=0.2)
    for place in range(len(names)):
        rows = labels == place
        axes.scatter(*points[rows].T, s=20, color=colors[place], label=str(place))
    axes.scatter(*points[~is_right].T, s=90, facecolors="none", edgecolors="black", label="wrong")
    axes.set(xlabel="first principal component", ylabel="second principal component")
    axes.set_title(f"color: predicted class on this plane, which explains {share:.0%} of the variance\n"
                   "points: projected test examples", fontsize=9)
    figures.legend(axes, [*names, "misclassified"], fontsize=8)
    return figure
