"""Building blocks of the networks: affine layers with normalization, activation and dropout."""
import keras

import layers

LEAK = 0.01
"""slope of a leaky ReLU below 0; Maas et al., 2013"""
MAXOUT_PIECES = 2
"""affine functions per unit if maxout replaces the activation"""
_INITIALIZERS = {
    "small": lambda: keras.initializers.RandomNormal(stddev=0.01),
    "large": lambda: keras.initializers.RandomNormal(stddev=1.0),
    "uniform": lambda: keras.initializers.RandomUniform(-0.03, 0.03),
    "lecun": lambda: keras.initializers.LecunNormal(),
    "glorot": lambda: keras.initializers.GlorotNormal(),
    "he": lambda: keras.initializers.HeNormal(),
}
_ACTIVATIONS = {
    "sigmoid": lambda name, shape: keras.layers.Activation("sigmoid", name=name),
    "tanh": lambda name, shape: keras.layers.Activation("tanh", name=name),
    "relu": lambda name, shape: keras.layers.ReLU(name=name),
    "leaky_relu": lambda name, shape: keras.layers.LeakyReLU(LEAK, name=name),
    "prelu": lambda name, shape: keras.layers.PReLU(  # one slope a channel, 0.25 at first: He et al., 2015
        keras.initializers.Constant(0.25), shared_axes=list(range(1, len(shape) - 1)), name=name),
    "elu": lambda name, shape: layers.ELU(name=name),
}


def initializer(scheme):
    """Returns a new Keras initializer; each weight needs its own, because an initializer returns the same values at every
    call.

    scheme: "small", "large", "uniform", "lecun", "glorot" or "he"
    """
    return _INITIALIZERS[scheme]()


class Blocks:
    """Affine layers with normalization, activation and dropout, which are of the same kind throughout a network.

    The order is affine, normalization, activation. "maxout" turns each affine layer with an activation into a maxout layer
    with a normalized maximum. With batch normalization, affine layers have no bias, because the shift replaces it.

    activation:      "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu" or "maxout"
    normalization:   "none", "batch" or "local_response"
    dropout:         dropout rate
    dropout_scaling: "inverted" scales the remaining units during training, "classic" scales all units at prediction
    initializer:     scheme of the initial weights, see `initializer`
    """

    def __init__(self, *, activation="relu", normalization="none", dropout=0.0, dropout_scaling="inverted", initializer="he"):
        self.kind, self.normalization = activation, normalization
        self.rate, self.scaling, self.scheme = dropout, dropout_scaling, initializer

    def initializer(self):
        """Returns a new Keras initializer of the network's scheme."""
        return initializer(self.scheme)

    def convolution(self, x, filters, size, strides=1, name=None, activate=True, padding="same", normalize=True):
        """Returns the feature maps (batch, height, width, filters) of a convolution, by default with normalization and
        activation."""
        settings = dict(kernel_initializer=self.initializer(), padding=padding)
        if self.kind == "maxout" and activate:
            x = layers.MaxoutConv2D(filters, size, MAXOUT_PIECES, strides=strides, name=name, **settings)(x)
        else:
            has_bias = self.normalization != "batch" or not normalize
            x = keras.layers.Conv2D(filters, size, strides, use_bias=has_bias, name=name, **settings)(x)
        x = self.normalize(x, f"{name}_normalization") if normalize else x
        return self.activation(x, f"{name}_activation") if activate else x

    def dense(self, x, units, name):
        """Returns the outputs (batch, units) of a fully connected layer with activation and without normalization."""
        if self.kind == "maxout":
            x = layers.Maxout(units, MAXOUT_PIECES, kernel_initializer=self.initializer(), name=name)(x)
        else:
            x = keras.layers.Dense(units, kernel_initializer=self.initializer(), name=name)(x)
        return self.activation(x, f"{name}_activation")

    def activation(self, x, name):
        """Returns the activation of x, which is x itself after a maxout layer."""
        return x if self.kind == "maxout" else _ACTIVATIONS[self.kind](name, x.shape)(x)

    def normalize(self, x, name):
        """Returns x normalized, which is x itself with "none"."""
        if self.normalization == "batch":
            return layers.BatchNormalization(name=name)(x)
        if self.normalization == "local_response":
            return layers.LocalResponseNormalization(name=name)(x)
        return x

    def dropout(self, x, name, rate=None):
        """Applies dropout to x; rate: dropout rate; None: that of the network."""
        rate = self.rate if rate is None else rate
        if not rate:
            return x
        kind = layers.InvertedDropout if self.scaling == "inverted" else layers.ClassicDropout
        return kind(rate, name=name)(x)
