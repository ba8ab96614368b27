"""Pretrained weights of the backbone: from the source task, from ImageNet, or from an earlier run."""
import keras

from apps.transfer import backbone, data, systems
from training import run
from training.app import App
from training.engine import callbacks, strategies

WEIGHTS = "backbone.weights.h5"
"""file in the run's folder with the weights of the small backbone from pretraining"""


def initialize(model, config, folder):
    """Loads pretrained weights into the backbone; scratch, and the small backbone of multi_task, start from random weights.

    The small backbone is pretrained here once: its weights are saved in the run's folder, in case training is resumed.

    Raises:
        UserError: the weights are missing.
    """
    if config.model == "scratch":
        return
    below = model.get_layer("backbone")
    if isinstance(config, systems.Pretrained) and config.has_source:
        _learn_source(below, config, folder)
    elif config.backbone in systems.APPLICATIONS:
        network, = (layer for layer in below.layers if isinstance(layer, keras.Model))
        network.set_weights(backbone.imagenet(config, network.input_shape[1:]).get_weights())
    elif config.backbone != "small":
        folder = backbone.run_folder(config)
        app, kept, spec, steps = run.described(folder)
        earlier = app.build_model(kept, spec, steps)
        run.load_weights(earlier, folder)
        below.set_weights(backbone.cut(earlier, f"--backbone {config.backbone}").get_weights())


def on_source(config, watching=()):
    """Trains the network for the source task and returns (network with its last weights, Splits).

    config:   settings of a system with a pretrained backbone
    watching: Keras callbacks
    """
    splits = data.source(config)
    if watching:
        print(f"pretraining on {config.source or config.dataset}: {', '.join(splits.spec.info.class_names)}", flush=True)
    return run.trial(App("transfer"), config.pretraining(), splits, watching), splits


def _learn_source(below, config, folder):
    """Gives the backbone what a network learns from the source, and keeps it in the folder, where it may be already."""
    if (folder / WEIGHTS).exists():
        below.load_weights(folder / WEIGHTS)
        return
    is_chief = strategies.is_chief(strategies.make(config.strategy))
    source, _ = on_source(config, [callbacks.Progress()] if is_chief else [])
    below.set_weights(source.get_layer("backbone").get_weights())
    if is_chief:
        callbacks.write_weights(below, folder / WEIGHTS)
