"""Features of regions by bilinear interpolation."""
import keras
import numpy as np
import tensorflow as tf
from keras import ops

from layers import boxes

_LARGEST_PART = 2 ** 22
"""bytes of samples that are read at a time if those of an image take more: memory for hundreds of megabytes would come from the
operating system anew in each call, page by page, which takes longer than to fill it"""


@keras.saving.register_keras_serializable(package="layers")
class RoIAlign(keras.layers.Layer):
    """Averages bilinear samples of a feature map in each of size x size bins of a region.

        out[n, i, j, :] = sum_yx rows[n, i, y] * columns[n, j, x] * features[y, x, :]
        rows[n, i, y] = mean_s max(0, 1 - |p(n, i, s) - y|)
        p(n, i, s) = (ymin + (i + (s + 1/2) / samples) * (ymax - ymin) / size) / stride - 1/2,  kept within the map

    Boxes are first cut at the map's borders. Each region is read from one level: a region with an area of
    canonical_size^2 pixels from the level of stride `canonical_stride`, one with half that side from the next finer
    level, and so on, as far as there are levels. Box coordinates have no gradient.

    TensorFlow's kernel for crops reads the samples of all levels at once. Bilinear interpolation on a grid is
    separable, so two matrix products give the same result. They compute the gradient, because the kernel's own gradient
    sums in an order that changes from run to run. With `xla` they compute everything, because XLA has no such kernel.

    Args:
        size: number of bins along each side of a region.
        strides: for each level, the pixels per cell of its feature map, in ascending order.
        samples: number of samples along each side of a bin.
        canonical_size: side in pixels (square root of the area) of the regions read at `canonical_stride`.
        canonical_stride: stride in pixels of the level that those regions are read from.
        xla: whether the layer uses only operations that XLA can compile.

    Shape:
        boxes_yxyx: (batch, regions, 4): ymin, xmin, ymax, xmax in pixels; the number of regions must be known
        features:   list, per level (batch, height, width, channels); height and width must be known
        returns:    (batch, regions, size, size, channels)

    Raises:
        ValueError: `size` or `samples` is below 1, or there is not one feature map per stride.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> features = np.tile(np.arange(8, dtype="float32"), (8, 1)).reshape(1, 8, 8, 1)  # each cell holds its column
        >>> region = np.array([[[0, 0, 32, 16]]], "float32")  # the left half of an image of 32 x 32 pixels
        >>> print(layers.RoIAlign(size=2, strides=(4,))(region, [features]).numpy().reshape(2, 2))
        [[0.5 2.5]
         [0.5 2.5]]

    Source: He et al., 2017, "Mask R-CNN", section 3; levels by Lin et al., 2017, "Feature Pyramid Networks", eq. 1.
    What differs: samples outside the map take the border's value, whereas the original code reads 0 beyond a margin of
    a cell.
    """

    def __init__(self, size, strides, samples=2, canonical_size=224, canonical_stride=16, xla=False, **kwargs):
        super().__init__(autocast=False, **kwargs)  # boxes stay float32: from 128 pixels on bfloat16 has steps of one
        if size < 1 or samples < 1:
            raise ValueError(f"size and samples must be at least 1, got {size} and {samples}")
        self.size = size
        self.strides = tuple(strides)
        self.samples = samples
        self.canonical_size = canonical_size
        self.canonical_stride = canonical_stride
        self.xla = xla
        self.built = True  # no weights

    def call(self, boxes_yxyx, features):
        if len(features) != len(self.strides):
            raise ValueError(f"{len(self.strides)} strides but {len(features)} feature maps")
        boxes_yxyx = ops.stop_gradient(ops.cast(boxes_yxyx, "float32"))
        level = self.level(boxes_yxyx)
        if self.xla or self.compute_dtype == "float64":  # the kernel answers in float32
            return self._products(boxes_yxyx, level, features)

        @tf.custom_gradient
        def crops(*maps):
            def gradient(upstream):
                with tf.GradientTape() as tape:
                    tape.watch(maps)
                    products = self._products(boxes_yxyx, level, maps)
                return tape.gradient(products, maps, upstream)

            return self._crops(boxes_yxyx, level, maps), gradient

        return crops(*map(ops.convert_to_tensor, features))

    def _products(self, boxes_yxyx, level, features):
        ymin, xmin, ymax, xmax = ops.unstack(boxes_yxyx, 4, axis=-1)
        total = 0
        for index, (stride, maps) in enumerate(zip(self.strides, features)):
            maps = ops.cast(maps, self.compute_dtype)
            height, width, channels = maps.shape[1:]
            mine = ops.cast(level == index, "float32")[..., None, None]
            rows = ops.cast(mine * self._weights(ymin / stride, ymax / stride, height), maps.dtype)
            columns = ops.cast(self._weights(xmin / stride, xmax / stride, width), maps.dtype)
            regions = rows.shape[1]
            lines = ops.matmul(  # (batch, regions * size, width * channels)
                ops.reshape(rows, (-1, regions * self.size, height)), ops.reshape(maps, (-1, height, width * channels)))
            lines = ops.reshape(lines, (-1, regions, self.size, width, channels))
            total = total + ops.matmul(columns[:, :, None], lines)  # (batch, regions, rows, columns, channels)
        return total

    def _crops(self, boxes_yxyx, level, features):
        """Reads all levels from one canvas, on which each lies below the one before, within a copy of its border."""
        sides = np.array([maps.shape[1:3] for maps in features])
        tops = np.cumsum([1, *(sides[:-1, 0] + 2)])
        right = sides[:, 1].max()
        canvas = tf.concat([tf.pad(tf.pad(tf.cast(maps, "float32"), [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC"),
                                   [[0, 0], [0, 0], [0, right - side], [0, 0]]) for maps, side in zip(features, sides[:, 1])], 1)
        stride = tf.gather(np.array(self.strides, "float32"), level)[..., None]
        limit = tf.gather(sides.astype("float32"), level)
        start, end = (tf.clip_by_value(corner / stride, 0, limit) for corner in (boxes_yxyx[..., :2], boxes_yxyx[..., 2:]))
        points = self.size * self.samples
        margin = (end - start) / (2 * points) - 0.5  # from a border to the first point
        corner = tf.stack([tf.gather(tops.astype("float32"), level), tf.ones_like(level, "float32")], axis=-1)
        scale = np.array(canvas.shape[1:3], "float32") - 1
        crops = tf.concat([(corner + start + margin) / scale, (corner + end - margin - 1) / scale], axis=-1)
        batch, regions, channels = tf.shape(crops)[0], crops.shape[1], canvas.shape[-1]

        def pooled(crops, index):
            """Returns the means of the samples in some crops (n, 4) of the images with these numbers (n,)."""
            pieces = tf.image.crop_and_resize(canvas, crops, index, (points, points))
            return tf.nn.avg_pool2d(pieces, self.samples, self.samples, "VALID") if self.samples > 1 else pieces

        per_part = max(1, _LARGEST_PART // (points ** 2 * channels * 4))
        if regions <= per_part:
            means = pooled(tf.reshape(crops, (-1, 4)), tf.repeat(tf.range(batch), regions))
        else:
            parts = -(-regions // per_part)  # of an image
            per_part = -(-regions // parts)
            crops = tf.reshape(tf.pad(crops, [[0, 0], [0, parts * per_part - regions], [0, 0]]), (-1, per_part, 4))
            index = tf.repeat(tf.range(batch), parts)
            means = tf.map_fn(lambda part: pooled(part[0], tf.repeat(part[1], per_part)), (crops, index),
                              fn_output_signature=tf.TensorSpec((per_part, self.size, self.size, channels)))
            means = tf.reshape(means, (-1, parts * per_part, self.size, self.size, channels))[:, :regions]
        return tf.cast(tf.reshape(means, (-1, regions, self.size, self.size, channels)), self.compute_dtype)

    def level(self, boxes_yxyx):
        """Returns the level that each region is read from, an index into `strides`: (batch, regions) int32."""
        side = ops.sqrt(boxes.area(boxes_yxyx))
        octaves = ops.floor(ops.log2(ops.maximum(side, 1e-6) / self.canonical_size) + 1e-6)
        wanted = self.canonical_stride * 2.0 ** octaves
        # the coarsest level whose stride is at most the wanted one
        return ops.sum(ops.cast([ops.cast(wanted >= stride, "int32") for stride in self.strides[1:]], "int32"), axis=0) \
            if len(self.strides) > 1 else ops.zeros_like(side, dtype="int32")

    def _weights(self, start, end, cells):
        """Returns each bin's weight on each cell: (batch, regions) twice give (batch, regions, size, cells)."""
        start, end = ops.clip(start, 0, cells), ops.clip(end, 0, cells)
        offsets = (ops.arange(self.size * self.samples, dtype="float32") + 0.5) / (self.size * self.samples)
        points = start[..., None] + offsets * (end - start)[..., None] - 0.5
        points = ops.clip(points, 0, cells - 1)
        hat = ops.maximum(1 - ops.abs(points[..., None] - ops.arange(cells, dtype="float32")), 0)
        hat = ops.reshape(hat, (-1, start.shape[1], self.size, self.samples, cells))
        return ops.mean(hat, axis=3)

    def compute_output_shape(self, boxes_yxyx_shape, features_shape):
        return (*boxes_yxyx_shape[:2], self.size, self.size, features_shape[0][-1])

    def get_config(self):
        return super().get_config() | {
            "size": self.size, "strides": self.strides, "samples": self.samples,
            "canonical_size": self.canonical_size, "canonical_stride": self.canonical_stride,
            "xla": self.xla}
