"""How much faster one pass is than patch by patch, with equal answers."""
import itertools
import pathlib
import time

import matplotlib.figure
import numpy as np
import tensorflow as tf

from apps.segmentation import data
from apps.segmentation.pixel_classifier import PixelClassifier, patch_side
from training import reports, runs
from training.config import UserError

_ONE_PASS, _PATCHES = "one pass", "patch by patch"


def run(app, request):
    """Compares both forms of a network with the same weights; prints, plots and saves the differences and speeds, and returns the
    numbers.

    Raises:
        UserError: the run is missing or of another system, the data set is missing, or the folder is not empty.
    """
    folder = reports.folder_of(app, "patches_speed", request)
    config, load = _config(app, request)
    splits = data.datasets(config)
    images = [image for inputs, _ in itertools.islice(splits.test, request.images) for image in inputs["image"].numpy()]
    models = {name: PixelClassifier(
        config.image_size, len(splits.spec.info.class_names), width=config.width, stages=config.stages, units=config.units,
        one_pass=name == _ONE_PASS) for name in (_ONE_PASS, _PATCHES)}
    load(models[_ONE_PASS])
    models[_PATCHES].network.set_weights(models[_ONE_PASS].network.get_weights())
    functions = {name: tf.function(lambda batch, model=model: tf.nn.softmax(model({"image": batch})["classes"]))
                 for name, model in models.items()}
    images = [tf.constant(image[None]) for image in images[:request.images]]
    answers = {name: np.concatenate([function(image).numpy() for image in images]) for name, function in functions.items()}
    seconds = {name: [] for name in models}
    for _ in range(request.rounds):  # in turn, since the speed of a machine drifts
        for name, function in functions.items():
            began = time.perf_counter()
            for image in images:
                function(image).numpy()
            seconds[name].append((time.perf_counter() - began) / len(images))
    numbers = {"image_size": config.image_size, "patch_side": patch_side(config.stages), "images": len(images),
               **_compared(*answers.values(), *seconds.values())}
    print(f"{_ONE_PASS:15} {numbers['seconds_one_pass']:8.3f} s per image\n"
          f"{_PATCHES:15} {numbers['seconds_patches']:8.3f} s per image: {config.image_size ** 2:,} patches of "
          f"{numbers['patch_side']} x {numbers['patch_side']} pixels\n{'ratio':15} {numbers['speed_ratio']:8.1f}\n"
          f"the probabilities differ by {numbers['greatest_difference']:.1e} at most, and {numbers['equal_classes']:.3%} of the "
          "classes are equal")
    reports.keep(folder, "patches_speed", request, numbers, {"patches_speed": lambda: _bars(numbers)})
    return numbers


def _config(app, request):
    """Returns the settings of the network, and a function that gives it the weights of the run, if there is one."""
    if request.run is None:
        config = app.config("convolutional", dataset=request.dataset, data_dir=request.data_dir, manual_dir=request.manual_dir,
                            download=request.download, batch_size=request.images)
        return config, lambda model: None
    from training import run as finished_run

    folder = runs.finished(app.task, request).folder
    found = finished_run.described(pathlib.Path(folder))
    if found.config.model not in ("patches", "convolutional"):
        raise UserError(f"{folder} is a run of {found.config.model}: choose one of patches or convolutional")
    return found.config, lambda model: finished_run.load_weights(model, folder)


def _compared(one, many, fast, slow):
    """Returns the differences of two arrays of probabilities, and the ratio of two lists of seconds per image."""
    ratios = sorted(b / a for a, b in zip(fast, slow))
    return {
        "greatest_difference": float(np.abs(one - many).max()),
        "equal_classes": float((one.argmax(axis=-1) == many.argmax(axis=-1)).mean()),
        "seconds_one_pass": float(np.median(fast)), "seconds_patches": float(np.median(slow)),
        "speed_ratio": float(np.median(ratios)), "speed_ratios": ratios}


def _bars(numbers):
    """Returns a figure of the seconds per image."""
    figure = matplotlib.figure.Figure((6, 2.2))
    axes = figure.add_subplot()
    values = [numbers["seconds_one_pass"], numbers["seconds_patches"]]
    bars = axes.barh([_ONE_PASS, _PATCHES], values, color=["tab:blue", "tab:orange"])
    axes.bar_label(bars, [f" {value:.3f}" for value in values])
    axes.set(xscale="log", xlabel=f"seconds per image; ratio {numbers['speed_ratio']:.1f}")
    axes.invert_yaxis()
    return figure
