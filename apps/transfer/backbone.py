"""Backbones: a small residual network, a network of keras.applications, or the network of an earlier run."""
import dataclasses
import os
import pathlib
from typing import NamedTuple

import keras
from keras import ops

from apps.transfer.systems import APPLICATIONS
from layers import backbones
from training import config as settings
from training import paths, run, runs
from training.app import App
from training.config import UserError
from training.data.spec import plain_spec, spec_of_plain

_NETWORKS = {
    "mobilenet_v2": (keras.applications.mobilenet_v2, "MobileNetV2",
                     "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{side}_no_top.h5"),
    "resnet50_v2": (keras.applications.resnet_v2, "ResNet50V2", "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "densenet121": (keras.applications.densenet, "DenseNet121", "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"),
}
"""for each of APPLICATIONS its module, its function, and the file of ImageNet's weights in Keras's folder of models"""
_MOBILENET_SIDES = (96, 128, 160, 192)
"""sides of images for which MobileNetV2 has weights of its own; other images get those of 224"""
_APPLICATION_SIZE = 96


class Facts(NamedTuple):
    """The requirements of a backbone on the images, and the description from which it is rebuilt."""

    image_size: int | None = None
    """side length of the images in pixels; None: any"""
    channels: int | None = None
    """channels of the images; None: any"""
    run: dict | None = None
    """JSON-serializable input of `of_run`; None: the backbone does not come from a run"""


def facts(config):
    """Returns the Facts of the backbone in the settings.

    A run on top of another run's network includes everything to rebuild this network, so it can be loaded and its export
    served without the other run. To train or evaluate it, the other run must exist.

    Raises:
        UserError: there is no such backbone, or its image size differs from `--image-size`.
    """
    if config.backbone == "small":
        return Facts()
    if config.backbone in APPLICATIONS:
        return Facts(config.image_size or _APPLICATION_SIZE, 3)
    app, kept, spec, steps = run.described(run_folder(config))
    image = spec.inputs.get("image")
    if image is None:
        raise UserError(f"--backbone {config.backbone} is a run of {app.task}, whose inputs are not images")
    _, side, _, channels = image.shape
    if config.image_size not in (None, side):
        raise UserError(f"--image-size must be {side}, the size of {config.backbone}, or left out; got {config.image_size}")
    return Facts(side, channels, {
        "app": app.task, "config": dataclasses.asdict(kept), "spec": plain_spec(spec), "steps": steps})


def run_folder(config):
    """Returns the folder of the run that provides the backbone.

    Raises:
        UserError: there is no such run.
    """
    try:
        return runs.find(config.backbone, config.runs).folder
    except UserError as error:
        raise UserError(f"--backbone must be small, {', '.join(APPLICATIONS)} or a run, but {error}") from None


def build(config, spec):
    """Returns the backbone in the settings with random weights, for the images of the Spec."""
    if spec.info.backbone is not None:
        return of_run(spec.info.backbone)
    shape = tuple(spec.inputs["image"].shape[1:])
    if config.backbone == "small":
        return small(shape, width=config.width, blocks=config.blocks, mean=spec.info.mean, std=spec.info.std)
    return application(config.backbone, shape)


def small(shape, *, width=16, blocks=3, mean=(127.5,), std=(64.0,)):
    """Returns a residual network for small images, a keras.Model: uint8 (batch, *shape) -> features (batch, 4 * width).

    shape:  of an image, (height, width, channels)
    width:  channels of the first of three stages; each further stage has twice as many
    blocks: residual blocks per stage
    mean:   mean of the pixels, from 0 to 255, per channel or one for all
    std:    standard deviation of the pixels, likewise

    Example:
        >>> import numpy as np
        >>> from apps.transfer import backbone
        >>> backbone.small((16, 16, 1), width=4, blocks=1)(np.zeros((2, 16, 16, 1), "uint8")).shape
        TensorShape([2, 16])
    """
    image = keras.Input(shape, dtype="uint8", name="image")
    count = shape[-1]
    mean, std = (list(values) * count if len(values) == 1 else list(values) for values in (mean, std))
    standardize = keras.layers.Normalization(
        mean=mean, variance=[value ** 2 for value in std], dtype="float32", name="standardize")
    last = backbones.cifar_resnet(standardize(image), width, blocks)[-1]
    return keras.Model(image, _mean(last), name="backbone")


def application(kind, shape):
    """Returns a network of keras.applications with random weights: uint8 (batch, *shape) -> features (batch, features).

    kind:  one of APPLICATIONS
    shape: of an image, (side, side, 3)
    """
    image = keras.Input(shape, dtype="uint8", name="image")
    module, name, _ = _NETWORKS[kind]
    network = getattr(module, name)(include_top=False, weights=None, input_shape=image.shape[1:])
    last = network(module.preprocess_input(ops.cast(image, "float32")))
    return keras.Model(image, _mean(last), name="backbone")


def of_run(described):
    """Returns the backbone of an earlier run's network, with random weights.

    described: `Facts.run`, which is checked, because it may come from a file

    Raises:
        UserError: it does not describe a network with features.
    """
    try:
        app = App(described["app"])
        config = settings.of_plain(app.systems, described["config"], "the description of the backbone")
        spec, steps = spec_of_plain(described["spec"], app.data.Info), int(described["steps"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"the description of the backbone cannot be read: {error!r}") from None
    return cut(app.build_model(config, spec, steps), f"the backbone, a run of {app.task},")


def imagenet(config, shape):
    """Returns a network of keras.applications with ImageNet weights, for images of a shape (side, side, 3).

    Raises:
        UserError: the weights are not on this machine and `--download` is not given, or the download fails.
    """
    module, name, file = _NETWORKS[config.backbone]
    home = pathlib.Path(paths.expanded(os.environ.get("KERAS_HOME") or "~/.keras", "specify a folder with KERAS_HOME"))
    path = home / "models" / file.format(side=shape[0] if shape[0] in _MOBILENET_SIDES else 224)
    if not path.is_file() and not config.download:
        raise UserError(f"the weights of {config.backbone} are not in {path}: use --download to fetch them")
    try:
        return getattr(module, name)(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # of the network, or of a file that is none
        raise UserError(f"the weights of {config.backbone} could not be downloaded: {error}") from error


def cut(model, name):
    """Returns the part of an image model up to its features, as a backbone with the same weights.

    The features are the output of the layer "features" or, for a detector, the spatial mean of the last map of the layer
    "backbone".

    model: keras.Model
    name:  name of the model in error messages

    Raises:
        UserError: it has no such layer.
    """
    parts = {layer.name: layer for layer in model.layers}
    try:
        if "features" in parts:
            return keras.Model(model.inputs[0], parts["features"].output, name="backbone")
        below = parts["backbone"]
        image = keras.Input(below.input_shape[1:], dtype="uint8", name="image")
        return keras.Model(image, _mean(keras.tree.flatten(below(ops.cast(image, "float32")))[-1]), name="backbone")
    except (AttributeError, KeyError, ValueError, TypeError):
        raise UserError(f"the network of {name} has no feature layer to build on: choose a run of classification, "
                        "detection or transfer") from None


def _mean(maps):
    return keras.layers.GlobalAveragePooling2D(dtype="float32", name="mean")(maps)
