"""Faster R-CNN over a feature pyramid (D5)."""
from training.vision.detection import detector, faster_rcnn
from training.vision.detection.faster_rcnn import FasterRCNN


def build_model(config, spec, steps):
    """Returns a compiled FasterRCNN for images of config.image_size.

    Raises:
        UserError: the pyramid has no level with the stride `min_anchor_stride`, or fewer than `region_levels`.
    """
    model = FasterRCNN(config.image_size, len(spec.info.class_names), **faster_rcnn.arguments(config))
    model.compile(optimizer=detector.optimizer(config, steps))
    return model
