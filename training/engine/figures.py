"""Matplotlib figures as pixels, with all texts shown literally."""
import io
import warnings

import matplotlib.text
import numpy as np
from PIL import Image


def rendered(figure, *, dpi=110, is_tight=True):
    """Returns a figure as uint8 (height, width, 3).

    Text between dollar signs is not treated as a formula, because names come from users.

    figure:   matplotlib figure
    dpi:      pixels per inch
    is_tight: whether to apply the tight layout; false for a figure with its own layout
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks, and of names too long to fit
        _without_formulas(figure)
        if is_tight:
            figure.tight_layout()
        figure.savefig(file, dpi=dpi, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def legend(axes, names, **settings):
    """Adds a legend that shows names literally; matplotlib omits labels that begin with an underscore.

    axes:     matplotlib axes
    names:    labels of its artists, in order
    settings: arguments of `Axes.legend`
    """
    handles, _ = axes.get_legend_handles_labels()
    made = axes.legend(handles, [str(place) for place in range(len(handles))], **settings)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)


def _without_formulas(figure):
    for text in figure.findobj(matplotlib.text.Text):
        text.set_parse_math(False)
        text.set_usetex(False)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":  # its ticks are matplotlib's own powers of ten
                for text in axis.get_ticklabels(which="both"):
                    text.set_parse_math(True)
