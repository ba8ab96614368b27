"""What the systems of this app share: from pixels to the network, and from its features to a compiled classifier."""
import keras
from keras import ops

from apps.classification import adversarial
from training.engine import optimizers


def build(config, spec, network, scale=None, **logits):
    """Returns a compiled classifier: {"image": uint8 (batch, side, side, channels)} -> {"label": logits (batch, classes)}.

    network: Keras tensor of scaled images -> Keras tensor (batch, features), which the logits are an affine function of;
             `training.vision.classifiers.features` finds it again
    scale:   layer from pixels to what the network gets; None: standardised by the training images' mean and deviation
    logits:  settings of the last `keras.layers.Dense`
    """
    image = keras.Input(spec.inputs["image"].shape[1:], dtype="uint8", name="image")
    scale = scale or keras.layers.Normalization(
        mean=spec.info["mean"], variance=[value ** 2 for value in spec.info["deviation"]], dtype="float32", name="standardise")
    x = network(scale(image))
    x = keras.layers.Identity(name="features")(x)
    x = keras.layers.Dense(len(spec.info["class_names"]), dtype="float32", name="label", **logits)(x)
    ends = {"image": image}, {"label": x}
    model = keras.Model(*ends, name=config.model) if not config.adversarial else adversarial.AdversarialTraining(
        *ends, scale, 255 * config.adversarial, name=config.model)
    rate = optimizers.warmup_cosine(config.learning_rate, spec.info["steps"])
    model.compile(
        optimizers.make(config.optimizer, rate, weight_decay=config.weight_decay, gradient_noise=config.gradient_noise,
                        seed=config.seed),
        loss={"label": CrossEntropy(config.label_smoothing)}, metrics={"label": "accuracy"})
    return model


@keras.saving.register_keras_serializable(package="apps")
class CrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits with whole-number labels, of whose probability a share is spread over all classes.

        loss = -sum_k t_k log softmax(logits)_k,   t_k = (1 - smoothing) [k = label] + smoothing / classes

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
