"""What a person looks at: wrong answers, which classes are confused, and the features of test images."""
from training.vision import classifiers


def pictures(model, splits, config, info):
    """Returns {name: uint8 (1, height, width, 3)}, see `training.vision.classifiers.pictures`."""
    return classifiers.pictures(model, splits.test, config, info)


def embeddings(model, splits, config, info):
    """Returns the features of the target's test images, with their classes and thumbnails, for the projector."""
    return classifiers.embeddings(model, splits.test, config, info)
