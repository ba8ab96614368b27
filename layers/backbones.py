"""Convolutional trunks that several systems share: functions from an image to maps of falling size."""
import keras

from layers.batch_normalization import BatchNormalization


class ReLUBlocks:
    """Convolutions without bias, batch normalisation and ReLU: what residual networks are made of unless told otherwise."""

    def convolution(self, x, filters, size, strides=1, name=None, activate=True):
        x = keras.layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal",
                                name=name)(x)
        x = BatchNormalization(name=f"{name}_normalization")(x)
        return self.activation(x, f"{name}_activation") if activate else x

    def activation(self, x, name):
        return keras.layers.ReLU(name=name)(x)


def resnet18(images):
    """Returns the maps of strides 4, 8, 16, 32 with 64, 128, 256, 512 channels.

    images: Keras tensor (batch, height, width, 3).
    Source: He et al., 2016, "Deep Residual Learning", table 1, without the classifier. TensorFlow pads strided
    convolutions below and to the right, the authors' code on all sides: published weights would not fit exactly.
    """
    x = ReLUBlocks().convolution(images, 64, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return residual_stages(x, filters=(64, 128, 256, 512), blocks=(2, 2, 2, 2), first_stride=1)


def small_resnet(images, filters=(24, 32, 64, 128), blocks=(1, 2, 2)):
    """Returns the maps of strides 4, 8, 16: a residual network for small images and few cores.

    images: Keras tensor (batch, height, width, 3).
    What differs from He et al., 2016: one 3x3 stem convolution of stride 2 and no pooling, three stages, few filters.
    """
    x = ReLUBlocks().convolution(images, filters[0], 3, 2, "stem")
    return residual_stages(x, filters=filters[1:], blocks=blocks, first_stride=2)


def cifar_resnet(images, width=16, blocks=3, parts=None):
    """Returns the maps of strides 1, 2, 4 with `width`, twice and four times as many channels.

    images: Keras tensor (batch, height, width, channels).
    Source: He et al., 2016, section 4.2, without the classifier: 3 blocks a stage of 16 channels are ResNet-20. What
    differs: where the number of channels changes the shortcut is a 1x1 convolution.
    """
    parts = parts or ReLUBlocks()
    x = parts.convolution(images, width, 3, 1, "stem")
    return residual_stages(x, [width * 2 ** stage for stage in range(3)], [blocks] * 3, 1, parts)


def resnet50(images, parts=None):
    """Returns the maps of strides 4, 8, 16, 32 with 256, 512, 1024, 2048 channels.

    images: Keras tensor (batch, height, width, 3).
    Source: He et al., 2016, table 1, without the classifier; the stride of a block is in its 3x3 convolution ("v1.5").
    """
    parts = parts or ReLUBlocks()
    x = parts.convolution(images, 64, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return residual_stages(x, (64, 128, 256, 512), (3, 4, 6, 3), 1, parts, _bottleneck)


def residual_stages(x, filters, blocks, first_stride, parts=None, kind=None):
    """Returns each stage's output; a stage is `blocks[i]` residual blocks.

    parts: what a block is made of, with the methods of `ReLUBlocks`, which it is by default
    kind:  function that makes a block (default: two 3x3 convolutions)
    """
    maps = []
    for stage, (count, channels) in enumerate(zip(blocks, filters)):
        for block in range(count):
            stride = 1 if block else (2 if stage else first_stride)
            x = (kind or _plain)(parts or ReLUBlocks(), x, channels, stride, f"stage{stage + 1}_block{block + 1}")
        maps.append(x)
    return maps


def _plain(parts, x, filters, stride, name):
    shortcut = _shortcut(parts, x, filters, stride, name)
    x = parts.convolution(x, filters, 3, stride, f"{name}_convolution1")
    x = parts.convolution(x, filters, 3, 1, f"{name}_convolution2", activate=False)
    return parts.activation(keras.layers.Add(name=f"{name}_sum")([x, shortcut]), f"{name}_activation")


def _bottleneck(parts, x, filters, stride, name):
    shortcut = _shortcut(parts, x, 4 * filters, stride, name)
    x = parts.convolution(x, filters, 1, 1, f"{name}_convolution1")
    x = parts.convolution(x, filters, 3, stride, f"{name}_convolution2")
    x = parts.convolution(x, 4 * filters, 1, 1, f"{name}_convolution3", activate=False)
    return parts.activation(keras.layers.Add(name=f"{name}_sum")([x, shortcut]), f"{name}_activation")


def _shortcut(parts, x, filters, stride, name):
    if stride == 1 and x.shape[-1] == filters:
        return x
    return parts.convolution(x, filters, 1, stride, f"{name}_shortcut", activate=False)
