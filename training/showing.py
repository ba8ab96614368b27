"""The output of a finished training: a table, pictures, TensorBoard logs, and the commands for the next steps.

Results and export are written before. A failure here is reported in one line and does not affect them.
"""
import contextlib
import dataclasses
import functools
import pathlib
import shlex
import sys
import traceback

import numpy as np
import tensorflow as tf

from training import config as settings
from training.app import Rendered
from training.engine import tensorboard
from training.serving import export

_NO_HPARAMS = {"data_dir", "manual_dir", "download", "runs", "saved_models", "name", "resume", "force", "debug",
               "checkpoint_every", "steps_per_call", "validate_every", "initialize"}
"""settings that do not change what is learned"""


@contextlib.contextmanager
def optional(what, debug=False):
    """Reports in one line that `what` failed if the block raises an error, and continues after the block.

    debug: whether to print the traceback too
    """
    try:
        yield
    except Exception as error:
        if debug:
            traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        print(f"{what} failed: {type(error).__name__}: {lines[0][:300]}; the rest was written", file=sys.stderr, flush=True)


def show(app, model, splits, config, folder, metrics):
    """Prints the table of a run's test metrics, and writes its pictures and TensorBoard logs into its folder."""
    attempt = functools.partial(optional, debug=config.debug)
    with attempt("printing the table"):
        app.evaluation.table(metrics)
    rendered = Rendered()
    with attempt("rendering the pictures"):
        rendered = app.pictures.render(model, splits, config, splits.spec.info, metrics)
    with attempt("writing the pictures"):
        for name, images in rendered.pictures.items():
            for number, image in enumerate(np.asarray(images)):
                write_picture(folder / "pictures" / f"{name.replace('/', '_')}_{number}.png", image)
    with attempt("TensorBoard's images"):
        tensorboard.images(folder, rendered.pictures, step=config.epochs)
    with attempt("TensorBoard's histograms"):
        tensorboard.activations(folder, rendered.activations, step=config.epochs)
    with attempt("TensorBoard's texts"):
        tensorboard.texts(folder, rendered.texts, step=config.epochs)
    for name, (vectors, metadata, thumbnails) in rendered.embeddings.items():
        with attempt(f"TensorBoard's projector for {name}"):
            tensorboard.projector(folder, name, vectors, metadata, thumbnails)
    with attempt("TensorBoard's graph"):
        tensorboard.graph(folder, model, splits.spec.inputs)
    with attempt("TensorBoard's HParams page"):
        chosen = {name: value for name, value in dataclasses.asdict(config).items() if name not in _NO_HPARAMS}
        tensorboard.hparams(folder, chosen, numbers(metrics))


def write_picture(path, image):
    """Writes a PNG file and creates its folder.

    path:  path of the file
    image: uint8 (height, width, 3)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tf.io.encode_png(image).numpy())  # TensorFlow's own writing takes no name that is not UTF-8


def numbers(metrics):
    """Returns the metrics that are numbers, as floats."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float, np.number))}


def farewell(app, config, folder, version, results):
    """Prints a run's metrics, the paths of its files, and the commands for TensorBoard, prediction and serving."""
    saved_models = shlex.quote(str(version.parent.parent.resolve()))
    choice = f" --model {config.model}" if len(app.export_names()) > 1 else ""
    predict = f"{shlex.quote(sys.executable)} -m {app.package} predict{choice}"
    where = "" if config.saved_models == settings.Run.saved_models else f" --saved-models {shlex.quote(config.saved_models)}"
    tensorboard_command = pathlib.Path(sys.executable).with_name("tensorboard")
    shown = "  ".join(f"{name} {value:.4f}" for name, value in numbers(results["metrics"]).items() if value >= 0)
    print(f"""
test      {shown}
time      {results['seconds']['total']:.0f} s in total, including {results['seconds']['train']:.0f} s of training
run       {folder}
export    {version}
pictures  {folder / 'pictures'}
look      {shlex.quote(str(tensorboard_command))} --logdir {shlex.quote(str(folder.parent))}
predict   {predict}{where} FILE…
serve     docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 -v {saved_models}:/models:ro \\
            tensorflow/serving:{export.SERVER_VERSION} --model_config_file=/models/models.config \\
            --enable_batching --batching_parameters_file=/models/batching.config \\
            --monitoring_config_file=/models/monitoring.config
          then: {predict} --server localhost:8500 FILE…""", flush=True)
