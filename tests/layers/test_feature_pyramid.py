"""The feature pyramid, against the same layers put together by hand."""
import keras
import numpy as np
import pytest

import layers
from tests.layers.layer_contract import check_layer


def maps(seed=0):
    """Returns three levels with sides that are odd: 15 to 8 to 4 rows, 11 to 6 to 3 columns."""
    random = np.random.default_rng(seed)
    return [random.normal(size=shape).astype("float32") for shape in ((2, 15, 11, 3), (2, 8, 6, 5), (2, 4, 3, 7))]


def by_hand(layer, inputs, training=False):
    """Composes a pyramid of Keras's layers with this one's weights."""
    def copy(parts, x):
        convolution, *normalization = parts
        twin = keras.layers.Conv2D(layer.filters, convolution.kernel_size, convolution.strides, padding="same",
                                   use_bias=not layer.normalize)
        twin.build(x.shape)
        twin.set_weights(convolution.get_weights())
        x = twin(x)
        if normalization:
            weights = normalization[0].get_weights()
            twin = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
            twin.build(x.shape)
            twin.set_weights(weights)
            x = twin(x, training=training)
        return x

    lateral = [copy(parts, x) for parts, x in zip(layer.laterals, inputs)]
    merged = [lateral[2]]
    for x in (lateral[1], lateral[0]):
        doubled = keras.layers.UpSampling2D(2)(merged[0])
        doubled = keras.layers.Cropping2D(((0, doubled.shape[1] - x.shape[1]), (0, doubled.shape[2] - x.shape[2])))(doubled)
        merged.insert(0, keras.layers.Add()([x, doubled]))
    outputs = [copy(parts, x) for parts, x in zip(layer.outputs, merged)]
    x = outputs[-1]
    for number, parts in enumerate(layer.extras):
        x = copy(parts, keras.layers.ReLU()(x) if number else x)
        outputs.append(x)
    return outputs


def test_contract(tmp_path):
    found = check_layer(lambda **options: layers.FeaturePyramid(6, extra_levels=2, **options), {"inputs": maps()}, by_hand,
                        tmp_path, tolerance=1e-4)
    assert [x.shape for x in found] == [(2, 15, 11, 6), (2, 8, 6, 6), (2, 4, 3, 6), (2, 2, 2, 6), (2, 1, 1, 6)]


def test_contract_with_normalization_in_training(tmp_path):
    check_layer(lambda **options: layers.FeaturePyramid(6, extra_levels=1, normalize=True, **options), {"inputs": maps()},
                lambda layer, inputs: by_hand(layer, inputs, training=True), tmp_path, training=True,
                rows_depend_on_batch=True, tolerance=1e-4)


def test_normalization_when_not_training():
    layer = layers.FeaturePyramid(6, normalize=True)
    layer(maps(), training=True)  # moves the statistics
    for found, wanted in zip(layer(maps(1)), by_hand(layer, maps(1))):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_coarse_levels_reach_fine_ones_and_not_the_other_way_round():
    layer = layers.FeaturePyramid(4)
    before = layer(maps())
    fine, middle, coarse = maps()
    without_fine, without_coarse = layer([0 * fine, middle, coarse]), layer([fine, middle, 0 * coarse])
    assert [np.array_equal(a, b) for a, b in zip(before, without_fine)] == [False, True, True]
    assert [np.array_equal(a, b) for a, b in zip(before, without_coarse)] == [False, False, False]


def test_one_level_and_unknown_sides():
    images = [keras.Input((None, None, 3)), keras.Input((None, None, 5))]
    model = keras.Model(images, layers.FeaturePyramid(4, extra_levels=1)(images))
    assert [tuple(x.shape) for x in model.outputs] == [(None, None, None, 4)] * 3
    assert [tuple(x.shape) for x in model(maps()[:2])] == [(2, 15, 11, 4), (2, 8, 6, 4), (2, 4, 3, 4)]
    assert layers.FeaturePyramid(4)(maps()[:1])[0].shape == (2, 15, 11, 4)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        layers.FeaturePyramid(0)
    with pytest.raises(ValueError, match="half the one before"):
        layers.FeaturePyramid(4)([maps()[0], maps()[2]])
