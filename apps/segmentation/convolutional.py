"""Pixel classification for all pixels in one pass, with the weights of `patches` (S1)."""
from apps.segmentation import pixel_classifier, segmenter
from apps.segmentation.pixel_classifier import PixelClassifier


def build_model(config, spec, steps):
    """Returns a network that classifies all pixels in one pass.

    Raises:
        UserError: the training images have another size than those that are evaluated.
    """
    pixel_classifier.check(config)
    info = spec.info
    model = PixelClassifier(
        config.image_size, len(info.class_names), width=config.width, stages=config.stages, units=config.units,
        one_pass=True, dice_share=config.dice_share, seed=config.seed,
        class_weights=segmenter.class_weights(info.pixel_shares, config.class_balance), prior=segmenter.prior(config, info))
    model.compile(segmenter.optimizer(config, steps))
    return model
