"""The networks as their papers have them, and what each setting does to them."""
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from apps.classification import alexnet, blocks, classifier, lenet5, monitors, pictures, resnet, vgg16
from tests.layers.layer_contract import check_layer
from training import UserError, summary
from training.app import App
from training.data.spec import Spec, Splits
from training.vision import classifiers
from training.vision.labelled_images import ImageInfo

APP = App("classification")


def resolved(model, **changes):
    return APP.config(model, **changes)


def build(model, spec, **changes):
    """Returns the compiled model of a system."""
    return APP.build_model(resolved(model, **changes), spec, steps=10)


def spec(side, channels, classes):
    info = ImageInfo(class_names=[str(k) for k in range(classes)], mean=[0.0] * channels, std=[255.0] * channels)
    return Spec({"image": tf.TensorSpec([None, side, side, channels], tf.uint8)}, {"label": tf.TensorSpec([None], tf.int32)}, info)


def output(model, layer):
    return tuple(model.get_layer(layer).output.shape[1:])


def weights(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def test_lenet5_has_the_papers_maps_and_weights():
    model = build("lenet5", spec(28, 1, 10), dataset="mnist")
    shapes = {"c1": (28, 28, 6), "s2": (14, 14, 6), "c3": (10, 10, 16), "s4": (5, 5, 16), "c5": (1, 1, 120), "f6": (84,)}
    assert {name: output(model, name) for name in shapes} == shapes
    counts = {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164}
    assert {name: model.get_layer(name).count_params() for name in counts} == counts
    assert weights(model) == 60_000 + 85 * 10


def test_lenet5_squashes_as_the_paper_does():
    layer = lenet5.ScaledTanh()
    np.testing.assert_allclose(layer(np.array([[-1.0, 0.0, 1.0]], "float32")), [[-1, 0, 1]], atol=1e-4)  # appendix A: f(1) = 1
    assert float(layer(np.array([[100.0]], "float32"))[0, 0]) == pytest.approx(1.7159)


def test_scaled_tanh_keeps_the_contract_of_a_layer(tmp_path):
    check_layer(lambda **options: lenet5.ScaledTanh(**options),
                {"inputs": np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")},
                lambda layer, inputs: 1.7159 * np.tanh(2 / 3 * inputs.astype("float64")), tmp_path, package="apps")


@pytest.mark.parametrize("side", [24, 64])
def test_lenet5_refuses_images_of_other_sizes(side):
    with pytest.raises(UserError, match=f"not --image-size {side}"):
        build("lenet5", spec(side, 1, 10), image_size=side)


@pytest.mark.parametrize("module, side, normalization, count", [
    (alexnet, 227, "local_response", 60_965_224), (vgg16, 224, "none", 138_357_544), (resnet, 224, "batch", 25_557_032)])
def test_full_size_networks_have_the_published_numbers_of_weights(module, side, normalization, count, monkeypatch):
    monkeypatch.setitem(blocks._INITIALIZERS, "he", keras.initializers.Zeros)  # random ones take seconds
    built = keras.Model(inputs := keras.Input((side, side, 3)), keras.layers.Dense(1000, kernel_initializer="zeros")(
        module.network(inputs, full_size=True, normalization=normalization)))
    assert weights(built) == count
    if module is alexnet:
        shapes = {"convolution1": (55, 55, 96), "pool1": (27, 27, 96), "convolution2": (27, 27, 256), "pool2": (13, 13, 256),
                  "convolution4": (13, 13, 384), "pool5": (6, 6, 256), "full6": (4096,)}
        assert {name: output(built, name) for name in shapes} == shapes


@pytest.mark.parametrize("model, side", [("alexnet", 227), ("vgg16", 224), ("resnet", 224)])
def test_the_full_size_takes_the_papers_images_unless_another_size_is_given(model, side):
    assert resolved(model, full_size=True).image_size == side and resolved(model).image_size == 28
    assert resolved(model, full_size=True, image_size=160).image_size == 160


def test_alexnet_says_which_images_are_too_small(monkeypatch):
    assert output(build("alexnet", spec(15, 1, 10), image_size=15), "pool5")[0] == 1
    with pytest.raises(UserError, match="alexnet needs images of at least 15 pixels, not --image-size 14"):
        build("alexnet", spec(14, 1, 10), image_size=14)
    monkeypatch.setitem(blocks._INITIALIZERS, "he", keras.initializers.Zeros)  # random ones take seconds
    assert output(build("alexnet", spec(67, 3, 10), full_size=True, image_size=67), "pool5")[0] == 1
    with pytest.raises(UserError, match="at least 67 pixels with --full-size True, not --image-size 66"):
        build("alexnet", spec(66, 3, 10), full_size=True, image_size=66)


@pytest.mark.parametrize("model, changes, words", [
    ("resnet", dict(erase=0.5), "--erase has no effect with --augment False"),
    ("resnet", dict(dataset="cifar10_subset", augment=False, erase=0.5), "--erase has no effect with --augment False"),
    ("alexnet", dict(full_size=True, width=24), "--width has no effect with --full-size True"),
    ("vgg16", dict(full_size=True, width=4), "--width has no effect with --full-size True"),
    ("resnet", dict(full_size=True, blocks=2), "--blocks has no effect with --full-size True"),
    ("resnet", dict(dropout_scaling="classic"), "--dropout-scaling has no effect with --dropout 0.0"),
    ("maxout", dict(dropout=0.0, dropout_scaling="inverted"), "--dropout-scaling has no effect with --dropout 0.0")])
def test_settings_without_effect_are_refused(model, changes, words):
    with pytest.raises(UserError, match=words) as refused:
        resolved(model, **changes)
    assert "\n" not in str(refused.value)


def test_settings_with_an_effect_are_taken():
    assert resolved("resnet", erase=0.5, augment=True).erase == 0.5 and resolved("resnet", dataset="cifar10_subset").erase == 0.5
    assert resolved("resnet", dataset="cifar10_subset", augment=False).erase == 0.0
    assert resolved("resnet", dropout=0.1, dropout_scaling="classic").dropout_scaling == "classic"


@pytest.mark.parametrize("model, setting", [
    ("softmax", "dropout"), ("softmax", "initializer"), ("softmax", "activation"), ("maxout", "activation"),
    ("dense_maxout", "normalization"), ("lenet5", "normalization"), ("lenet5", "full_size"), ("vgg16", "blocks"), ("resnet", "pieces")])
def test_a_system_has_only_the_settings_that_it_reads(model, setting):
    assert setting not in {field.name for field in dataclasses.fields(APP.systems[model])}
    assert any(setting in {field.name for field in dataclasses.fields(kind)} for kind in APP.systems.values())


def test_resnet20_has_the_papers_weights_and_shortcuts_of_its_own():
    model = build("resnet", spec(32, 3, 10), dataset="cifar10")
    shortcuts = 16 * 32 + 32 * 64 + 2 * (32 + 64)  # 1x1 kernels with gamma and beta, where the paper pads with zeros
    assert weights(model) == 269_722 + shortcuts  # 0.27 million in table 6 of the paper


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu", "maxout"])
@pytest.mark.parametrize("model", ["lenet5", "resnet", "alexnet", "vgg16"])
def test_each_activation_is_what_the_network_answers_with(model, activation):
    changes = {} if model == "lenet5" else dict(width=6)
    built = build(model, spec(28, 1, 10), activation=activation, **changes)
    kinds = {type(layer) for layer in built.layers if layer.name.endswith("_activation")}
    of_name = {layer.get_config().get("activation") for layer in built.layers if isinstance(layer, keras.layers.Activation)}
    if activation == "maxout":
        assert not kinds and any(isinstance(layer, layers.MaxoutConv2D) for layer in built.layers)
    elif activation == "tanh" and model == "lenet5":
        assert kinds == {lenet5.ScaledTanh}
    elif activation in ("sigmoid", "tanh"):
        assert of_name == {activation}
    else:
        assert kinds == {{"relu": keras.layers.ReLU, "leaky_relu": keras.layers.LeakyReLU, "prelu": keras.layers.PReLU,
                          "elu": layers.ELU}[activation]}


@pytest.mark.parametrize("scheme, variance", [
    ("small", 1e-4), ("large", 1.0), ("uniform", 3e-4), ("lecun", 1 / 300), ("glorot", 2 / (300 + 500)), ("he", 2 / 300)])
def test_initial_weights_have_the_variance_of_their_scheme(scheme, variance):
    keras.utils.set_random_seed(3)
    drawn = blocks.Blocks(initializer=scheme).initializer()((300, 500))
    assert float(keras.ops.var(drawn)) == pytest.approx(variance, rel=0.03)


def deep(scheme, activation):
    """Returns a plain network of twelve layers of 200 units, and 100 rows of noise for it."""
    keras.utils.set_random_seed(0)
    parts = blocks.Blocks(initializer=scheme, activation=activation, normalization="batch")
    x = keras.Input((200,))
    y = x
    for depth in range(12):
        y = parts.dense(y, 200, f"layer{depth}")
    return keras.Model(x, y), tf.constant(np.random.default_rng(0).normal(size=(100, 200)), tf.float32)


def test_he_keeps_the_activations_of_a_deep_relu_network_and_small_ones_lose_them():
    """He et al., 2015, eq. 10: each layer halves the energy of what comes in, which twice the variance makes up for."""
    def std(scheme):
        model, inputs = deep(scheme, "relu")
        return float(keras.ops.std(model(inputs)))

    assert 0.3 < std("he") < 3
    assert std("small") < 1e-6
    assert std("large") > 1e6


def test_glorot_keeps_the_activations_of_a_deep_tanh_network_and_its_gradients():
    """Glorot and Bengio, 2010, eq. 12: small weights lose what comes in, large ones saturate tanh, which lets no gradient back."""
    def std_and_gradient(scheme):
        model, inputs = deep(scheme, "tanh")
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            answers = model(inputs)
            total = tf.reduce_sum(answers * tf.random.stateless_normal((100, 200), (0, 1)))
        saturated = float((np.abs(answers) > 0.99).mean())
        return float(keras.ops.std(answers)), float(keras.ops.std(tape.gradient(total, inputs))), saturated

    std, gradient, saturated = std_and_gradient("glorot")
    assert 0.1 < std < 0.6 and 0.1 < gradient < 3 and saturated < 0.05
    std, gradient, _ = std_and_gradient("small")
    assert std < 1e-6 and gradient < 1e-6
    assert std_and_gradient("large")[2] > 0.8


def test_dropout_and_its_scaling_are_what_was_asked_for():
    for scaling, kind in (("inverted", layers.InvertedDropout), ("classic", layers.ClassicDropout)):
        built = build("vgg16", spec(28, 1, 10), dropout=0.4, dropout_scaling=scaling, width=2)
        found = [layer for layer in built.layers if isinstance(layer, (layers.InvertedDropout, layers.ClassicDropout))]
        assert [(type(layer), layer.rate) for layer in found] == [(kind, 0.4)] * 2


def test_weights_of_maxout_networks_are_bounded():
    for name, kind, count in (("maxout", layers.MaxoutConv2D, 3), ("dense_maxout", layers.Maxout, 2)):
        built = build(name, spec(28, 1, 10), width=4, optimizer="sgd", learning_rate=50.0)
        found = [layer for layer in built.layers if isinstance(layer, kind)]
        assert len(found) == count
        random = np.random.default_rng(0)
        for _ in range(3):
            built.train_on_batch({"image": random.integers(0, 256, (8, 28, 28, 1), np.uint8)}, {"label": random.integers(0, 10, 8)})
        norms = [np.sqrt((np.asarray(layer.trainable_weights[0].value) ** 2).reshape(-1, layer.trainable_weights[0].shape[-1]).sum(axis=0))
                 for layer in found]
        assert all(norm.max() <= 1.9366 for norm in norms) and max(norm.max() for norm in norms) > 1.9
        assert 1.9 < np.linalg.norm(built.get_layer("label").kernel, axis=0).max() <= 1.9366


def test_convolutional_maxout_has_the_papers_maps_and_says_which_images_are_too_small():
    built = build("maxout", spec(28, 1, 10), dataset="mnist")
    shapes = {"pool1": (10, 10, 48), "pool2": (4, 4, 48), "pool3": (3, 3, 24)}
    assert {name: output(built, name) for name in shapes} == shapes
    assert [built.get_layer(f"maxout{number}").pieces for number in (1, 2, 3)] == [2, 2, 4]
    assert output(build("maxout", spec(16, 1, 10), image_size=16), "pool3")[0] == 1
    with pytest.raises(UserError, match="at least 16 pixels"):
        build("maxout", spec(15, 1, 10), image_size=15)


def test_dense_maxout_has_the_papers_units():
    built = build("dense_maxout", spec(28, 1, 10), dataset="mnist")
    assert [weight.shape for weight in built.trainable_weights if weight.ndim == 2] == [(784, 1200), (240, 1200), (240, 10)]


def test_cross_entropy_with_smoothing_is_that_of_keras():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(7, 5)).astype("float32"), random.integers(0, 5, 7)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)(np.eye(5)[labels], logits)
    assert float(classifier.CrossEntropy(0.2)(labels, logits)) == pytest.approx(float(theirs), rel=1e-5)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert float(classifier.CrossEntropy()(labels, logits)) == pytest.approx(float(theirs), rel=1e-5)


