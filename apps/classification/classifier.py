"""Common parts of the systems: scaling of pixels, and a compiled classifier on the features of a network."""
import functools
import inspect

import keras
from keras import ops

from training.engine import optimizers
from training.vision.adversarial import AdversarialTraining


def compiled(config, spec, steps, network, scale=None, **logits):
    """Returns a compiled classifier for the images of a Spec and a training of `steps` steps.

    network: as in `build`; its keyword arguments are the settings of the same names
    scale:   layer that maps pixels to the network's inputs; None: standardization by mean and standard deviation of the
             training images
    logits:  settings of the last `keras.layers.Dense`
    """
    info = spec.info
    scale = scale or keras.layers.Normalization(
        mean=info.mean, variance=[value ** 2 for value in info.std], dtype="float32", name="standardize")
    chosen = {name: getattr(config, name) for name, argument in inspect.signature(network).parameters.items()
              if argument.kind is argument.KEYWORD_ONLY}
    network = functools.partial(network, **chosen)
    model = build(spec.inputs["image"].shape[1:], len(info.class_names), network, scale, name=config.model,
                  adversarial_epsilon=config.adversarial_epsilon, **logits)
    rate = optimizers.warmup_cosine(config.learning_rate, steps)
    model.compile(
        optimizers.make(config.optimizer, rate, weight_decay=config.weight_decay, gradient_noise=config.gradient_noise,
                        seed=config.seed),
        loss={"label": CrossEntropy(config.label_smoothing)}, metrics={"label": "accuracy"})
    return model


def build(shape, classes, network, scale, *, name=None, adversarial_epsilon=0.0, **logits):
    """Returns a classifier: {"image": uint8 (batch, side, side, channels)} -> {"label": logits (batch, classes)}.

    shape:               shape of an image, (side, side, channels)
    classes:             number of classes
    network:             function of a Keras tensor of scaled images that returns features, (batch, features). The logits are
                         an affine function of them, and `training.vision.classifiers.features` returns them
    scale:               Keras layer that maps pixels to the network's inputs
    name:                name of the model
    adversarial_epsilon: perturbation of the adversarial copy of each image, as a fraction of the pixel range; 0: no
                         adversarial copy
    logits:              settings of the last `keras.layers.Dense`

    Example:
        >>> import keras, numpy as np
        >>> from apps.classification import classifier, lenet5
        >>> model = classifier.build((28, 28, 1), 10, lenet5.network, keras.layers.Rescaling(1 / 128, -1.0))
        >>> model({"image": np.zeros((2, 28, 28, 1), "uint8")})["label"].shape
        TensorShape([2, 10])
    """
    image = keras.Input(shape, dtype="uint8", name="image")
    x = network(scale(image))
    x = keras.layers.Identity(name="features")(x)
    x = keras.layers.Dense(classes, dtype="float32", name="label", **logits)(x)
    ends = {"image": image}, {"label": x}
    if adversarial_epsilon:
        return AdversarialTraining(*ends, scale, 255 * adversarial_epsilon, name=name)
    return keras.Model(*ends, name=name)


@keras.saving.register_keras_serializable(package="apps")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with integer labels and label smoothing.

        loss = -sum_k t_k log softmax(logits)_k,   t_k = (1 - smoothing) [k = label] + smoothing / classes

    smoothing: fraction of the target probability that is spread evenly over all classes

    Source: Szegedy et al., 2016, "Rethinking the Inception Architecture", section 7, label smoothing.
    """

    def __init__(self, smoothing=0.0, **kwargs):
        super().__init__(**kwargs)
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        labels = ops.cast(ops.reshape(y_true, (-1, 1)), "int32")
        right = ops.take_along_axis(log_probabilities, labels, axis=-1)[:, 0]
        return -(1 - self.smoothing) * right - self.smoothing * ops.mean(log_probabilities, axis=-1)

    def get_config(self):
        return super().get_config() | {"smoothing": self.smoothing}
