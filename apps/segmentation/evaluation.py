"""Mean IoU, pixel accuracy and the confusion of the classes, at the resolution of the original images."""
from apps.segmentation import instance_evaluation, pixel_metrics

VALIDATION_METRICS = ("mean_iou", "pixel_accuracy", "mean_accuracy", *instance_evaluation.VALIDATION_METRICS)


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set, see `pixel_metrics.summary` and
    `instance_evaluation.evaluate`."""
    if config.INSTANCES:
        return instance_evaluation.evaluate(model, batches, config, info, resamples=resamples)
    counts = pixel_metrics.confusions(model, batches, config, info)
    return pixel_metrics.summary(counts, info.class_names, resamples=resamples, seed=config.seed)


def table(metrics):
    """Prints the IoU of each class, or the average precision if single objects were found."""
    if "mask_ap" in metrics:
        return instance_evaluation.table(metrics)
    pixel_metrics.table(metrics)
