"""Pictures: misclassified images, confusion matrix, and features of test images."""
from training.app import Rendered
from training.vision import classifiers


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures and embeddings of the test images of the target task, see
    `training.vision.classifiers`."""
    return Rendered(classifiers.pictures(model, splits.test, config, info),
                    embeddings=classifiers.embeddings(model, splits.test, config, info))
