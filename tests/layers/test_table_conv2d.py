"""A convolution by a table, against one convolution for each output map."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from tests.layers.layer_contract import check_layer

IMAGES = np.random.default_rng(0).normal(size=(2, 7, 8, 5)).astype("float32")
TABLE = ((0, 3), (4, 1, 2), (2,), (0, 1, 2, 3, 4))


def map_by_map(layer, inputs):
    kernel, bias = layer.get_weights()
    ends = np.cumsum([len(row) for row in layer.table])
    return np.concatenate([
        keras.ops.conv(inputs[..., list(row)], kernel[:, :, end - len(row):end, None], layer.strides, layer.padding) + bias[j]
        for j, (row, end) in enumerate(zip(layer.table, ends))], axis=-1)


@pytest.mark.parametrize("settings", [dict(kernel_size=3), dict(kernel_size=(2, 3), strides=(2, 1), padding="same")], ids=str)
def test_contract(settings, tmp_path):
    check_layer(lambda **options: layers.TableConv2D(4, table=TABLE, kernel_initializer="he_normal", **settings, **options),
                {"inputs": IMAGES}, map_by_map, tmp_path)


def test_c3_of_lenet5_has_1516_parameters():
    layer = layers.TableConv2D(16, 5, layers.LENET5_TABLE)
    assert layer.compute_output_shape((None, 14, 14, 6)) == (None, 10, 10, 16)
    layer.build((None, 14, 14, 6))
    assert layer.count_params() == 1516


def test_the_table_is_that_of_the_paper():
    """Read off table 1, a row for each input map and an X for each connection."""
    paper = """X...XXX..XXXX.XX
               XX...XXX..XXXX.X
               XXX...XXX..X.XXX
               .XXX..XXXX..X.XX
               ..XXX..XXXX.XX.X
               ...XXX..XXXX.XXX""".split()
    for i, row in enumerate(paper):
        assert [i in seen for seen in layers.LENET5_TABLE] == [mark == "X" for mark in row]


def test_with_all_connections_it_is_conv2d():
    layer, twin = layers.TableConv2D(4, 3, [range(5)] * 4), keras.layers.Conv2D(4, 3)
    layer.build(IMAGES.shape)
    twin.build(IMAGES.shape)
    kernel, bias = twin.get_weights()
    layer.set_weights([kernel.transpose(0, 1, 3, 2).reshape(3, 3, 20), bias])  # the input maps of one filter, then the next
    np.testing.assert_allclose(layer(IMAGES), twin(IMAGES), rtol=1e-4, atol=1e-5)


def test_an_output_map_sees_its_input_maps_only():
    layer, images = layers.TableConv2D(4, 3, TABLE), tf.constant(IMAGES)
    for j, row in enumerate(TABLE):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(layer(images)[..., j])
        seen = np.abs(tape.gradient(total, images)).max(axis=(0, 1, 2)) > 0
        assert np.flatnonzero(seen).tolist() == sorted(row)


def by_length(initializer, lengths=(3, 40), filters=60, channels=50):
    """Returns the kernel's weights, those of output maps with the fewest connections first."""
    random = np.random.default_rng(0)
    table = [random.permutation(channels)[:length] for length in lengths for _ in range(filters // 2)]
    layer = layers.TableConv2D(filters, 5, table, kernel_initializer=initializer)
    layer.build((None, 9, 9, channels))
    return np.split(layer.kernel.value.numpy(), [lengths[0] * filters // 2], axis=-1)


@pytest.mark.parametrize("initializer", ["lecun_normal", "he_uniform"])
def test_variance_follows_each_output_maps_own_fan_in(initializer):
    for length, weights in zip((3, 40), by_length(initializer)):
        assert weights.var() == pytest.approx((2 if "he" in initializer else 1) / (25 * length), rel=0.08)


def test_glorots_limit_has_the_own_fan_in_too():
    for length, weights in zip((3, 40), by_length("glorot_uniform")):
        limit = np.sqrt(6 / (25 * (length + 60)))
        assert 0.99 * limit < np.abs(weights).max() <= limit


def test_other_initializers_are_left_alone():
    for weights in by_length(keras.initializers.Constant(0.3)):
        np.testing.assert_array_equal(weights, np.float32(0.3))


def test_no_two_weights_start_equal():
    """A seeded initializer gives the same numbers each time that it is asked."""
    layer = layers.TableConv2D(16, 5, layers.LENET5_TABLE, kernel_initializer=keras.initializers.RandomNormal(seed=1))
    layer.build((None, 14, 14, 6))
    assert len(np.unique(layer.kernel.value)) == 1500


@pytest.mark.parametrize("table, complaint", [
    ([(0,), (1,)], "a row for each of 3"), ([(0,), (), (1,)], "one or more"), ([(0,), (2, 1, 2), (1,)], "each once"),
    ([(0,), (-1,), (1,)], "got"), ([(0,), (1, 5), (1,)], "names input map 5, the last one is 4")], ids=str)
def test_tables_are_checked(table, complaint):
    with pytest.raises(ValueError, match=complaint):
        layers.TableConv2D(3, 3, table).build((None, 7, 8, 5))


@pytest.mark.parametrize("settings", [dict(kernel_size=0), dict(strides=0), dict(padding="causal")], ids=str)
def test_arguments_are_checked(settings):
    with pytest.raises(ValueError, match="must be at least 1 and padding"):
        layers.TableConv2D(**{"filters": 4, "kernel_size": 3, "table": TABLE} | settings)


def test_inputs_are_checked():
    with pytest.raises(ValueError, match="takes"):
        layers.TableConv2D(4, 3, TABLE)(np.zeros((2, 3, 5), "float32"))
