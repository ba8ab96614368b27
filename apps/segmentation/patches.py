"""Pixel classification patch by patch (S1)."""
from apps.segmentation import pixel_classifier, segmenter
from apps.segmentation.pixel_classifier import PixelClassifier

_DRAW_BALANCE = 0.5
"""exponent of the number of patches drawn from a class, as of `class_balance`: rare classes are seen more often and weigh less"""


def build_model(config, spec, steps):
    """Returns a network that classifies each pixel from the patch around it.

    Raises:
        UserError: the training images have another size than those that are evaluated.
    """
    pixel_classifier.check(config)
    info = spec.info
    model = PixelClassifier(
        config.image_size, len(info.class_names), width=config.width, stages=config.stages, units=config.units,
        one_pass=False, every=config.every, patches=config.patches, dice_share=config.dice_share, seed=config.seed,
        class_weights=segmenter.class_weights(info.pixel_shares, config.class_balance), prior=segmenter.prior(config, info),
        draw_weights=segmenter.class_weights(info.pixel_shares, _DRAW_BALANCE))
    model.compile(segmenter.optimizer(config, steps))
    return model