def test_features_are_what_the_logits_are_an_affine_function_of():
    model = build("resnet", spec(28, 1, 10), width=4)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    kernel, bias = model.get_layer("label").get_weights()
    logits = model({"image": images}, training=False)["label"]
    np.testing.assert_allclose(classifiers.features(model, images) @ kernel + bias, logits, rtol=1e-4, atol=1e-5)


def test_monitors_tell_dead_and_saturated_units():
    answers = np.array([[0, 1, 5.0], [0, 2, 5.0], [0, 3, 5.0]])
    assert monitors.dead(answers) == pytest.approx(2 / 3)
    assert monitors.dead(answers.T) == 0
    assert monitors.saturated(np.array([-1, -0.91, -0.89, 0, 0.89, 0.91, 1, 0.99]), -1.0, 1.0) == 5 / 8


def test_monitors_know_which_functions_have_limits():
    found = {kind: monitors.limits(blocks._ACTIVATIONS[kind]("x", (None, 6))) for kind in blocks._ACTIVATIONS}
    assert found == dict.fromkeys(found) | {"sigmoid": (0, 1), "tanh": (-1, 1)}
    assert monitors.limits(lenet5.ScaledTanh()) == (-1.7159, 1.7159)


def test_monitors_write_what_they_say(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = build("lenet5", spec(28, 1, 10), activation="sigmoid")
    random = np.random.default_rng(0)
    batches = tf.data.Dataset.from_tensor_slices(({"image": random.integers(0, 256, (6, 28, 28, 1), np.uint8)},
                                                  {"label": np.arange(6, dtype=np.int32)})).batch(4)
    callback = monitors.callbacks(model, Splits(None, batches, None, None), resolved("lenet5", activation="sigmoid"), tmp_path)[0]
    callback.set_model(model)
    callback.on_train_begin()
    before = [np.array(weight) for weight in model.get_weights()]
    callback.on_epoch_end(2)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    found = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0}).Reload()
    tags = found.Tags()["tensors"]
    for name in ("dead_units/c1_activation", "saturated_units/f6_activation", "gradient_norm/c3", "activations/00_c1_activation"):
        assert name in tags and [event.step for event in found.Tensors(name)] == [0, 3]

    norm = float(tf.make_ndarray(found.Tensors("gradient_norm/label")[0].tensor_proto))
    inputs, targets = next(iter(batches))
    features = classifiers.features(model, inputs["image"]).numpy()
    probabilities = tf.nn.softmax(model(inputs)["label"]).numpy()
    difference = (probabilities - np.eye(10)[targets["label"]]) / 4  # of the mean cross-entropy by the logits
    expected = np.sqrt(((features.T @ difference) ** 2).sum() + (difference.sum(axis=0) ** 2).sum())
    assert norm == pytest.approx(expected, rel=1e-4)


