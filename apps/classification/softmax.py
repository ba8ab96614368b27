"""Softmax regression on pixels: the baseline."""
import keras

from apps.classification import classifier

MONITOR = ("accuracy", "max")


def build_model(config, spec):
    """Returns a compiled classifier whose logits are an affine function of the pixels."""
    return classifier.build(config, spec, keras.layers.Flatten())
