"""What `training.engine.tensorboard` writes is read back from the event files and the projector's files."""
import pathlib
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.plugins import projector as projector_plugin
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util import tensor_util

from training.engine import strategies, tensorboard


def events(folder):
    """Returns {tag: [(step, array)]} as TensorBoard sees them: restarts purged, nothing sampled away."""
    accumulator = plugin_event_accumulator.EventAccumulator(
        str(folder), size_guidance={plugin_event_accumulator.TENSORS: 0})
    accumulator.Reload()
    return {tag: [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
            for tag in accumulator.Tags()["tensors"]}


def scalars(folder, tag):
    return [(step, float(value)) for step, value in events(folder)[tag]]


def another_second():
    """Waits for it: TensorBoard reads a folder's files by name, which starts with the second they were made in."""
    time.sleep(1.01 - time.time() % 1)


def small_model(optimizer=None):
    hidden, out = keras.layers.Dense(3, name="hidden"), keras.layers.Dense(1, name="out")
    model = keras.Sequential([keras.Input((4,)), hidden, out])
    model.compile(optimizer or keras.optimizers.SGD(0.1), "mse")
    return model


def calls(callback, model, epochs, steps=4, logs=None):
    """Runs the callback as the loop does, with one call per epoch."""
    callback.set_model(model)
    callback.set_params({"steps": steps, "batch_size": 8})
    for epoch in epochs:
        callback.on_epoch_begin(epoch)
        callback.on_train_batch_begin(0)
        callback.on_train_batch_end(steps - 1)
        callback.on_epoch_end(epoch, logs(epoch) if logs else {})


def test_curves_of_training_and_validation_share_their_tags(tmp_path):
    model = small_model(keras.optimizers.SGD(keras.optimizers.schedules.PolynomialDecay(0.1, 20, 0.0)))
    x, y = np.random.default_rng(0).normal(size=(2, 40, 4)).astype("float32")
    history = model.fit(x, y[:, :1], batch_size=8, epochs=3, validation_split=0.2, verbose=0,
                        callbacks=[tensorboard.TensorBoard(tmp_path, batch_size=8)]).history
    assert dict(scalars(tmp_path / "train", "epoch/loss")) == pytest.approx(dict(enumerate(history["loss"], 1)))
    assert dict(scalars(tmp_path / "validation", "epoch/loss")) == pytest.approx(dict(enumerate(history["val_loss"], 1)))
    rates = dict(scalars(tmp_path / "train", "epoch/learning_rate"))
    assert rates == pytest.approx({1: 0.1 * 16 / 20, 2: 0.1 * 12 / 20, 3: 0.1 * 8 / 20})
    assert [step for step, _ in scalars(tmp_path / "train", "speed/examples_per_second")] == [1, 2, 3]
    assert min(speed for _, speed in scalars(tmp_path / "train", "speed/examples_per_second")) > 0
    assert all("val_" not in tag for tag in events(tmp_path / "validation"))


def test_speed_counts_every_step_of_a_call_and_takes_the_batch_size_from_the_loop(tmp_path, monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 22.0])  # the first call of 9 seconds holds the tracing
    monkeypatch.setattr(tensorboard.time, "perf_counter", lambda: next(clock))
    callback = tensorboard.TensorBoard(tmp_path)
    callback.set_model(small_model())
    callback.set_params({"steps": 40, "batch_size": 8})
    callback.on_epoch_begin(0)
    for first, last in ((0, 9), (10, 19), (20, 39)):
        callback.on_train_batch_begin(first)
        callback.on_train_batch_end(last)
    callback.on_epoch_end(0, {})
    callback.close()
    assert scalars(tmp_path / "train", "speed/examples_per_second") == [(1, pytest.approx(30 * 8 / 4))]


def test_update_ratio_is_the_change_of_one_step_over_the_weights(tmp_path):
    model = small_model()
    hidden = model.get_layer("hidden")
    callback = tensorboard.TensorBoard(tmp_path, histograms_every=0)
    callback.set_model(model)
    callback.set_params({"steps": 8})
    callback.on_epoch_begin(0)
    # the third call starts the second half
    for first, last, change in ((0, 0, 5.0), (1, 3, 7.0), (4, 7, 0.02), (8, 8, 9.0)):
        callback.on_train_batch_begin(first)
        before = hidden.kernel.numpy()
        hidden.kernel.assign(before + change)
        callback.on_train_batch_end(last)
        if first == 4:
            expected = np.linalg.norm(np.full((4, 3), change)) / np.linalg.norm(before) / 4
    callback.on_epoch_end(0, {})
    callback.close()
    written = events(tmp_path / "train")
    assert float(written.pop("update_ratio/_1e-3")[0][1]) == pytest.approx(1e-3)
    tags = [tag for tag in written if tag.startswith("update_ratio/")]
    assert len(tags) == 2 and all("/bias" not in tag for tag in tags)
    ratio = {tag.rpartition("/")[2]: float(written[tag][0][1]) for tag in tags}
    assert ratio == {"hidden": pytest.approx(expected, rel=1e-4), "out": 0}


