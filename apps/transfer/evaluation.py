"""Accuracy over the images of the target task and by class; for multi_task, of the source task too."""
from training.vision import classifiers
from training.vision.classification_metrics import table  # noqa: F401  a part of this module's contract

VALIDATION_METRICS = ("accuracy", "loss")


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set, see `classification_metrics`; for multi_task, also
    "source_accuracy"."""
    metrics = classifiers.evaluate(model, batches, config, info, resamples=resamples)
    if info.source_class_names and not validating:
        logits, labels = classifiers.answers(model, batches, "source_label")
        if len(labels):  # the first batches alone, as with --limit-steps, may have none
            metrics["source_accuracy"] = float((logits.argmax(axis=1) == labels).mean())
    return metrics
