"""Image files of noise for the tests of data sets."""
import io

import numpy as np
import PIL.Image


def image_bytes(height, width, kind="jpeg", orientation=None, seed=0):
    """Returns the bytes of a file; `orientation` is EXIF's."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exif = PIL.Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, exif=exif)
    return file.getvalue()
