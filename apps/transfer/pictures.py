"""What a person looks at: wrong answers, which classes are confused, and the features of test images."""
from training.app import Rendered
from training.vision import classifiers


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures and embeddings of the target's test images, see `training.vision.classifiers`."""
    return Rendered(classifiers.pictures(model, splits.test, config, info),
                    embeddings=classifiers.embeddings(model, splits.test, config, info))
