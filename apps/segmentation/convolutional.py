"""Pixel classification for all pixels in one pass, with the weights of `patches` (S1)."""
from apps.segmentation import pixel_classifier
from apps.segmentation.pixel_classifier import PixelClassifier  # noqa: F401  the network of this system


def build_model(config, spec, steps):
    """Returns a network that classifies all pixels in one pass.

    Raises:
        UserError: the training images have another size than those that are evaluated.
    """
    return pixel_classifier.compiled(config, spec, steps, one_pass=True)
