"""From the trunk to a compiled classifier, of which all, some or none of the trunk's layers learn."""
import keras

from apps.transfer import trunks
from training import optimizers


def build(config, spec, learning=None):
    """Returns a compiled classifier: {"image": uint8 (batch, side, side, channels)} -> {"label": logits (batch, classes)}, and
    {"source_label"} too where the data has the source's classes. Layer "trunk" is the trunk, "features" what it answers.

    learning: layers with kernels at the trunk's end that learn; None: all of it. Batch normalisation below them keeps its
              statistics too
    """
    trunk = trunks.build(config, spec)
    if learning is not None:
        freeze(trunk, learning)
    image = keras.Input(spec.inputs["image"].shape[1:], dtype="uint8", name="image")
    x = keras.layers.Identity(name="features")(trunk(image))
    heads = {"label": spec.info["class_names"]}
    if "source_class_names" in spec.info:
        heads["source_label"] = spec.info["source_class_names"]
    outputs = {name: keras.layers.Dense(len(classes), dtype="float32", name=name)(x) for name, classes in heads.items()}
    model = keras.Model({"image": image}, outputs, name=config.model)
    rate = optimizers.falling(config.learning_rate, spec.info["steps"])
    model.compile(
        optimizers.make("nesterov", rate, weight_decay=config.weight_decay),
        loss={name: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1) for name in heads})
    return model


def freeze(trunk, learning):
    """Lets only the last `learning` layers with kernels learn, and what follows the first of them."""
    leaves = [layer for layer in trunk._flatten_layers(include_self=False) if not list(layer._flatten_layers(include_self=False))]
    kernels = [place for place, layer in enumerate(leaves) if hasattr(layer, "kernel")]
    first = kernels[-learning] if 0 < learning <= len(kernels) else 0 if learning else len(leaves)
    for layer in leaves[:first]:
        layer.trainable = False