def test_update_ratio_of_each_matrix_of_a_layer_and_of_the_networks_that_moved():
    class Side(keras.layers.Layer):
        def build(self, shape):
            self.kernels = [self.add_weight(name=f"kernel{n}", shape=(3, 4, 2), initializer="ones") for n in (1, 2)]
            self.add_weight(name="bias1", shape=(3, 2), initializer="ones")

    side, dense = Side(name="side"), keras.layers.Dense(2, name="dense")
    side.build((None, 4))
    dense.build((None, 3))
    model = types.SimpleNamespace(trainable_weights=side.trainable_weights + dense.trainable_weights)
    before = tensorboard._matrices(model)
    assert set(before) == {"side/kernel1", "side/kernel2", "dense"}
    change = np.zeros((3, 4, 2))
    change[1] = 0.5
    side.kernels[0].assign_add(change)
    ratios = tensorboard._update_ratios(before, tensorboard._matrices(model), 1)
    assert ratios["side/kernel1"] == pytest.approx(0.5) and ratios["side/kernel2"] == ratios["dense"] == 0


def test_update_ratio_of_gradient_descent(tmp_path):
    model = small_model()
    x, y = np.random.default_rng(0).normal(size=(2, 8, 4)).astype("float32")
    before = model.get_layer("out").kernel.numpy()
    model.fit(x, y[:, :1], batch_size=8, verbose=0, callbacks=[tensorboard.TensorBoard(tmp_path)])
    expected = np.linalg.norm(model.get_layer("out").kernel.numpy() - before) / np.linalg.norm(before)
    tag = next(tag for tag in events(tmp_path / "train") if tag.startswith("update_ratio/") and tag.endswith("/out"))
    assert scalars(tmp_path / "train", tag) == [(1, pytest.approx(expected, rel=1e-4))]


def test_histograms_hold_all_weights_and_survive_numbers_that_are_none(tmp_path):
    model = small_model()
    model.get_layer("hidden").kernel.assign(np.arange(12).reshape(4, 3))
    model.get_layer("out").kernel.assign([[np.nan], [np.inf], [1.0]])
    model.get_layer("out").bias.assign([np.nan])
    calls(tensorboard.TensorBoard(tmp_path, histograms_every=2), model, range(4))
    written = {tag.partition("/")[2].partition("/")[2]: values for tag, values in events(tmp_path / "train").items()
               if tag.startswith("weights/")}
    assert set(written) == {"hidden/kernel", "hidden/bias", "out/kernel"}
    assert [step for step, _ in written["hidden/kernel"]] == [2, 4]
    buckets = written["hidden/kernel"][0][1]  # (buckets, 3): from, to, how many
    assert buckets[:, 2].sum() == 12 and (buckets[0, 0], buckets[-1, 1]) == (0, 11)
    assert written["out/kernel"][0][1][:, 2].sum() == 1


def test_a_resumed_run_replaces_what_the_interrupted_one_wrote_later(tmp_path):
    model = small_model()
    calls(tensorboard.TensorBoard(tmp_path), model, range(5), logs=lambda epoch: {"loss": epoch, "val_loss": epoch})
    another_second()
    resumed = tensorboard.TensorBoard(tmp_path)
    calls(resumed, model, range(3, 4), logs=lambda epoch: {"loss": 10 + epoch, "val_loss": 10 + epoch})
    resumed.on_train_end()
    for side in ("train", "validation"):
        assert scalars(tmp_path / side, "epoch/loss") == [(1, 0), (2, 1), (3, 2), (4, 13)]


def test_every_optimizer_has_its_curve(tmp_path):
    model = small_model()
    model.critic_optimizer = keras.optimizers.Adam(0.25)
    calls(tensorboard.TensorBoard(tmp_path), model, range(1))
    rates = {tag: values[0][1] for tag, values in events(tmp_path / "train").items() if "learning_rate" in tag}
    assert rates == {"epoch/learning_rate/optimizer": pytest.approx(0.1),
                     "epoch/learning_rate/critic_optimizer": pytest.approx(0.25)}


