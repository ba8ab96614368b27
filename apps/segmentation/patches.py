"""Pixel classification patch by patch (S1)."""
from apps.segmentation import pixel_classifier, segmenter
from apps.segmentation.pixel_classifier import PixelClassifier  # noqa: F401  the network of this system

_DRAW_BALANCE = 0.5
"""exponent of the number of patches drawn from a class, as of `class_balance`: rare classes are seen more often and weigh less"""


def build_model(config, spec, steps):
    """Returns a network that classifies each pixel from the patch around it.

    Raises:
        UserError: the training images have another size than those that are evaluated.
    """
    return pixel_classifier.compiled(config, spec, steps, one_pass=False, every=config.every, patches=config.patches,
                                     draw_weights=segmenter.class_weights(spec.info.pixel_shares, _DRAW_BALANCE))
