"""Mean IoU, pixel accuracy and the confusion of the classes, at the resolution of the original images."""
from apps.segmentation import pixel_metrics

VALIDATION_METRICS = ("mean_iou", "pixel_accuracy", "mean_accuracy")


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set, see `pixel_metrics.summary`."""
    counts = pixel_metrics.confusions(model, batches, config, info)
    return pixel_metrics.summary(counts, info.class_names, resamples=resamples, seed=config.seed)


def table(metrics):
    """Prints the IoU of each class."""
    pixel_metrics.table(metrics)
