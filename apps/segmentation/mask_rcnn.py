"""Mask R-CNN (S4)."""
from training.vision.detection import detector, faster_rcnn
from training.vision.detection.mask_rcnn import MaskRCNN


def build_model(config, spec, steps):
    """Returns a compiled MaskRCNN for images of config.image_size.

    Raises:
        UserError: the pyramid has no level with the stride `min_anchor_stride`, or fewer than `region_levels`.
    """
    model = MaskRCNN(
        config.image_size, len(spec.info.class_names), mask_layers=config.mask_layers, mask_filters=config.mask_filters,
        **faster_rcnn.arguments(config))
    model.compile(optimizer=detector.optimizer(config, steps))
    return model
