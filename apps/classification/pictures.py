"""Pictures: misclassified images, confusion matrix, first-layer filters, activations by depth, and features."""
import keras
import numpy as np
import tensorflow as tf

import layers
from training.app import Rendered
from training.engine import graphs
from training.vision import classifiers


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures, see `pictures`, the outputs of the layers for a test batch, and the features of test
    images."""
    inputs, _ = next(iter(splits.test))
    return Rendered(pictures(model, splits, config, info), by_depth(outputs(model, inputs["image"][:64])),
                    embeddings=classifiers.embeddings(model, splits.test, config, info))


def pictures(model, splits, config, info):
    """Returns {name: uint8 (n, height, width, 3)}.

    wrong:     misclassified test images, most confident first, with predicted and true class
    confusion: confusion matrix of true and predicted classes
    filters:   kernels of the first convolution, if there is one
    """
    made = classifiers.pictures(model, splits.test, config, info)
    filters = next((layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)), None)
    if filters is not None:
        made["filters"] = _filters(keras.ops.convert_to_numpy(filters.kernel))[None]
    return made


def outputs(model, images):
    """Returns {layer: its output as a float32 array} of each activation and of the logits."""
    names, answer = graphs.of_model(model, "classification.outputs", _outputs_of)  # for every epoch another one would be work
    return {name: np.asarray(tf.cast(value, tf.float32)) for name, value in zip(names, answer({"image": images}))}


def by_depth(values):
    """Returns {name: array} with numbered names, so that TensorBoard shows them in this order."""
    return {f"{number:02}_{name}": array for number, (name, array) in enumerate(values.items())}


def _outputs_of(model):
    """Returns the names of the layers that `outputs` shows, and a traced function from a batch to what they answer."""
    chosen = [layer for layer in model.layers
              if layer.name.endswith("_activation") or isinstance(layer, (layers.Maxout, layers.MaxoutConv2D))]
    chosen.append(model.get_layer("label"))
    network = keras.Model(model.inputs, [layer.output for layer in chosen])
    return [layer.name for layer in chosen], tf.function(lambda batch: network(batch, training=False))


def _filters(kernel):
    """Returns the kernels (height, width, channels, filters) side by side, each between its own darkest and brightest."""
    kernel = kernel.astype(np.float32).transpose(3, 0, 1, 2)
    kernel = kernel if kernel.shape[-1] == 3 else kernel[..., :1].repeat(3, axis=-1)
    low, high = kernel.min(axis=(1, 2, 3), keepdims=True), kernel.max(axis=(1, 2, 3), keepdims=True)
    cells = np.uint8(255 * (kernel - low) / np.maximum(high - low, 1e-9)).repeat(8, axis=1).repeat(8, axis=2)
    cells = np.pad(cells, ((0, -len(cells) % 8), (2, 2), (2, 2), (0, 0)))
    rows = cells.reshape(-1, 8, *cells.shape[1:])
    return rows.transpose(0, 2, 1, 3, 4).reshape(rows.shape[0] * rows.shape[2], 8 * rows.shape[3], 3)
