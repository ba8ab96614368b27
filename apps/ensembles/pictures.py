"""Pictures: error by number of members, disagreement of members, misclassified images, and confusion matrix."""
import itertools

import matplotlib.figure
import numpy as np

from apps.ensembles import evaluation
from training.app import Rendered
from training.engine import figures
from training.vision import classification_pictures


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures:

    members:      test error of the first 1, 2, … members, for each combination, and of each member alone
    disagreement: fraction of the test images that two members classify differently
    wrong:        test images that the ensemble misclassifies, most confident first, with predicted and true class
    confusion:    confusion matrix of true and predicted classes
    """
    batches = list(itertools.islice(splits.test, config.limit_steps))
    outputs, labels = evaluation.answers(model, batches)
    images = np.concatenate([inputs["image"] for inputs, _ in batches])
    found = {name: values.argmax(axis=-1) for name, values in outputs.items()}
    chosen = outputs[model.combine][:, -1]
    errors = {name: (values != labels[:, None]).mean(axis=0) for name, values in found.items()}
    made = {"members": by_members({_WORDS[name]: errors[name] for name in model.combinations}, errors["members"]),
            "disagreement": _disagreement(evaluation.disagreement(found["members"])),
            "wrong": classification_pictures.wrong(images, chosen, labels, info.class_names),
            "confusion": classification_pictures.confusion(chosen, labels, info.class_names)}
    return Rendered({name: picture[None] for name, picture in made.items()})


def by_members(curves, alone):
    """Returns a picture of test errors against the number of members.

    curves: {combination: (members,)}
    alone:  (members,), error of each member by itself
    """
    figure = matplotlib.figure.Figure((7, 4.5))
    axes = figure.add_subplot()
    axes.plot(np.arange(1, len(alone) + 1), alone, "x", color="gray", label="each member alone")
    _curves(axes, curves, [*curves.values(), alone])
    axes.set(title="test error of the first members together")
    axes.legend(fontsize=8)
    return figures.rendered(figure)


def comparison(rows):
    """Returns a figure of test errors by number of members; kinds with several combinations are on the left.

    rows: {kind: {"error_by_members": {combination: (members,)}}}, see `compare`
    """
    figure = matplotlib.figure.Figure((13, 6))
    colors = {kind: f"C{number}" for number, kind in enumerate(rows)}
    several = {kind for kind, row in rows.items() if "parameters" in row["error_by_members"]}
    for place, kinds in enumerate((several, set(rows) - several)):
        curves, styles = {}, {}
        for kind in filter(kinds.__contains__, rows):
            for name, errors in rows[kind]["error_by_members"].items():
                curves[f"{kind}: {_WORDS[name]}"] = errors
                styles[f"{kind}: {_WORDS[name]}"] = {"color": colors[kind], "linestyle": _STYLES[name]}
        axes = figure.add_subplot(1, 2, place + 1)
        _curves(axes, curves, list(curves.values()), styles)
        axes.set(title="test error of the first members together")
        axes.legend(fontsize=7, ncols=3 if place == 0 else 2, loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False,
                    columnspacing=1)
    return figure


_WORDS = {"probabilities": "mean of probabilities", "vote": "vote", "parameters": "mean of parameters", "boosting": "sum"}
_STYLES = {"probabilities": "-", "vote": "--", "parameters": ":", "boosting": "-"}


def _curves(axes, curves, shown, styles=None):
    """Plots {name: errors of the first 1, 2, … members} on a scale at which all errors that are `shown` can be read."""
    for name, errors in curves.items():
        axes.plot(np.arange(1, len(errors) + 1), errors, marker="o", markersize=4, label=name, **(styles or {}).get(name, {}))
    longest = max(map(len, curves.values()))
    axes.set(xlabel="members", xticks=range(1, longest + 1, 1 + longest // 15))
    if max(map(np.max, shown)) > 8 * max(min(map(np.min, shown)), 1e-3):  # else the others are one line beside one that fails
        axes.set_yscale("log")
        axes.set_yticks([0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
        axes.set_yticks([], minor=True)
        axes.set_ylim(0.8 * max(min(map(np.min, shown)), 1e-3), min(1.0, 1.3 * max(map(np.max, shown))))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.grid(alpha=0.3)


def _disagreement(shares):
    count = len(shares)
    side = max(4.0, 0.42 * count + 2)
    figure = matplotlib.figure.Figure((side, side))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0)
    axes.set(xlabel="member", ylabel="member", title="test images classified differently, in %")
    if count <= 30:
        axes.set_xticks(range(count), range(1, count + 1))
        axes.set_yticks(range(count), range(1, count + 1))
        for (row, column), share in np.ndenumerate(shares):
            if row != column:
                axes.text(column, row, f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}", ha="center", va="center",
                          fontsize=6 if count > 10 else 8, color="white" if share > shares.max() / 2 else "black")
    return figures.rendered(figure)
