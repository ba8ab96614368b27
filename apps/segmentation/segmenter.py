"""Common parts of the systems: a compiled network with the class scores of every pixel, its features and its loss."""
import inspect
import math

import keras
import tensorflow as tf

from training.engine import graphs, optimizers
from training.errors import UserError
from training.vision import pixel_losses


def compiled(config, spec, steps, network, stride=1):
    """Returns a compiled segmenter for images of any size and a training of `steps` steps.

    network: function of a Keras tensor of scaled images, (batch, height, width, 3), that returns the maps of which the class
             scores are an affine function, (batch, height, width, filters). Its layer "features" has the features at the lowest
             resolution, and its keyword arguments are the settings of the same names.
    stride:  the sides of the images must be multiples of this

    Raises:
        UserError: they are not.
    """
    check_sizes(config, stride)
    chosen = {name: getattr(config, name) for name, argument in inspect.signature(network).parameters.items()
              if argument.kind is argument.KEYWORD_ONLY}
    model = build(len(spec.info.class_names), lambda images: network(images, **chosen), prior=prior(config, spec.info),
                  name=config.model)
    model.compile(optimizer(config, steps), loss={"classes": loss(config, spec.info)})
    return model


def build(classes, network, *, prior=None, name=None):
    """Returns a segmenter: {"image": (batch, height, width, 3), RGB from 0 to 255} -> {"classes": logits (batch, height, width,
    classes) float32}.

    classes: number of classes
    network: as in `compiled`
    prior:   class scores that the network begins with; None: zeros
    name:    name of the model

    Example:
        >>> import numpy as np
        >>> from apps.segmentation import segmenter, unet
        >>> model = segmenter.build(5, lambda images: unet.network(images, width=4, stages=3))
        >>> model({"image": np.zeros((2, 32, 48, 3), "uint8")})["classes"].shape
        TensorShape([2, 32, 48, 5])
    """
    image = keras.Input((None, None, 3), name="image")
    maps = network(keras.layers.Rescaling(1 / 64, -2.0, name="scale")(image))
    logits = class_scores(classes, prior)(maps)
    return FullyConvolutional({"image": image}, {"classes": logits}, name=name)


class FullyConvolutional(keras.Model):
    """A network from images to class scores with a layer "features", see `build`."""

    def embed(self, images):
        """Returns the features at the lowest resolution, averaged over each image: (batch, features) float32."""
        network = graphs.of_model(
            self, "segmenter.embed", lambda model: keras.Model(model.inputs, model.get_layer("features").output))
        return tf.reduce_mean(tf.cast(network({"image": images}, training=False), tf.float32), (1, 2))


def class_scores(classes, prior=None):
    """Returns the layer with the class scores, an affine function of each pixel's features.

    classes: number of classes
    prior:   class scores that it begins with; None: zeros
    """
    bias = "zeros" if prior is None else keras.initializers.Constant(prior)
    return keras.layers.Conv2D(classes, 1, bias_initializer=bias, dtype="float32", name="classes")


def probabilities(model, images):
    """Returns the probability of each class at each pixel, (batch, height, width, classes) float32."""
    return tf.nn.softmax(tf.cast(model({"image": images}, training=False)["classes"], tf.float32))


def check_sizes(config, stride):
    """Raises a UserError if the images of the settings cannot be divided by `stride`."""
    for name in ("image_size", "crop_size"):
        size = getattr(config, name)
        if size is not None and size % stride:
            near = max(stride, round(size / stride) * stride)
            raise UserError(f"--{name.replace('_', '-')} {size} must be a multiple of {stride} for this network: choose {near}")


def optimizer(config, steps):
    """Returns AdamW with linear warmup and cosine decay to 0 over `steps`."""
    return optimizers.make("adam", optimizers.warmup_cosine(config.learning_rate, steps), weight_decay=config.weight_decay)


def loss(config, info):
    """Returns the loss of the settings: the balanced cross-entropy, plus the Dice loss times `dice_share`."""
    weights = class_weights(info.pixel_shares, config.class_balance)
    return pixel_losses.PixelLoss(weights, config.dice_share)


def prior(config, info):
    """Returns the class scores with the least loss for a network that sees nothing, so that the first steps learn more than how
    frequent the classes are: log(share * weight)."""
    weights = class_weights(info.pixel_shares, config.class_balance)
    return [math.log(max(share, 1e-6) * weight) for share, weight in zip(info.pixel_shares, weights)]


def class_weights(pixel_shares, exponent):
    """Returns the weight of each class, (median share / share) ^ exponent; 1 for a class that never occurs.

    Source: Eigen and Fergus, 2015, "Predicting Depth, Surface Normals and Semantic Labels", section 4.3.2, with exponent 1.
    """
    present = sorted(share for share in pixel_shares if share > 0)
    median = present[len(present) // 2]
    return [float((median / share) ** exponent) if share > 0 else 1.0 for share in pixel_shares]
