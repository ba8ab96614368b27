"""The verb `summary`: output shape, parameters and multiply-adds of every layer of a network."""
import keras
import numpy as np
import tensorflow as tf

from training import runs


def show(app, config):
    """Prints output shape, parameters and multiply-adds of every layer for one example."""
    keras.config.set_dtype_policy("float32")
    spec = app.data.datasets(config).spec
    model = app.build_model(config, spec, steps=1)
    rows = [("layer", "output", "parameters", "multiply-adds"), *layer_rows(model, spec)]
    print(runs.table([[f"{value:,}" if isinstance(value, int) else value for value in row] for row in rows]))
    print(f"\n{config.model}: {model.count_params():,} parameters, "
          f"{sum(row[3] for row in rows[1:]):,} multiply-adds in convolutions and dense layers for one example")


def layer_rows(model, spec):
    """Returns (name, output shape, parameters, multiply-adds) for each call of a leaf layer, in the order of the calls.

    A layer that consists of several affine layers provides its own `rows(outputs)`. Weights outside of the called layers have
    a separate row.
    """
    rows, called = [], {}

    def recording(layer, call):
        def recorded(*args, **kwargs):
            outputs = call(*args, **kwargs)
            output = keras.tree.flatten(outputs)[0]
            name = layer.path or layer.name
            called[id(layer)] = layer.count_params()
            rows.extend([(f"{name}/{part}", *row) for part, *row in layer.rows(output)] if hasattr(layer, "rows") else
                        [(name, str(tuple(output.shape)), called[id(layer)], _multiply_adds(layer, args[0], output))])
            return outputs
        return recorded

    leaves = [layer for layer in model._flatten_layers(include_self=False) if not list(layer._flatten_layers(include_self=False))]
    for layer in leaves:
        layer.call = recording(layer, layer.call)
    one = {name: tf.TensorSpec([1, *part.shape[1:]], part.dtype) for name, part in spec.inputs.items()}
    tf.function(model).get_concrete_function(one)
    others = model.count_params() - sum(called.values())
    return rows + ([("other weights", "", others, 0)] if others > 0 else [])


def _multiply_adds(layer, inputs, output):
    """Returns a convolution's or dense layer's multiply-adds for one example, and 0 for other layers.

    Each weight of a kernel is used once at each place of the output: (N - F + 2 P) / S + 1 places along a side. In a transposed
    convolution, it is used once at each place of the input.
    """
    is_convolution = hasattr(layer, "kernel") and hasattr(layer, "kernel_size") and len(output.shape) == 4
    if not is_convolution and not isinstance(layer, keras.layers.Dense):
        return 0
    places = inputs if isinstance(layer, keras.layers.Conv2DTranspose) else output
    return int(np.prod(places.shape[:-1])) * int(np.prod(layer.kernel.shape))
