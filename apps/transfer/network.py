"""A compiled classifier on a backbone, in which all, some or none of the backbone's layers are trained."""
import keras

from apps.transfer import backbone
from training.engine import optimizers


def classifier(below, heads, *, learning=None, name="classifier"):
    """Returns a network with one classifier per task on a backbone.

        {"image": uint8 (batch, side, side, channels)} -> {head: logits (batch, classes)}

    Its layer "backbone" is the backbone, and the logits are affine functions of its layer "features".

    below:    keras.Model from images to features (batch, features) named "backbone", see `apps.transfer.backbone`. It becomes
              part of the network, and its untrained layers are frozen
    heads:    {name of the output: number of classes}
    learning: number of the backbone's layers with kernels that are trained, counted from the last one; None: all layers. Batch
              normalization below them keeps its statistics too
    name:     name of the network
    """
    if learning is not None:
        freeze(below, learning)
    image = keras.Input(below.input_shape[1:], dtype="uint8", name="image")
    x = keras.layers.Identity(name="features")(below(image))
    outputs = {head: keras.layers.Dense(classes, dtype="float32", name=head)(x) for head, classes in heads.items()}
    return keras.Model({"image": image}, outputs, name=name)


def build(config, spec, steps, learning=None):
    """Returns the compiled `classifier` for the tasks of the data, "label" and possibly "source_label".

    config:   settings
    spec:     Spec of the data
    steps:    steps of the training
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
    """Makes only the last `learning` layers with kernels trainable, and all layers after the first of them.

    below:    keras.Model, a backbone
    learning: number of layers; 0: no layer at all
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
