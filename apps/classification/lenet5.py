"""LeNet-5 (C1)."""
import keras

import layers
from apps.classification import blocks, classifier
from training import UserError

SIDE = 32
"""side length of the images in the paper, in pixels"""
TANH_SCALE = 1.7159
"""limit of the paper's squashing function"""


def build_model(config, spec, steps):
    """Returns a compiled LeNet-5.

    Raises:
        UserError: the images have neither 28 nor 32 pixels per side.
    """
    if config.image_size not in (SIDE - 4, SIDE):
        raise UserError(f"lenet5 needs images of {SIDE - 4} or {SIDE} pixels, not --image-size {config.image_size}")
    return classifier.compiled(config, spec, steps, network)


def network(images, *, activation="tanh", dropout=0.0, dropout_scaling="inverted", initializer="lecun"):
    """Returns F6 of LeNet-5, (batch, 84): 60,000 weights before the classes, as in the paper.

        C1 6 maps 5x5, S2 subsampling, C3 16 maps 5x5 by table 1, S4 subsampling, C5 120 maps 5x5, F6 84 units

    Images of 28 x 28 pixels are padded by 2 pixels.

    images: Keras tensor of scaled images, (batch, 28 or 32, 28 or 32, channels)
    activation, dropout, dropout_scaling, initializer: see `Blocks`; "tanh" is the paper's `ScaledTanh`

    Example:
        >>> import keras
        >>> from apps.classification import lenet5
        >>> lenet5.network(keras.Input((28, 28, 1))).shape
        (None, 84)

    Source: LeCun et al., 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B.
    What differs: the output is an affine layer with softmax, not distances to prototypes of digits; Adam with cosine decay and
    a weight decay of 0.05, not the stochastic diagonal Levenberg-Marquardt method without weight decay; initial weights are
    normal with variance 1 / fan_in, not uniform within 2.4 / fan_in; with the activation "maxout" C3 sees all maps of S2.
    """
    parts = LeNetBlocks(
        activation=activation, dropout=dropout, dropout_scaling=dropout_scaling, initializer=initializer)

    def convolution(x, filters, name):
        return parts.convolution(x, filters, 5, name=name, padding="valid", normalize=False)

    def subsampling(x, name):
        return parts.activation(layers.Subsampling(2, name=name)(x), f"{name}_activation")

    if images.shape[1] < SIDE:
        images = keras.layers.ZeroPadding2D((SIDE - images.shape[1]) // 2, name="margin")(images)
    x = subsampling(convolution(images, 6, "c1"), "s2")
    if activation == "maxout":
        x = convolution(x, 16, "c3")
    else:
        x = layers.TableConv2D(16, 5, layers.LENET5_TABLE, kernel_initializer=parts.initializer(), name="c3")(x)
        x = parts.activation(x, "c3_activation")
    x = keras.layers.Flatten()(convolution(subsampling(x, "s4"), 120, "c5"))
    x = parts.dense(parts.dropout(x, "c5_dropout"), 84, "f6")
    return parts.dropout(x, "f6_dropout")


class LeNetBlocks(blocks.Blocks):
    """Blocks with the paper's squashing function as tanh, initialized so that typical inputs of a unit reach its nonlinear
    range."""

    def activation(self, x, name):
        return ScaledTanh(name=name)(x) if self.kind == "tanh" else super().activation(x, name)


@keras.saving.register_keras_serializable(package="apps")
class ScaledTanh(keras.layers.Layer):
    """y = 1.7159 tanh(2 x / 3). Source: LeCun et al., 1998, appendix A."""

    def call(self, inputs):
        return TANH_SCALE * keras.ops.tanh(inputs * (2 / 3))

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)
