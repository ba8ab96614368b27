"""Feature maps of several scales, all with the semantics of the coarsest."""
import keras
from keras import ops

from layers.batch_normalization import BatchNormalization


@keras.saving.register_keras_serializable(package="layers")
class FeaturePyramid(keras.layers.Layer):
    """Adds each coarser map, upsampled by two, to the next finer one, and smooths the sums.

        merged[l] = conv1x1(features[l]) + up2(merged[l + 1])
        out[l] = conv3x3(merged[l])
        extra levels: out[l] = conv3x3(out[l - 1], stride 2), with a ReLU before each but the first

    Args:
        filters: number of channels of every output map.
        extra_levels: number of coarser levels appended to those of the inputs.
        normalize: whether batch normalization, instead of a bias, follows every convolution. Training from random
            weights needs it; the paper starts from a pretrained network and does without.

    Shape:
        inputs:  list from fine to coarse; per level (batch, height, width, channels), where height and width are half
                 those of the level before, rounded up
        returns: list with `extra_levels` more entries; per level (batch, height, width, filters)

    Raises:
        ValueError: `filters` is below 1, or a level is not half the size of the one before.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> maps = [np.zeros((1, 12, 8, 16), "float32"), np.zeros((1, 6, 4, 32), "float32")]
        >>> [tuple(level.shape) for level in layers.FeaturePyramid(filters=5, extra_levels=1)(maps)]
        [(1, 12, 8, 5), (1, 6, 4, 5), (1, 3, 2, 5)]

    Source: Lin et al., 2017, "Feature Pyramid Networks", section 3. The extra levels are P6 and P7 of Lin et al., 2017,
    "Focal Loss for Dense Object Detection", section 4; there, however, P6 is computed from C5, an input of the pyramid.
    """

    def __init__(self, filters, extra_levels=0, normalize=False, **kwargs):
        super().__init__(**kwargs)
        if filters < 1:
            raise ValueError(f"filters must be at least 1, got {filters}")
        self.filters = filters
        self.extra_levels = extra_levels
        self.normalize = normalize

    def build(self, input_shape):  # the number of levels is not known before
        sizes = [tuple(shape[1:3]) for shape in input_shape]
        for fine, coarse in zip(sizes, sizes[1:]):
            if None not in fine and coarse != tuple(-(-side // 2) for side in fine):
                raise ValueError(f"each level must be half the one before: {sizes}")
        self.laterals = [self._convolution(1, 1, shape, f"lateral_{i}") for i, shape in enumerate(input_shape)]
        merged = [(*shape[:-1], self.filters) for shape in input_shape]
        self.outputs = [self._convolution(3, 1, shape, f"output_{i}") for i, shape in enumerate(merged)]
        self.extras = [self._convolution(3, 2, (None, None, None, self.filters), f"extra_{i}")
                       for i in range(self.extra_levels)]

    def _convolution(self, size, strides, input_shape, name):
        """Returns one convolution, built, as a list of its layers."""
        convolution = keras.layers.Conv2D(self.filters, size, strides, padding="same", use_bias=not self.normalize,
                                          dtype=self.dtype_policy, name=name)
        convolution.build(input_shape)
        if not self.normalize:
            return [convolution]
        normalization = BatchNormalization(dtype=self.dtype_policy, name=f"{name}_normalization")
        normalization.build((None, None, None, self.filters))
        return [convolution, normalization]

    def call(self, inputs, training=False):
        merged = [_apply(layers, maps, training) for layers, maps in zip(self.laterals, inputs)]
        for level in reversed(range(len(merged) - 1)):
            height, width = ops.shape(merged[level])[1:3]  # known or not
            merged[level] = merged[level] + _double(merged[level + 1])[:, :height, :width]
        outputs = [_apply(layers, maps, training) for layers, maps in zip(self.outputs, merged)]
        for number, layers in enumerate(self.extras):
            outputs.append(_apply(layers, ops.relu(outputs[-1]) if number else outputs[-1], training))
        return outputs

    def compute_output_shape(self, input_shape):
        shapes = [(*shape[:-1], self.filters) for shape in input_shape]
        for _ in range(self.extra_levels):
            batch, *sides, filters = shapes[-1]
            shapes.append((batch, *(side if side is None else -(-side // 2) for side in sides), filters))
        return shapes

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters, "extra_levels": self.extra_levels, "normalize": self.normalize}


def _apply(layers, x, training):
    convolution, *normalization = layers
    x = convolution(x)
    return normalization[0](x, training=training) if normalization else x


def _double(maps):
    return ops.repeat(ops.repeat(maps, 2, axis=1), 2, axis=2)
