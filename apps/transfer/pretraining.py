"""What the trunk has learnt before: from the source, from ImageNet, or in an earlier run."""
import dataclasses

import keras

from apps import transfer
from apps.transfer import data, trunks
from training import run
from training.engine import callbacks, strategies

WEIGHTS = "trunk.weights.h5"
"""in the run's folder: what the small trunk has learnt from the source"""


def initialize(model, config, folder):
    """Gives the model's trunk its pretrained weights.

    The small trunk is pretrained here, once: what it has learnt is kept in the run's folder for when training is resumed.
    """
    trunk = model.get_layer("trunk")
    if config.trunk == "small":
        if (folder / WEIGHTS).exists():
            trunk.load_weights(folder / WEIGHTS)
            return
        is_chief = strategies.is_chief(strategies.make(config.strategy))
        source, _ = on_source(config, [callbacks.Progress()] if is_chief else [])
        trunk.set_weights(source.get_layer("trunk").get_weights())
        if is_chief:
            callbacks.write_weights(trunk, folder / WEIGHTS)
    elif config.trunk in transfer.APPLICATIONS:
        network, = (layer for layer in trunk.layers if isinstance(layer, keras.Model))
        network.set_weights(trunks.imagenet(config, network.input_shape[1:]).get_weights())
    else:
        folder = trunks.run_folder(config)
        app, kept, spec = run.described(folder)
        source = run.module(app, kept.model).build_model(kept, spec)
        run.load_weights(source, folder)
        trunk.set_weights(trunks.cut(source, config).get_weights())


def on_source(config, watching=()):
    """Returns (the network for the source's task with its last weights, its Splits) after its training."""
    splits = data.source(config)
    if watching:
        print(f"pretraining on {config.source or config.dataset}: {', '.join(splits.spec.info['class_names'])}", flush=True)
    config = dataclasses.replace(
        config, model="scratch", epochs=config.source_epochs, learning_rate=config.source_learning_rate,
        validate_every=config.source_epochs)
    return run.trial(transfer, config, splits, watching), splits
