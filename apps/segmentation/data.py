"""Images with a class for every pixel."""
from apps.segmentation import labeled_pixels
from apps.segmentation.labeled_pixels import Info  # noqa: F401  a part of this module's contract


def datasets(config):
    """Returns the Splits of a data set of images and masks, see `labeled_pixels.datasets`."""
    return labeled_pixels.datasets(config)