def test_weights_of_several_replicas_are_read(tmp_path):
    with strategies.make("mirrored").scope():
        model = small_model()
    calls(tensorboard.TensorBoard(tmp_path), model, range(1))
    assert sum(tag.startswith("weights/") for tag in events(tmp_path / "train")) == 4


def test_hparams_hold_settings_and_final_figures(tmp_path):
    settings = {"model": "retinanet", "learning_rate": 0.01, "batch_size": 16, "augment": True}
    given = settings | {"name": None, "sizes": (8, 16)}
    tensorboard.hparams(tmp_path / "run", given, {"ap": 0.5, "ap50": np.float32(0.75), "per_class": {"a": 1.0}})
    folder = tmp_path / "run" / "test"
    accumulator = plugin_event_accumulator.EventAccumulator(str(folder)).Reload()
    contents = accumulator.PluginTagToContent("hparams")
    started = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    assert started.group_name == "run"
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in started.hparams.items()}
    assert values == settings | {"sizes": "(8, 16)"}
    ended = metadata.parse_session_end_info_plugin_data(contents[metadata.SESSION_END_INFO_TAG])
    assert ended.status == api_pb2.STATUS_SUCCESS
    another_second()
    tensorboard.hparams(tmp_path / "run", settings, {"ap": 0.625, "ap50": 0.75})  # tested again: the newest stand
    assert scalars(folder, "test/ap") == [(0, 0.625)] and scalars(folder, "test/ap50") == [(0, 0.75)]
    assert "test/per_class" not in events(folder)


def test_images_come_back(tmp_path):
    random = np.random.default_rng(0)
    several = random.integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    one = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    tensorboard.images(tmp_path, {"detections": several, "one": one}, step=7)
    written = events(tmp_path)
    step, values = written["detections"][0]
    assert step == 7 and [int(x) for x in values[:2]] == [6, 8]  # width, height, then the pictures
    np.testing.assert_array_equal([tf.io.decode_png(picture).numpy() for picture in values[2:]], several)
    np.testing.assert_array_equal(tf.io.decode_png(written["one"][0][1][2]).numpy(), one)


def test_a_picture_and_a_text_of_one_name_are_both_shown(tmp_path):
    tensorboard.images(tmp_path, {"attention": np.zeros((2, 4, 5, 3), "uint8")}, step=3)
    tensorboard.texts(tmp_path, {"attention": "**read**"}, step=3)
    accumulator = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert list(accumulator.PluginTagToContent("images")) == ["attention"]
    assert list(accumulator.PluginTagToContent("text")) == ["text/attention"]
    (step, text), = events(tmp_path)["text/attention"]
    assert (step, text.tolist()) == (3, b"**read**")


def test_activations_and_graph(tmp_path):
    tensorboard.activations(tmp_path, {"pyramid/level_1": np.ones((2, 3, 4)), "features": tf.zeros((5,))}, step=3)
    tensorboard.graph(tmp_path, lambda x: tf.nn.relu(x, name="only_operation"), tf.TensorSpec((2, 3)))
    written = events(tmp_path)
    assert [(step, value[:, 2].sum()) for step, value in written["activations/pyramid/level_1"]] == [(3, 24)]
    accumulator = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert "only_operation" in [node.name for node in accumulator.Graph().node]


