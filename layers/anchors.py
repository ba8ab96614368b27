"""Anchor boxes over the levels of a feature pyramid."""
import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="layers")
class Anchors(keras.layers.Layer):
    """Lists the anchors of an image: one box for every level, cell, size and aspect ratio.

        center = ((row + 1/2) * stride, (column + 1/2) * stride)
        height = size * sqrt(ratio),  width = size / sqrt(ratio)

    A level has ceil(image height / stride) rows and ceil(image width / stride) columns of cells. Anchors are ordered by
    level (in the order of `strides`), then by row, column, size and ratio, with the `square_sizes` of a cell last. A
    convolution's output of shape (batch, rows, columns, anchors of a cell * k) flattens to (batch, anchors, k) in the same
    order.

    Args:
        strides: for each level, the distance in pixels between neighboring cells.
        sizes: for each level, a tuple of the side lengths in pixels of its anchors of ratio 1.
        ratios: aspect ratios, height over width, the same on all levels.
        square_sizes: for each level, a tuple of the side lengths in pixels of further anchors, of ratio 1 only; none by
            default.

    Shape:
        images:  (batch, height, width, channels); only the height and the width matter, and they must be known
        returns: (batch, anchors, 4) float32: ymin, xmin, ymax, xmax in pixels

    Raises:
        ValueError: `sizes` or `square_sizes` does not have one entry per stride; a stride, size or ratio is not positive;
            the images' height or width is unknown.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> anchors = layers.Anchors(strides=(4,), sizes=((6,),), ratios=(1.0,))
        >>> print(anchors(np.zeros((1, 8, 4, 3))).numpy())
        [[[-1. -1.  5.  5.]
          [ 3. -1.  9.  5.]]]

    Source: Ren et al., 2015, "Faster R-CNN", section 3.1.1; Lin et al., 2017, "Feature Pyramid Networks", section 4.1;
    Liu et al., 2016, "SSD", section 2.2, for the additional squares.
    """

    def __init__(self, strides, sizes, ratios=(0.5, 1.0, 2.0), square_sizes=(), **kwargs):
        super().__init__(**kwargs)
        if len(strides) != len(sizes):
            raise ValueError(f"sizes must have one entry per stride: {len(strides)} strides, {len(sizes)} sizes")
        if square_sizes and len(strides) != len(square_sizes):
            raise ValueError(
                f"square_sizes must have one entry per stride: {len(strides)} strides, {len(square_sizes)} square_sizes")
        if any(value <= 0 for value in (*strides, *ratios, *(size for level in (*sizes, *square_sizes) for size in level))):
            raise ValueError("strides, sizes and ratios must be positive")
        self.strides = tuple(strides)
        self.sizes = tuple(tuple(level) for level in sizes)
        self.ratios = tuple(ratios)
        self.square_sizes = tuple(tuple(level) for level in square_sizes)
        self.built = True  # no weights

    def of(self, height, width):
        """Returns the anchors of an image of `height` by `width` pixels as a numpy array (anchors, 4)."""
        levels = []
        for stride, sizes, squares in zip(self.strides, self.sizes, self.square_sizes or [()] * len(self.strides)):
            rows = (np.arange(-(-height // stride)) + 0.5) * stride
            columns = (np.arange(-(-width // stride)) + 0.5) * stride
            halves = [(size * ratio ** 0.5 / 2, size / ratio ** 0.5 / 2) for size in sizes for ratio in self.ratios]
            halves += [(size / 2, size / 2) for size in squares]
            half_heights, half_widths = np.array(halves).T
            y, x = rows[:, None, None], columns[None, :, None]
            corners = np.broadcast_arrays(y - half_heights, x - half_widths, y + half_heights, x + half_widths)
            levels.append(np.stack(corners, axis=-1).reshape(-1, 4))
        return np.concatenate(levels).astype("float32")

    def call(self, images):
        if None in images.shape[1:3]:
            raise ValueError(f"Anchors needs images of known height and width, got {tuple(images.shape)}")
        anchors = ops.convert_to_tensor(self.of(*images.shape[1:3]))
        return ops.broadcast_to(anchors, (ops.shape(images)[0], *anchors.shape))

    def compute_output_shape(self, images_shape):
        return (images_shape[0], len(self.of(*images_shape[1:3])), 4)

    def compute_output_spec(self, images):
        return keras.KerasTensor(self.compute_output_shape(images.shape), "float32")

    def get_config(self):
        return super().get_config() | {
            "strides": self.strides, "sizes": self.sizes, "ratios": self.ratios, "square_sizes": self.square_sizes}
