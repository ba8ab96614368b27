"""Images with a class for every pixel, or with a mask for every object."""
from apps.segmentation import labeled_pixels
from apps.segmentation.labeled_pixels import Info  # noqa: F401  a part of this module's contract
from training.vision.detection import boxed_images


def datasets(config):
    """Returns the Splits of a data set of images and masks, see `labeled_pixels.datasets`, and for instances
    `boxed_images.datasets`."""
    if config.INSTANCES:
        return boxed_images.splits(config, with_masks=True)
    return labeled_pixels.datasets(config)
