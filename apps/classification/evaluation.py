"""Accuracy and loss, over all images and by class."""
from training.vision import classifiers
from training.vision.classification_metrics import table  # noqa: F401  a part of this module's contract

VALIDATION_METRICS = ("accuracy", "loss")


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set, see `classification_metrics`; the loss is without label smoothing."""
    return classifiers.evaluate(model, batches, config, info, resamples=resamples)