def projector_config(folder):
    text = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, projector_plugin.ProjectorConfig())
    assert len({entry.tensor_name for entry in config.embeddings}) == len(config.embeddings)
    return {entry.tensor_name: entry for entry in config.embeddings}


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("count, height, width", [(1, 6, 6), (4, 5, 7), (7, 6, 4)])
def test_projector_files_belong_together(tmp_path, count, height, width):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(count, 3)) * [1, 1e-8, 1e8]
    thumbnails = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    rows = [{"class": f"tab\tand\nline {i}", "image": i} for i in range(count)]
    tensorboard.projector(tmp_path, "box features", vectors, rows, thumbnails)
    entry = projector_config(tmp_path)["box features"]
    paths = [entry.tensor_path, entry.metadata_path, entry.sprite.image_path]
    assert not any(pathlib.Path(path).is_absolute() for path in paths)
    assert list(entry.tensor_shape) == [count, 3]
    values = [[float(cell) for cell in line.split("\t")] for line in lines(tmp_path / entry.tensor_path)]
    np.testing.assert_allclose(values, vectors, rtol=1e-5)
    table = [line.split("\t") for line in lines(tmp_path / entry.metadata_path)]
    assert table == [["class", "image"]] + [[f"tab and line {i}", str(i)] for i in range(count)]
    sprite = tf.io.decode_png(tf.io.read_file(str(tmp_path / entry.sprite.image_path))).numpy()
    across, down = entry.sprite.single_image_dim
    assert (across, down) == (width + 2, height + 2)  # each has a frame of one pixel
    columns = sprite.shape[1] // across
    assert sprite.shape[:2] == (columns * down, columns * across)  # the projector wants as many rows as columns
    for i, thumbnail in enumerate(thumbnails):
        top, left = i // columns * down, i % columns * across
        np.testing.assert_array_equal(sprite[top + 1:top + down - 1, left + 1:left + across - 1], thumbnail)


@pytest.mark.parametrize("classes, shown", [
    (["3", "1", "3"], ["class 3", "class 1", "class 3"]), (["0x1F", "1e5", "0x1F"], ["class 0x1F", "class 1e5", "class 0x1F"]),
    (["3", "cat", "3"], ["3", "cat", "3"]), (["", "dog", ""], ["(empty)", "dog", "(empty)"])])
def test_projector_opens_labeled_and_colored_by_the_first_column(tmp_path, classes, shown):
    """The plugin labels points with the first column that is not all numbers; of digits that would be their size."""
    rows = [{"class": name, "size": "small", "image": 7} for name in classes]
    tensorboard.projector(tmp_path, "digits", np.eye(3), rows, np.zeros((3, 24, 24, 3), np.uint8))
    entry = projector_config(tmp_path)["digits"]
    table = [line.split("\t") for line in lines(tmp_path / entry.metadata_path)]
    assert table[0] == ["class", "size", "image"] and [line[0] for line in table[1:]] == shown
    sprite = tf.io.decode_png(tf.io.read_file(str(tmp_path / entry.sprite.image_path))).numpy()
    across, down = entry.sprite.single_image_dim
    frames = [sprite[row * down:(row + 1) * down, column * across:(column + 1) * across] for row, column in ((0, 0), (0, 1), (1, 0))]
    colors = [tuple(frame[0, 0]) for frame in frames]
    assert colors[0] == colors[2] != colors[1] and all((frame[:2] == color).all() for frame, color in zip(frames, colors))
    assert not frames[0][2:-2, 2:-2].any()


def test_projector_metadata_of_one_column_has_no_header(tmp_path):
    tensorboard.projector(tmp_path, "words", np.eye(2), [{"word": "yes"}, {"word": "no"}])
    entry = projector_config(tmp_path)["words"]
    assert lines(tmp_path / entry.metadata_path) == ["yes", "no"]
    assert not entry.HasField("sprite")


def test_projector_keeps_other_embeddings_and_replaces_its_own(tmp_path):
    tensorboard.projector(tmp_path, "first", np.eye(2), [{"a": 1}, {"a": 2}])
    tensorboard.projector(tmp_path, "second", np.eye(3), [{"a": 1}, {"a": 2}, {"a": 3}])
    tensorboard.projector(tmp_path, "first", np.eye(4), [{"a": i} for i in range(4)])
    found = projector_config(tmp_path)
    assert sorted(found) == ["first", "second"]
    assert list(found["first"].tensor_shape) == [4, 4] and len(lines(tmp_path / found["first"].tensor_path)) == 4
    assert len(lines(tmp_path / found["second"].tensor_path)) == 3


@pytest.mark.parametrize("vectors, rows, thumbnails", [
    (np.eye(2), [{"a": 1}], None),
    (np.eye(2), [{"a": 1}, {"a": 2}], np.zeros((3, 4, 4, 3), np.uint8)),
    (np.full((2, 2), np.nan), [{"a": 1}, {"a": 2}], None),
    (np.zeros((0, 2)), [], None),
    (np.eye(2), [{"a": 1}, {"a": 2}], np.zeros((2, 5000, 1, 3), np.uint8)),
])
def test_projector_refuses_what_would_not_show(tmp_path, vectors, rows, thumbnails):
    with pytest.raises(ValueError):
        tensorboard.projector(tmp_path, "wrong", vectors, rows, thumbnails)
    assert not (tmp_path / "projector_config.pbtxt").exists()
