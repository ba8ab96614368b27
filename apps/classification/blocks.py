"""What the networks are put together from: affine layers followed by what `--activation`, `--normalization`, … ask for."""
import keras

import layers

LEAK = 0.01
"""slope of a leaky ReLU below 0; Maas et al., 2013"""
MAXOUT_PIECES = 2
"""of the units that `--activation maxout` puts in place of others"""
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
    """Returns a fresh Keras initializer, of which each weight needs its own: one gives the same numbers at every call."""
    return _INITIALIZERS[scheme]()


class Blocks:
    """Affine layers with activation, normalisation and dropout as the settings say.

    The order is affine, normalisation, activation. `--activation maxout` makes each affine layer that has an activation a
    maxout layer, whose maximum is normalised. With batch normalisation affine layers have no bias: the shift is that.
    """

    def __init__(self, config):
        self.kind, self.normalization = config.activation, config.normalization or "none"
        self.rate, self.scaling, self.scheme = config.dropout or 0.0, config.dropout_scaling, config.initializer

    def initializer(self):
        return initializer(self.scheme)

    def convolution(self, x, filters, size, strides=1, name=None, activate=True, padding="same", normalize=True):
        settings = dict(kernel_initializer=self.initializer(), padding=padding)
        if self.kind == "maxout" and activate:
            x = layers.MaxoutConv2D(filters, size, MAXOUT_PIECES, strides=strides, name=name, **settings)(x)
        else:
            has_bias = self.normalization != "batch" or not normalize
            x = keras.layers.Conv2D(filters, size, strides, use_bias=has_bias, name=name, **settings)(x)
        x = self.normalize(x, f"{name}_normalization") if normalize else x
        return self.activation(x, f"{name}_activation") if activate else x

    def dense(self, x, units, name):
        if self.kind == "maxout":
            x = layers.Maxout(units, MAXOUT_PIECES, kernel_initializer=self.initializer(), name=name)(x)
        else:
            x = keras.layers.Dense(units, kernel_initializer=self.initializer(), name=name)(x)
        return self.activation(x, f"{name}_activation")

    def activation(self, x, name):
        return x if self.kind == "maxout" else _ACTIVATIONS[self.kind](name, x.shape)(x)

    def normalize(self, x, name):
        if self.normalization == "batch":
            return layers.BatchNormalization(name=name)(x)
        if self.normalization == "local_response":
            return layers.LocalResponseNormalization(name=name)(x)
        return x

    def dropout(self, x, name, rate=None):
        rate = self.rate if rate is None else rate
        if not rate:
            return x
        kind = layers.InvertedDropout if self.scaling == "inverted" else layers.ClassicDropout
        return kind(rate, name=name)(x)
