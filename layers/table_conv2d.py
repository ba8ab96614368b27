"""A convolution whose output maps each see some of the input maps."""
import keras
import numpy as np
from keras import ops

LENET5_TABLE = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)
"""the 6 input maps that each of the 16 output maps of layer C3 sees: LeCun et al., 1998, table 1"""


@keras.saving.register_keras_serializable(package="layers")
class TableConv2D(keras.layers.Layer):
    """Convolves images so that output map j sees only the input maps in table[j].

        y[..., j] = bias[j] + sum_i x[..., table[j][i]] * kernel[:, :, first[j] + i]
        first[j] = len(table[0]) + ... + len(table[j - 1])

    Only connections that exist have weights: kernel height * kernel width * connections + filters. The call places them
    among zeros and does one ordinary convolution. Keras's Conv2D connects all maps, or groups of them.

    Args:
        filters: number of output maps.
        kernel_size: height and width of the kernel, an integer or a pair.
        table: for each output map, the indices of the input maps that it sees.
        strides: strides of the convolution, an integer or a pair.
        padding: "valid" or "same".
        kernel_initializer: initializer of the kernel. For each output map it is asked for an ordinary kernel of as many
            input maps as that map sees, so that the variance follows the map's own fan-in. The bias starts at 0.

    Shape:
        inputs:  (batch, height, width, channels)
        returns: (batch, new height, new width, filters), where height and width change as in Conv2D

    Raises:
        ValueError: `table` does not have one row for each filter, or a row is empty, repeats an input map or names one
            that does not exist; `padding` is unknown; `filters`, `kernel_size` or `strides` is below 1; the inputs are
            not images.

    Example:
        >>> import numpy as np
        >>> import layers
        >>> convolution = layers.TableConv2D(filters=16, kernel_size=5, table=layers.LENET5_TABLE)
        >>> convolution(np.zeros((1, 14, 14, 6), "float32")).shape
        TensorShape([1, 10, 10, 16])
        >>> convolution.count_params()  # 5 * 5 * 60 connections + 16; an ordinary convolution has 2416
        1516

    Source: LeCun et al., 1998, "Gradient-Based Learning Applied to Document Recognition", section II.B and table 1,
    which is `LENET5_TABLE`.
    """

    def __init__(self, filters, kernel_size, table, strides=1, padding="valid", kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = _pair(kernel_size)
        self.table = tuple(tuple(int(i) for i in row) for row in table)
        self.strides = _pair(strides)
        self.padding = padding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if min(filters, *self.kernel_size, *self.strides) < 1 or padding not in ("valid", "same"):
            raise ValueError("filters, kernel_size and strides must be at least 1 and padding valid or same, "
                             f"got {filters}, {kernel_size}, {strides} and {padding!r}")
        if len(self.table) != filters:
            raise ValueError(f"the table must have a row for each of {filters} filters, got {len(self.table)}")
        for row in self.table:
            if not row or len(set(row)) < len(row) or min(row) < 0:
                raise ValueError(f"a row of the table must name one or more input maps, each once, got {row}")

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(f"TableConv2D takes (batch, height, width, channels), got {tuple(input_shape)}")
        largest = max(max(row) for row in self.table)
        if largest >= input_shape[-1]:
            raise ValueError(f"the table names input map {largest}, the last one is {input_shape[-1] - 1}")
        self.kernel = self.add_weight(
            name="kernel", shape=(*self.kernel_size, sum(map(len, self.table))), initializer=self._initial_kernel)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def _initial_kernel(self, shape, dtype):
        # one kernel for each length of row, of which a map takes its own column: a seeded initializer repeats its numbers
        drawn = {length: self.kernel_initializer((*self.kernel_size, length, self.filters), dtype=dtype)
                 for length in sorted(set(map(len, self.table)))}
        return ops.concatenate([drawn[len(row)][..., j] for j, row in enumerate(self.table)], axis=-1)

    def call(self, inputs):
        kernel = self._full_kernel(inputs.shape[-1])
        return ops.conv(inputs, kernel, self.strides, self.padding, "channels_last") + self.bias

    def _full_kernel(self, channels):
        """Returns the kernel of the ordinary convolution: (height, width, channels, filters)."""
        places = np.array([[i * self.filters + j] for j, row in enumerate(self.table) for i in row])
        connections = ops.reshape(self.kernel, (-1, len(places)))
        full = ops.scatter(places, ops.transpose(connections), (channels * self.filters, connections.shape[0]))
        return ops.reshape(ops.transpose(full), (*self.kernel_size, channels, self.filters))

    def compute_output_shape(self, input_shape):
        kernel = keras.KerasTensor((*self.kernel_size, input_shape[-1], self.filters))
        return ops.conv(keras.KerasTensor(input_shape), kernel, self.strides, self.padding, "channels_last").shape

    def get_config(self):
        return super().get_config() | {
            "filters": self.filters, "kernel_size": self.kernel_size, "table": self.table, "strides": self.strides,
            "padding": self.padding, "kernel_initializer": keras.initializers.serialize(self.kernel_initializer)}


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)