def test_monitors_of_a_resumed_training_write_no_beginning_again(tmp_path):
    model = build("softmax", spec(4, 1, 3), image_size=4)
    batches = tf.data.Dataset.from_tensors(({"image": np.zeros((6, 4, 4, 1), np.uint8)}, {"label": np.zeros(6, np.int32)}))
    for position, count in (((0, 3), 0), ((2, 0), 0), ((0, 0), 1)):
        folder = tmp_path / str(position)
        callback = monitors.Monitors(batches, folder)
        callback.set_model(model)
        callback.set_params({"position": position})
        callback.on_train_begin()
        assert len(list(folder.glob("train/*"))) == 2 * count  # one file of scalars and one of histograms


@pytest.mark.parametrize("model, names", [
    ("lenet5", ["c1", "c3", "c5", "f6"]), ("vgg16", ["stage1_convolution1", "full2"]),
    ("alexnet", ["convolution1", "convolution2_group2", "full7"]), ("resnet", ["stem", "stage1_block1_convolution1"]),
    ("maxout", ["maxout1", "maxout3"]), ("dense_maxout", ["maxout1", "maxout2"])])
def test_maxout_layers_are_among_the_activations_that_are_shown(model, names):
    changes = ({} if "maxout" in model else dict(activation="maxout")) | ({} if model == "lenet5" else dict(width=4))
    built = build(model, spec(28, 1, 10), **changes)
    shown = pictures.outputs(built, np.zeros((2, 28, 28, 1), np.uint8))
    assert {*names, "label"} <= set(shown) and all(np.isfinite(values).all() for values in shown.values())


