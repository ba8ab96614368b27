"""Figures of matplotlib as pixels."""
import io

import numpy as np
from PIL import Image


def rendered(figure):
    """Returns a figure as uint8 (height, width, 3).

    figure: of matplotlib
    """
    figure.tight_layout()
    file = io.BytesIO()
    figure.savefig(file, dpi=110)
    return np.asarray(Image.open(file).convert("RGB"))
