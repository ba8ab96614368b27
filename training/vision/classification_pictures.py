"""Pictures of predictions for examples with one class each: misclassified images and the confusion matrix."""
import matplotlib.figure
import numpy as np

from training.engine import figures

_SHOWN = 24


def wrong(images, probabilities, labels, names):
    """Returns a picture of the misclassified images, most confident first, with predicted and true class.

    images:        (images, height, width, channels), from 0 to 255
    probabilities: (images, classes)
    labels:        (images,), numbers of the true classes
    names:         of the classes
    """
    found = probabilities.argmax(axis=1)
    rows = np.flatnonzero(found != labels)
    rows = rows[np.argsort(-probabilities[rows, found[rows]], kind="stable")][:_SHOWN]
    figure = matplotlib.figure.Figure((9, 6.5))
    figure.suptitle(f"{(found != labels).sum()} of {len(labels)} test images are misclassified" if len(rows)
                    else f"all {len(labels)} test images are classified correctly")
    for place, row in enumerate(rows):
        axes = figure.add_subplot(4, 6, place + 1)
        axes.imshow(rgb(images[row:row + 1])[0])
        axes.set_title(f"{names[found[row]]} {probabilities[row, found[row]]:.0%}, is {names[labels[row]]}", fontsize=7)
        axes.axis("off")
    return figures.rendered(figure)


def confusion(scores, labels, names):
    """Returns a picture of the confusion matrix.

    scores: (examples, classes), the largest of which is the predicted class
    labels: (examples,), numbers of the true classes
    names:  of the classes
    """
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (labels, scores.argmax(axis=1)), 1)
    side = max(4.5, 0.35 * len(names) + 2)
    figure = matplotlib.figure.Figure((side, side))
    axes = figure.add_subplot()
    axes.imshow(np.sqrt(counts), cmap="Blues")  # the root: a few confusions beside many right ones can be seen
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= 30:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, count, ha="center", va="center", fontsize=7,
                          color="white" if count > counts.max() / 2 else "black")
    return figures.rendered(figure)


def rgb(images):
    """Returns images of one or three channels as uint8 (images, height, width, 3)."""
    images = np.clip(np.round(images), 0, 255).astype(np.uint8)
    return images.repeat(3, axis=-1) if images.shape[-1] == 1 else images