def test_summary_counts_multiply_adds_as_the_closed_formulas_do(monkeypatch):
    model = build("lenet5", spec(28, 1, 10), dataset="mnist")
    rows = {name.rpartition("/")[2]: (parameters, products) for name, _, parameters, products in summary.layer_rows(model, spec(28, 1, 10))}
    side = (32 - 5) // 1 + 1
    assert rows["c1"] == (5 * 5 * 6 + 6, side ** 2 * 5 * 5 * 6)
    assert rows["c3"] == (60 * 25 + 16, 10 ** 2 * 60 * 25)
    assert rows["c5"] == (16 * 25 * 120 + 120, 16 * 25 * 120) and rows["label"] == (850, 840) and rows["s2"] == (12, 0)
    maxed = build("lenet5", spec(28, 1, 10), dataset="mnist", activation="maxout")
    convolutions = [products for *_, products in summary.layer_rows(maxed, spec(28, 1, 10)) if products]
    assert convolutions[0] == 2 * side ** 2 * 5 * 5 * 6  # both pieces

    monkeypatch.setitem(blocks._INITIALIZERS, "he", keras.initializers.Zeros)
    large = build("alexnet", spec(227, 3, 1000), full_size=True, image_size=227)
    rows = {name.rpartition("/")[2]: products for name, _, _, products in summary.layer_rows(large, spec(227, 3, 1000))}
    first = ((227 - 11 + 0) // 4 + 1) ** 2 * 11 * 11 * 3 * 96
    assert rows["convolution1"] == first == 105_415_200
    assert rows["convolution2_group1"] == 27 ** 2 * 5 * 5 * 48 * 128
    assert sum(rows.values()) == 724_406_816  # 724 million, as others count


def test_adversarial_training_takes_half_of_the_step_from_pixels_moved_against_the_network():
    model = build("softmax", spec(4, 1, 3), image_size=4, optimizer="sgd", learning_rate=0.3, adversarial_epsilon=0.1)
    model.optimizer.iterations.assign(1)  # where the rate is at its peak
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (8, 4, 4, 1)).astype("uint8"), random.integers(0, 3, 8).astype("int32")
    layer = model.get_layer("label")
    layer.set_weights([kernel := random.normal(size=(16, 3)).astype("float32"), np.zeros(3, "float32")])
    x, right = images.reshape(8, 16) / 255, np.eye(3)[labels]

    def wrong_by(x):
        powers = np.exp(x @ kernel)
        return powers / powers.sum(axis=1, keepdims=True) - right

    moved = x + 0.1 * np.sign(wrong_by(x) @ kernel.T)
    expected = kernel - 0.3 / 8 * (x.T @ wrong_by(x) + moved.T @ wrong_by(moved)) / 2
    logs = model.train_step(({"image": images}, {"label": labels}))
    np.testing.assert_allclose(layer.get_weights()[0], expected, atol=1e-6)
    loss = -np.log((wrong_by(x) + right)[np.arange(8), labels]).mean()
    assert float(logs["loss"]) == pytest.approx(loss, rel=1e-5)  # of the images as they are
    assert {v.path for v in model.weights} == {v.path for v in keras.Model(model.inputs, model.outputs).weights}
