"""TensorBoard logs of a run: curves, weights, images, settings with results, and embeddings.

A run's folder contains these event files, so `tensorboard --logdir runs` shows all runs side by side:

    train/, validation/   scalars by epoch with the same tags, so both curves are in one chart
    test/                 the run's settings and final metrics (the HParams page)
    ./                    images, histograms of activations, the graph, and the projector's files

A step is the number of finished epochs.
"""
import collections
import contextlib
import pathlib
import re
import time

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins import projector as projector_plugin
from tensorboard.plugins.hparams import api as hparams_plugin
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

from training.engine.names import one_line

_SAMPLE = 65_536
"""values of a weight that its histogram is made of, at most"""
_HEALTHY_RATIO = 1e-3
_SPRITE_SIDE = 8192
"""pixels: the largest sprite that the projector takes"""


class TensorBoard(keras.callbacks.Callback):
    """Writes scalars, histograms of weights and the update/weight ratio of every layer, once an epoch.

    folder:           the run's folder
    batch_size:       examples per step over all replicas (default: from the loop)
    histograms_every: epochs between histograms of the weights; 0: no histograms

    Scalars are `epoch/<name of the log>`, `epoch/learning_rate`, `speed/examples_per_second` and `update_ratio/<layer>`: the
    norm of a layer's change in one step over the norm of its weights, for weights with at least two dimensions; a layer with
    several of them has one value per weight. About 1e-3 is healthy; `update_ratio/_1e-3` marks this value. When a call runs
    several steps, the change over the call is divided by their number, which is slightly less than the mean change per step.
    It is measured on the first call of the epoch and again on the first call after half of the epoch, which replaces the first
    value.

    The callback has no state: a resumed run continues at its epoch, after a mark in the event files that makes TensorBoard
    discard what the interrupted run had written from that epoch on.
    """

    def __init__(self, folder, *, batch_size=None, histograms_every=1):
        super().__init__()
        self.folder, self.batch_size, self.histograms_every = pathlib.Path(folder), batch_size, histograms_every
        self._writers = {}

    def on_epoch_begin(self, epoch, logs=None):
        """Opens the event files if necessary, and resets the counters of the epoch."""
        if not self._writers:
            self._writers = {name: _start(self.folder / name, epoch + 1) for name in ("train", "validation")}
        self._steps = self._seconds = 0
        self._first_call = None
        self._measured = 0
        self._before = None
        self._ratios = {}

    def on_train_batch_begin(self, batch, logs=None):
        """Saves the weights before a call for which the update ratio is measured."""
        half = (self.params.get("steps") or 0) // 2
        if self._measured == 0 or (self._measured == 1 and half and batch >= half):
            self._measured += 1 if batch < half else 2
            self._before = _matrices(self.model)
        self._batch, self._began = batch, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Counts steps and seconds, and measures the update ratio of the selected calls."""
        seconds, steps = time.perf_counter() - self._began, batch - self._batch + 1
        if self._first_call is None:
            self._first_call = steps, seconds  # may hold the tracing: counts only when it is the only call
        else:
            self._steps += steps
            self._seconds += seconds
        if self._before is not None:
            self._ratios = _update_ratios(self._before, _matrices(self.model), steps)
            self._before = None

    def on_epoch_end(self, epoch, logs=None):
        """Writes the results of the epoch."""
        step = epoch + 1
        logs = {name: value for name, value in (logs or {}).items() if np.ndim(value) == 0}
        steps, seconds = (self._steps, self._seconds) if self._steps else self._first_call or (0, 0)
        with self._writers["train"].as_default(step=step):
            for name, value in logs.items():
                if not name.startswith("val_"):
                    tf.summary.scalar(f"epoch/{name}", value)
            for name, rate in _learning_rates(self.model).items():
                tf.summary.scalar(f"epoch/{name}", rate)
            batch_size = self.batch_size or self.params.get("batch_size")
            if seconds and batch_size:
                tf.summary.scalar("speed/examples_per_second", steps * batch_size / seconds)
            for name, ratio in self._ratios.items():
                tf.summary.scalar(f"update_ratio/{name}", ratio)
            if self._ratios:
                tf.summary.scalar("update_ratio/_1e-3", _HEALTHY_RATIO, description="about what the others should be")
            if self.histograms_every and step % self.histograms_every == 0:
                for weight in self.model.trainable_weights:
                    _histogram(f"weights/{weight.path}", weight.numpy())
        with self._writers["validation"].as_default(step=step):
            for name, value in logs.items():
                if name.startswith("val_"):
                    tf.summary.scalar(f"epoch/{name.removeprefix('val_')}", value)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs=None):
        """Closes the event files."""
        self.close()

    def close(self):
        """Closes the event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def hparams(folder, config, metrics):
    """Writes a run's settings and final metrics for the HParams page, which compares the runs in a folder.

    folder:  the run's folder
    config:  {name: bool, number, string, or another value with a short text}; None is omitted
    metrics: {name: number}; other values are omitted
    """
    folder = pathlib.Path(folder)
    settings = {name: value if isinstance(value, (bool, int, float, str)) else str(value)
                for name, value in config.items() if value is not None}
    writer = _start(folder / "test", 0)
    with writer.as_default(step=0):
        hparams_plugin.hparams(settings, trial_id=folder.resolve().name)
        for name, value in metrics.items():
            if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
                tf.summary.scalar(f"test/{name}", value)
        ended = hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        tf.summary.experimental.write_raw_pb(ended.SerializeToString())
    writer.close()


