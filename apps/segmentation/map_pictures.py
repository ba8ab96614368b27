"""Pictures: true and predicted classes over the images, confusion of the classes, and IoU by class."""
import matplotlib.figure
import numpy as np

from apps.segmentation import palette, pixel_metrics
from training.app import Rendered
from training.engine import figures
from training.vision import drawing

_SHOWN_NAMES = 30
"""most classes that the picture of the confusion names"""


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures of the test split.

    overlays:  true classes above, predicted classes below; black where there is no label
    scores:    probability of the predicted class, dark where it is low, above; wrong pixels white, below
    confusion: share of the pixels of each true class (rows) by predicted class (columns)
    per_class: intersection over union of each class

    activations: the features of test images
    """
    batch = next(iter(splits.test))
    shown = few(model, batch, config, info)
    shown["confusion"] = _confusion(np.array(metrics["confusion"]), info.class_names)[None]
    shown["per_class"] = _per_class(metrics)[None]
    return Rendered(shown, {"features": model.embed(batch[0]["image"]).numpy()})


def few(model, batch, config, info, count=8):
    """Returns {"overlays", "scores"}: pictures of the first `count` images of a batch, uint8 (n, height, width, 3)."""
    (targets, found), = pixel_metrics.predicted(model, [batch], config)
    colors = palette.colors(info.class_names)
    size = batch[0]["image"].shape[1]
    overlays, scores = [], []
    for row, image in enumerate(drawing.uint8(batch[0]["image"][:count])):
        truth, (best, score) = pixel_metrics.truth_of(targets, row), found[row]
        truth, best, score = (_squared(part, size, fill) for part, fill in ((truth, -1), (best, -1), (score, 0)))
        image, legend = _enlarged(image), _legend([truth, best], info.class_names, colors)
        overlays.append(np.concatenate([
            drawing.titled(palette.overlay(image, _enlarged(each), colors), title, legend)
            for title, each in (("truth", truth), ("found", best))]))
        wrong = np.where((truth >= 0) & (truth != best), 255, 0).astype(np.uint8)
        scores.append(np.concatenate([drawing.titled(_enlarged(each)[..., None].repeat(3, axis=-1), title)
                                      for title, each in (("probability of the class", score), ("wrong", wrong))]))
    return {"overlays": np.stack(overlays), "scores": np.stack(scores)}


def _squared(values, size, fill):
    """Returns a map of the original's size as it lies in the square of the network."""
    height, width = values.shape
    longest = max(height, width)
    sides = [max(1, round(side * size / longest)) for side in (height, width)]
    rows, columns = [np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(int)
                     for new, old in zip(sides, (height, width))]
    square = np.full((size, size), fill, values.dtype if fill >= 0 else np.int64)
    square[:sides[0], :sides[1]] = values[rows][:, columns]
    return square


def _enlarged(values, side=384):
    factor = -(-side // max(values.shape[:2]))
    return values.repeat(factor, axis=0).repeat(factor, axis=1)


def _legend(maps, class_names, colors):
    """Returns (name, color) of the classes in some maps, but for the background."""
    held = sorted({int(k) for each in maps for k in np.unique(each) if k >= 0})
    found = [(class_names[k], tuple(int(part) for part in colors[k])) for k in held]
    return [(name, color) for name, color in found if color != palette.BLACK]


def _confusion(counts, names):
    """Returns a picture of the confusion matrix, as shares of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.5, 0.45 * min(len(names), _SHOWN_NAMES) + 2)
    figure = matplotlib.figure.Figure((side, side))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= _SHOWN_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(column, row, f"{share:.2f}".removeprefix("0"), ha="center", va="center", fontsize=7,
                          color="white" if share > 0.5 else "black")
    return figures.rendered(figure)


def _per_class(metrics):
    """Returns a picture with a bar for each class."""
    names, values = list(metrics["per_class"]), list(metrics["per_class"].values())
    figure = matplotlib.figure.Figure((6, max(2.5, 0.28 * len(names) + 1)))
    axes = figure.add_subplot()
    axes.barh(range(len(names)), values, color="tab:blue")
    axes.axvline(metrics["mean_iou"], color="tab:orange")
    axes.set(xlabel=f"IoU; the line is the mean, {metrics['mean_iou']:.3f}", xlim=(0, 1))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    return figures.rendered(figure)
