"""COCO average precision of instance masks and of their boxes, with bootstrap intervals."""
from training.vision.detection import metrics

VALIDATION_METRICS = ("mask_ap", "mask_ap50", "ap", "ap50")
"""metrics that are shown after each validation"""


def evaluate(model, batches, config, info, *, resamples=0):
    """Returns the metrics of `model.detect` over a validation or test set of batches.

    Keys: those of `training.vision.detection.metrics.coco` for boxes, and the same with "mask_" in front for masks, which are
    compared in pixels of the original images. With `resamples` above 0 also `intervals`: {"mask_ap": [low, high], "mask_ap50",
    "ap", "ap50"}, the 95 % percentile intervals over this number of bootstrap samples of the images.
    """
    ground_truth, detections, _ = metrics.detect(model, batches, config)
    figures, intervals = {}, {}
    for kind, prefix in (("segm", "mask_"), ("bbox", "")):
        found = metrics.coco(ground_truth, detections, info.class_names, kind)
        figures |= {prefix + name: value for name, value in found.items()}
        if resamples:
            found = metrics.intervals(ground_truth, detections, info.class_names, resamples, config.seed, kind)
            intervals |= {prefix + name: value for name, value in found.items()}
    return figures | ({"intervals": intervals} if resamples else {})


def table(figures):
    """Prints the metrics and a row for each class."""
    metrics.table(figures)