def scalars(folder, values, step):
    """Writes numbers.

    folder: of the event file
    values: {name: float}
    step:   finished epochs
    """
    with _writing(folder, step):
        for name, value in values.items():
            tf.summary.scalar(name, value)


def images(folder, pictures, step):
    """Writes pictures.

    folder:   of the event file
    pictures: {name: uint8 (n, height, width, 3) or (height, width, 3)}
    step:     finished epochs
    """
    with _writing(folder, step):
        for name, values in pictures.items():
            values = np.asarray(values)
            values = values[None] if values.ndim == 3 else values
            tf.summary.image(name, values, max_outputs=len(values))


def texts(folder, values, step):
    """Writes texts.

    folder: of the event file
    values: {name: Markdown}
    step:   finished epochs
    """
    with _writing(folder, step):
        for name, text in values.items():  # TensorBoard shows neither where a picture has the same tag
            tf.summary.text(f"text/{name}", text)


def activations(folder, values, step):
    """Writes histograms of the outputs of layers for a fixed batch.

    folder: of the event file
    values: {name: array of any shape}
    step:   finished epochs
    """
    with _writing(folder, step):
        for name, array in values.items():
            _histogram(f"activations/{name}", np.asarray(array))


def graph(folder, function, *specs):
    """Writes the TensorFlow graph of a function for the Graphs page.

    folder:   of the event file
    function: function of tensors, such as a model
    specs:    one nest of tensor specs per argument, used for tracing
    """
    traced = tf.function(function).get_concrete_function(*specs)
    with _writing(folder, 0):
        tf.summary.graph(traced.graph)


def projector(folder, name, vectors, metadata, thumbnails=None):
    """Writes an embedding for the projector; replaces one of the same name and keeps others in the folder.

    Keras 3's callback writes a configuration that does not match its file, so the four files are written here.

    The projector labels points with the first column that is not numeric, so the first column is made non-numeric. It opens
    without a color map, which files cannot preselect; therefore each thumbnail gets a frame in the color of its first column.

    folder:     of the run
    name:       of the embedding
    vectors:    (n, dimensions) numbers
    metadata:   n dicts with the same keys; the first entry labels the point, usually with its class
    thumbnails: uint8 (n, height, width, 3), the picture at each point

    Raises:
        ValueError: the lengths differ, a number is not finite, or the thumbnails do not fit one sprite.
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or not len(vectors) or not np.isfinite(vectors).all():
        raise ValueError(f"an embedding needs finite vectors of shape (n, dimensions), got {vectors.shape}")
    if len(metadata) != len(vectors) or (thumbnails is not None and len(thumbnails) != len(vectors)):
        raise ValueError(f"{len(vectors)} vectors, {len(metadata)} rows of metadata"
                         + ("" if thumbnails is None else f", {len(thumbnails)} thumbnails"))
    folder = pathlib.Path(folder)
    files = pathlib.Path("projector", re.sub(r"[^\w.-]+", "_", name))  # relative to the configuration
    (folder / files).mkdir(parents=True, exist_ok=True)
    entry = projector_plugin.EmbeddingInfo(
        tensor_name=name, tensor_shape=vectors.shape, tensor_path=(files / "tensors.tsv").as_posix(),
        metadata_path=(files / "metadata.tsv").as_posix())
    (folder / files / "tensors.tsv").write_text(
        "".join("\t".join(f"{x:.6g}" for x in vector) + "\n" for vector in vectors), encoding="utf-8")
    table = _cells(metadata)
    (folder / files / "metadata.tsv").write_text("".join("\t".join(line) + "\n" for line in table), encoding="utf-8")
    if thumbnails is not None:
        thumbnails = _framed(np.asarray(thumbnails), [line[0] for line in table[-len(vectors):]])
        sprite = _sprite(thumbnails)
        tf.io.write_file(str(folder / files / "sprite.png"), tf.io.encode_png(sprite))
        entry.sprite.image_path = (files / "sprite.png").as_posix()
        entry.sprite.single_image_dim.extend([thumbnails.shape[2], thumbnails.shape[1]])  # width, height
    config = projector_plugin.ProjectorConfig()
    path = folder / "projector_config.pbtxt"
    if path.exists():
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    others = [embedding for embedding in config.embeddings if embedding.tensor_name != name]
    del config.embeddings[:]
    config.embeddings.extend([*others, entry])
    path.write_text(text_format.MessageToString(config), encoding="utf-8")  # last: it names complete files


def _cells(rows):
    """Returns the lines of the metadata; the projector takes a header only where there are several columns."""
    columns = list(rows[0])
    # the projector would skip a line without any text
    lines = [[one_line(row[column]) or "(empty)" for column in columns] for row in rows]
    if len(columns) == 1:
        return lines
    if all(_is_number(line[0]) for line in lines):
        lines = [[f"{columns[0]} {line[0]}", *line[1:]] for line in lines]
    return [columns, *lines]


def _is_number(text):
    """Whether the projector takes a text for a number; it reads hexadecimal ones too."""
    for read in (float, lambda text: int(text, 0)):
        try:
            read(text)
            return True
        except ValueError:
            pass
    return False


def _framed(thumbnails, labels):
    """Returns the thumbnails with a frame in the color of each one's label; labels beyond the twentieth repeat the colors."""
    names = sorted(set(labels))
    colors = np.uint8(np.round(255 * np.array(matplotlib.colormaps["tab10" if len(names) <= 10 else "tab20"].colors)))
    ids = np.array([names.index(label) for label in labels]) % len(colors)
    count, height, width, channels = thumbnails.shape
    edge = max(1, round(max(height, width) / 12))
    framed = np.broadcast_to(colors[ids][:, None, None], (count, height + 2 * edge, width + 2 * edge, channels)).copy()
    framed[:, edge:-edge, edge:-edge] = thumbnails
    return framed


