"""From the backbone to a compiled classifier, of which all, some or none of the backbone's layers learn."""
import keras

from apps.transfer import backbone
from training.engine import optimizers


def classifier(below, heads, *, learning=None, name="classifier"):
    """Returns a network with a classifier for each task on a backbone.

        {"image": uint8 (batch, side, side, channels)} -> {head: logits (batch, classes)}

    Its layer "backbone" is the backbone, and its layer "features" gives what the logits are affine functions of.

    below:    keras.Model from images to features (batch, features) by the name "backbone", see `apps.transfer.backbone`. It
              becomes a part of the network, and the layers of it that are not to learn are frozen
    heads:    {name of the output: number of classes}
    learning: how many of the backbone's layers with kernels learn, counted from its last one; None: all of it learns. Batch
              normalization below them keeps its statistics too
    name:     of the network
    """
    if learning is not None:
        freeze(below, learning)
    image = keras.Input(below.input_shape[1:], dtype="uint8", name="image")
    x = keras.layers.Identity(name="features")(below(image))
    outputs = {head: keras.layers.Dense(classes, dtype="float32", name=head)(x) for head, classes in heads.items()}
    return keras.Model({"image": image}, outputs, name=name)


def build(config, spec, steps, learning=None):
    """Returns the compiled `classifier` of the data's tasks, "label" and where there is one "source_label".

    config:   settings
    spec:     Spec of the data
    steps:    of the training
    learning: as in `classifier`
    """
    classes = {"label": spec.info.class_names, "source_label": spec.info.source_class_names}
    heads = {head: len(names) for head, names in classes.items() if names}
    model = classifier(backbone.build(config, spec), heads, learning=learning, name=config.model)
    rate = optimizers.warmup_cosine(config.learning_rate, steps)
    model.compile(
        optimizers.make("nesterov", rate, weight_decay=config.weight_decay),
        loss={head: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1) for head in heads})
    return model


def freeze(below, learning):
    """Lets only the last `learning` layers with kernels learn, and what follows the first of them.

    below:    keras.Model, a backbone
    learning: number of layers; 0: none, and nothing after them either
    """
    parts = list(_in_order(below))
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
