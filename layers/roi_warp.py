"""Regions cut out of an image with context and resized to a square."""
import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class RoIWarp(keras.layers.Layer):
    """Cuts regions out of an image and resizes each to size x size, whatever its shape, with a margin of context.

        height' = (ymax - ymin) * size / (size - 2 * context),  around the same center
        p(i) = (ymin + ymax - height') / 2 + (i + 1/2) * height' / size - 1/2
        out[n, i, j, :] = bilinear interpolation of images at row p(i), and at the column of j, found likewise
                          0 beyond the centers of the border's pixels

    The region itself fills the middle (size - 2 * context) pixels of each side. The images should have zero mean, so that what
    is missing at the border counts as the mean. Box coordinates have no gradient.

    Interpolation on a grid is separable, so two matrix products give the result of TensorFlow's kernel for crops, which
    is several times faster. The layer uses the products with `xla`, because XLA has no such kernel, and in float64.

    Args:
        size: side of the results in pixels.
        context: pixels of context on each side of a result, less than half of `size`.
        xla: whether the layer uses only operations that XLA can compile.

    Shape:
        boxes_yxyx: (batch, regions, 4): ymin, xmin, ymax, xmax in pixels; the number of regions must be known
        images:     (batch, height, width, channels); height and width must be known and at least 2
        returns:    (batch, regions, size, size, channels)

    Raises:
        ValueError: `size` is below 1, or `context` is negative or not less than half of `size`.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> images = np.tile(np.arange(8, dtype="float32"), (8, 1)).reshape(1, 8, 8, 1)  # each pixel holds its column
        >>> region = np.array([[[2, 3, 6, 5]]], "float32")  # twice as high as wide
        >>> print(layers.RoIWarp(size=4, context=1)(region, images).numpy()[0, 0, 0, :, 0])
        [2. 3. 4. 5.]
        >>> print(layers.RoIWarp(size=4)(region, images).numpy()[0, 0, 0, :, 0])
        [2.75 3.25 3.75 4.25]

    Source: Girshick et al., 2014, "Rich Feature Hierarchies", section 2.1 and appendix A: size 227 and context 16.
    """

    def __init__(self, size, context=0, xla=False, **kwargs):
        super().__init__(autocast=False, **kwargs)  # boxes stay float32: from 128 pixels on bfloat16 has steps of one
        if size < 1 or not 0 <= 2 * context < size:
            raise ValueError(f"size must be at least 1 and context below half of it, got {size} and {context}")
        self.size = size
        self.context = context
        self.xla = xla
        self.built = True  # no weights

    def call(self, boxes_yxyx, images):
        boxes_yxyx = ops.stop_gradient(ops.cast(boxes_yxyx, "float32"))
        start, end = boxes_yxyx[..., :2], boxes_yxyx[..., 2:]
        half = (end - start) * (0.5 * self.size / (self.size - 2 * self.context))
        step = 2 * half / self.size
        first = (start + end) / 2 - half + step / 2 - 0.5  # (batch, regions, 2)
        if self.xla or self.compute_dtype == "float64":
            return self._products(first, step, ops.cast(images, self.compute_dtype))
        images = tf.cast(images, "float32")
        batch, regions = tf.shape(images)[0], boxes_yxyx.shape[1]
        corners = tf.concat([first, first + (self.size - 1) * step], axis=-1)
        corners /= tf.constant([images.shape[1], images.shape[2]] * 2, "float32") - 1
        warped = tf.image.crop_and_resize(
            images, tf.reshape(corners, (-1, 4)), tf.repeat(tf.range(batch), regions), (self.size, self.size))
        return tf.cast(tf.reshape(warped, (-1, regions, self.size, self.size, images.shape[-1])), self.compute_dtype)

    def _products(self, first, step, images):
        height, width, channels = images.shape[1:]
        rows, columns = (ops.cast(self._weights(first[..., axis], step[..., axis], side), images.dtype)
                         for axis, side in enumerate((height, width)))
        regions = rows.shape[1]
        lines = ops.matmul(  # (batch, regions * size, width * channels)
            ops.reshape(rows, (-1, regions * self.size, height)), ops.reshape(images, (-1, height, width * channels)))
        return ops.matmul(columns[:, :, None], ops.reshape(lines, (-1, regions, self.size, width, channels)))

    def _weights(self, first, step, cells):
        """Returns the weight of each pixel for each sample: (batch, regions) twice give (batch, regions, size, cells)."""
        points = (first[..., None] + ops.arange(self.size, dtype="float32") * step[..., None])[..., None]
        hat = ops.maximum(1 - ops.abs(points - ops.arange(cells, dtype="float32")), 0)
        return ops.where(ops.logical_and(points >= 0, points <= cells - 1), hat, 0.0)

    def compute_output_shape(self, boxes_yxyx_shape, images_shape):
        return (*boxes_yxyx_shape[:2], self.size, self.size, images_shape[-1])

    def get_config(self):
        return super().get_config() | {"size": self.size, "context": self.context, "xla": self.xla}