def _sprite(thumbnails):
    """Returns all thumbnails in one square grid, row by row, as the projector cuts them out."""
    count, height, width, channels = thumbnails.shape
    side = int(np.ceil(np.sqrt(count)))
    if side * max(height, width) > _SPRITE_SIDE:
        raise ValueError(f"{count} thumbnails of {height}x{width} make a sprite of more than {_SPRITE_SIDE} pixels")
    grid = np.zeros((side * side, height, width, channels), np.uint8)
    grid[:count] = thumbnails
    grid = grid.reshape(side, side, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(side * height, side * width, channels)


def _start(folder, step):
    """Returns a writer whose first event makes TensorBoard forget events of `step` and later in that folder."""
    writer = tf.summary.create_file_writer(str(folder))
    mark = event_pb2.Event(wall_time=time.time(), step=step,
                           session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
    # tf.summary has no public call for anything but summaries
    tf.raw_ops.ImportEvent(writer=writer._resource, event=mark.SerializeToString())
    return writer


@contextlib.contextmanager
def _writing(folder, step):
    """Opens a folder for events of one step, and closes it."""
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default(step=step):
        yield
    writer.close()


def _histogram(name, values):
    """Writes a histogram of at most `_SAMPLE` of the finite values, evenly taken."""
    values = values.astype(np.float32).reshape(-1)
    values = values[::max(1, len(values) // _SAMPLE)]
    values = values[np.isfinite(values)]
    if values.size:
        tf.summary.histogram(name, values)


def _matrices(model):
    """Returns {layer, or weight where a layer has several: trained weights of two dimensions and more}.

    Biases and scales are left out: they start at 0 or are few, and their ratio says little.
    """
    matrices = [(weight.path, weight) for weight in model.trainable_weights
                if len(weight.shape) > 1 and not weight.name.startswith("bias")]  # of networks side by side they are matrices
    counts = collections.Counter(path.rpartition("/")[0] for path, _ in matrices)
    return {layer if (layer := path.rpartition("/")[0]) and counts[layer] == 1 else path:
            weight.numpy().astype(np.float32, copy=True) for path, weight in matrices}


def _update_ratios(before, after, steps):
    """Returns {name: norm of a step's change over the norm of the weights}; of networks side by side those that moved count."""
    ratios = {}
    for name, weights in before.items():
        change = after[name] - weights
        if weights.ndim == 3 and change.any():  # (networks, rows, columns)
            moved = change.any(axis=(1, 2))
            weights, change = weights[moved], change[moved]
        norm = np.linalg.norm(weights)
        if norm > 0:
            ratios[name] = np.linalg.norm(change) / norm / steps
    return ratios


def _learning_rates(model):
    """Returns {"learning_rate": value}, or one for each optimizer where a model has several."""
    optimizers = {id(value): (name.lstrip("_"), value) for name, value in vars(model).items()
                  if isinstance(value, keras.optimizers.Optimizer)}
    rates = {name: float(optimizer.learning_rate.numpy()) for name, optimizer in optimizers.values()}
    if len(rates) == 1:
        return {"learning_rate": rate for rate in rates.values()}
    return {f"learning_rate/{name}": rate for name, rate in rates.items()}
