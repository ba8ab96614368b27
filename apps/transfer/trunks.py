"""Everything below the classifier: a small residual network, one of keras.applications, or the network of an earlier run."""
import dataclasses
import json
import os
import pathlib

import keras
from keras import ops

from layers import backbones
from training import config as settings
from training import run, runs
from training.config import UserError
from training.data.spec import plain_spec, spec_of_plain

_APPLICATIONS = {
    "mobilenet_v2": (keras.applications.mobilenet_v2, "MobileNetV2",
                     "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5"),
    "resnet50_v2": (keras.applications.resnet_v2, "ResNet50V2", "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "densenet121": (keras.applications.densenet, "DenseNet121", "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"),
}
"""module, function, and the file of ImageNet's weights in Keras's folder of models"""
_MOBILENET_SIDES = (96, 128, 160, 192)
"""that MobileNetV2 has weights of its own for; other images get those of 224"""
_APPLICATION_SIZE = 96


def facts(config):
    """Returns what the trunk prescribes of images, and what is needed to build it again.

    `build` does without the run that the trunk is from, so that a run on top of it can be loaded and its export served; to
    train or evaluate, that run must be there.

    Raises:
        UserError: there is no such trunk, or its images have another size than `--image-size`.
    """
    if config.trunk == "small":
        return {}
    if config.trunk in _APPLICATIONS:
        return {"image_size": config.image_size or _APPLICATION_SIZE, "channels": 3}
    app, kept, spec = run.described(run_folder(config))
    image = spec.inputs.get("image")
    if image is None:
        raise UserError(f"--trunk {config.trunk} is a run of {app.__name__}, whose inputs are no images")
    _, side, _, channels = image.shape
    if config.image_size not in (None, side):
        raise UserError(f"--image-size must be {side}, the size of {config.trunk}, or left out; got {config.image_size}")
    return {"image_size": side, "channels": channels, "trunk": {
        "app": app.__name__.rpartition(".")[2], "config": json.loads(json.dumps(dataclasses.asdict(kept))),
        "spec": plain_spec(spec)}}


def run_folder(config):
    """Returns the folder of the run whose network is the trunk."""
    try:
        return runs.find(config.trunk, config.runs).folder
    except UserError as error:
        raise UserError(f"--trunk takes small, {', '.join(_APPLICATIONS)} or a run, and {error}") from None


def build(config, spec):
    """Returns the trunk, keras.Model: uint8 images (batch, side, side, channels) -> features (batch, features)."""
    if "trunk" in spec.info:
        described = spec.info["trunk"]
        app = run.application(described["app"])
        if app is None:
            raise UserError(f"there is no application {described['app']!r}, whose network the trunk is")
        kept = settings.of_plain(app.Config, described["config"], "the trunk")
        return cut(run.module(app, kept.model).build_model(kept, spec_of_plain(described["spec"])), config)
    image = keras.Input(spec.inputs["image"].shape[1:], dtype="uint8", name="image")
    if config.trunk == "small":
        variance = [value ** 2 for value in spec.info["deviation"]]
        standardise = keras.layers.Normalization(mean=spec.info["mean"], variance=variance, dtype="float32", name="standardise")
        last = backbones.cifar_resnet(standardise(image), config.width, config.blocks)[-1]
    else:
        module, name, _ = _APPLICATIONS[config.trunk]
        network = getattr(module, name)(include_top=False, weights=None, input_shape=image.shape[1:])
        last = network(module.preprocess_input(ops.cast(image, "float32")))
    return keras.Model(image, _mean(last), name="trunk")


def imagenet(config, shape):
    """Returns the network of keras.applications with ImageNet's weights, for images of a shape (side, side, 3).

    Raises:
        UserError: they are not here and `--download` is not given, or cannot be fetched.
    """
    module, name, file = _APPLICATIONS[config.trunk]
    home = pathlib.Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    path = home / "models" / file.format(side=shape[0] if shape[0] in _MOBILENET_SIDES else 224)
    if not path.is_file() and not config.download:
        raise UserError(f"the weights of {config.trunk} are not in {path}: let them be fetched with --download")
    try:
        return getattr(module, name)(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # of the network, or of a file that is none
        raise UserError(f"the weights of {config.trunk} could not be fetched: {error}") from error


def cut(model, config):
    """Returns a model of any application on images without what is above its features: their mean over the last map's places.

    Raises:
        UserError: it has no such part.
    """
    if isinstance(getattr(model, "trunk", None), keras.Model):  # a detector's backbone and pyramid
        image = keras.Input(model.trunk.input_shape[1:], dtype="uint8", name="image")
        return keras.Model(image, _mean(keras.tree.flatten(model.trunk(ops.cast(image, "float32")))[-1]), name="trunk")
    try:
        return keras.Model(model.inputs[0], model.get_layer("features").output, name="trunk")
    except (AttributeError, ValueError, TypeError):
        raise UserError(f"the network of --trunk {config.trunk} has no layer of features to build on: name a run of "
                        "classification, detection or transfer") from None


def _mean(maps):
    return keras.layers.GlobalAveragePooling2D(dtype="float32", name="mean")(maps)
