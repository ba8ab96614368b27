"""Convolutional trunks that several systems share: functions from an image to maps of falling size."""
import keras

from layers.batch_normalization import BatchNormalization


def resnet18(images):
    """Returns the maps of strides 4, 8, 16, 32 with 64, 128, 256, 512 channels.

    images: Keras tensor (batch, height, width, 3).
    Source: He et al., 2016, "Deep Residual Learning", table 1, without the classifier. TensorFlow pads strided
    convolutions below and to the right, the authors' code on all sides: published weights would not fit exactly.
    """
    x = _convolution(images, 64, 7, 2, "stem")
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    return residual_stages(x, filters=(64, 128, 256, 512), blocks=(2, 2, 2, 2), first_stride=1)


def small_resnet(images, filters=(24, 32, 64, 128), blocks=(1, 2, 2)):
    """Returns the maps of strides 4, 8, 16: a residual network for small images and few cores.

    images: Keras tensor (batch, height, width, 3).
    What differs from He et al., 2016: one 3x3 stem convolution of stride 2 and no pooling, three stages, few filters.
    """
    x = _convolution(images, filters[0], 3, 2, "stem")
    return residual_stages(x, filters=filters[1:], blocks=blocks, first_stride=2)


def residual_stages(x, filters, blocks, first_stride):
    """Returns each stage's output; a stage is `blocks[i]` residual blocks of two 3x3 convolutions."""
    maps = []
    for stage, (count, channels) in enumerate(zip(blocks, filters)):
        for block in range(count):
            stride = 1 if block else (2 if stage else first_stride)
            x = _residual_block(x, channels, stride, f"stage{stage + 1}_block{block + 1}")
        maps.append(x)
    return maps


def _residual_block(x, filters, stride, name):
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, 1, stride, f"{name}_shortcut", activate=False)
    x = _convolution(x, filters, 3, stride, f"{name}_convolution1")
    x = _convolution(x, filters, 3, 1, f"{name}_convolution2", activate=False)
    return keras.layers.ReLU(name=f"{name}_activation")(keras.layers.Add(name=f"{name}_sum")([x, shortcut]))


def _convolution(x, filters, size, stride, name, activate=True):
    x = keras.layers.Conv2D(filters, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal",
                            name=name)(x)
    x = BatchNormalization(name=f"{name}_normalization")(x)
    return keras.layers.ReLU(name=f"{name}_activation")(x) if activate else x
