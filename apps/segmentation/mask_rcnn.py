"""Mask R-CNN (S4)."""
from training.vision.detection import detector
from training.vision.detection.mask_rcnn import MaskRCNN


def build_model(config, spec, steps):
    """Returns a compiled MaskRCNN for images of config.image_size.

    Raises:
        UserError: the pyramid has no level with the stride `min_anchor_stride`, or fewer than `region_levels`.
    """
    model = MaskRCNN(
        config.image_size, len(spec.info.class_names), mask_layers=config.mask_layers, mask_filters=config.mask_filters,
        backbone_kind=config.backbone, pyramid_filters=config.pyramid_filters, extra_levels=config.extra_levels,
        min_anchor_stride=config.min_anchor_stride, anchor_scale=config.anchor_scale, anchor_octaves=config.anchor_octaves,
        anchor_ratios=config.anchor_ratios, proposals=config.proposals, regions_per_image=config.regions_per_image,
        region_levels=config.region_levels, head_units=config.head_units, seed=config.seed,
        is_compiled=detector.is_compiled(config))
    model.compile(optimizer=detector.optimizer(config, steps))
    return model
