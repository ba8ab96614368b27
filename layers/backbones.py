"""Convolutional backbones that several systems share: functions from an image to feature maps of decreasing size."""
import keras

from layers.batch_normalization import BatchNormalization


class ReLUBlocks:
    """The parts of a residual network by default: convolution without bias, batch normalization and ReLU.

    Another class with the same two methods can take its place as the `parts` of a backbone.
    """

    def convolution(self, x, filters, size, strides=1, name=None, activate=True):
        """Returns `x` after a convolution without bias, batch normalization and, with `activate`, the activation.

        x: Keras tensor (batch, height, width, channels).
        filters: number of output channels.
        size: side of the square kernel.
        strides: strides of the convolution, whose padding is "same".
        name: name of the convolution, and the start of the names of the other layers.
        activate: whether the activation follows.
        """
        x = keras.layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal",
                                name=name)(x)
        x = BatchNormalization(name=f"{name}_normalization")(x)
        return self.activation(x, f"{name}_activation") if activate else x

    def activation(self, x, name):
        """Returns the ReLU of `x`, from a layer with this name."""
        return keras.layers.ReLU(name=name)(x)


def resnet18(images):
    """Returns the feature maps of ResNet-18 at strides 4, 8, 16 and 32, with 64, 128, 256 and 512 channels.

    images: Keras tensor (batch, height, width, 3).

    Source: He et al., 2016, "Deep Residual Learning for Image Recognition", table 1, without the classifier. TensorFlow
    pads strided convolutions at the bottom and on the right, whereas the authors' code pads all sides, so published
    weights would not fit exactly.
    """
    x = ReLUBlocks().convolution(images, 64, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return residual_stages(x, filters=(64, 128, 256, 512), blocks=(2, 2, 2, 2), first_stride=1)


def small_resnet(images, filters=(24, 32, 64, 128), blocks=(1, 2, 2)):
    """Returns feature maps at strides 4, 8, 16, ...: a residual network for small images and few cores.

    images: Keras tensor (batch, height, width, 3).
    filters: channels of the stem, then of each stage.
    blocks: number of residual blocks of each stage.

    Source: He et al., 2016, "Deep Residual Learning for Image Recognition". What differs: the stem is one 3x3
    convolution of stride 2 without pooling, and by default there are three stages with few filters.

    >>> import keras
    >>> from layers import backbones
    >>> [feature_map.shape for feature_map in backbones.small_resnet(keras.Input((64, 96, 3)))]
    [(None, 16, 24, 32), (None, 8, 12, 64), (None, 4, 6, 128)]
    """
    x = ReLUBlocks().convolution(images, filters[0], 3, 2, "stem")
    return residual_stages(x, filters=filters[1:], blocks=blocks, first_stride=2)


def cifar_resnet(images, width=16, blocks=3, parts=None):
    """Returns feature maps at strides 1, 2 and 4, with `width`, 2 * `width` and 4 * `width` channels.

    images: Keras tensor (batch, height, width, channels).
    width: channels of the stem and of the first stage.
    blocks: number of residual blocks of each of the three stages.
    parts: what the blocks are made of, an object with the methods of `ReLUBlocks`, which is the default.

    Source: He et al., 2016, "Deep Residual Learning for Image Recognition", section 4.2, without the classifier: the
    defaults are ResNet-20. What differs: where the number of channels changes, the shortcut is a 1x1 convolution.
    """
    parts = parts or ReLUBlocks()
    x = parts.convolution(images, width, 3, 1, "stem")
    return residual_stages(x, [width * 2 ** stage for stage in range(3)], [blocks] * 3, 1, parts)


def resnet50(images, parts=None):
    """Returns the feature maps of ResNet-50 at strides 4, 8, 16 and 32, with 256, 512, 1024 and 2048 channels.

    images: Keras tensor (batch, height, width, 3).
    parts: what the blocks are made of, an object with the methods of `ReLUBlocks`, which is the default.

    Source: He et al., 2016, "Deep Residual Learning for Image Recognition", table 1, without the classifier. What
    differs: a block's stride is in its 3x3 convolution, a variant known as "v1.5".
    """
    parts = parts or ReLUBlocks()
    x = parts.convolution(images, 64, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return residual_stages(x, (64, 128, 256, 512), (3, 4, 6, 3), 1, parts, _bottleneck)


def residual_stages(x, filters, blocks, first_stride, parts=None, kind=None):
    """Returns the output of each stage of a residual network, a list.

    x: Keras tensor (batch, height, width, channels), the output of the stem.
    filters: channels of each stage; bottleneck blocks give four times as many.
    blocks: number of residual blocks of each stage.
    first_stride: stride of the first stage; every later stage has stride 2.
    parts: what the blocks are made of, an object with the methods of `ReLUBlocks`, which is the default.
    kind: function that builds one block; by default a block is two 3x3 convolutions.
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
    # a 1x1 convolution with strides reads just these places; on processors with AVX2 but no AVX-512, oneDNN's gradient of the
    # strided form writes past its memory where there are fewer than 8 channels and one thread
    return parts.convolution(x[:, ::stride, ::stride], filters, 1, 1, f"{name}_shortcut", activate=False)
