"""From the trunk to a compiled classifier, of which all, some or none of the trunk's layers learn."""
import keras

from apps.transfer import trunks
from training.engine import optimizers


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
    rate = optimizers.warmup_cosine(config.learning_rate, spec.info["steps"])
    model.compile(
        optimizers.make("nesterov", rate, weight_decay=config.weight_decay),
        loss={name: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1) for name in heads})
    return model


def freeze(trunk, learning):
    """Lets only the last `learning` layers with kernels learn, and what follows the first of them."""
    parts = list(_in_order(trunk))
    kernels = [place for place, layer in enumerate(parts) if any("kernel" in weight.name for weight in layer.weights)]
    first = kernels[-learning] if 0 < learning <= len(kernels) else 0 if learning else len(parts)
    for layer in parts[:first]:
        layer.trainable = False


def _in_order(model):
    """Yields the layers of a model and of models in it, from the inputs on."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _in_order(layer)
        else:
            yield layer
