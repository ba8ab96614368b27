"""Convolutional backbones: shapes, sizes, and what makes a block residual."""
import keras
import numpy as np

from layers import backbones


def counts(model):
    return tuple(sum(int(np.prod(w.shape)) for w in weights)
                 for weights in (model.trainable_weights, model.non_trainable_weights))


def test_resnet18_is_the_published_one():
    images = keras.Input((70, 50, 3))
    model = keras.Model(images, backbones.resnet18(images))
    assert [tuple(x.shape[1:]) for x in model.outputs] == [(18, 13, 64), (9, 7, 128), (5, 4, 256), (3, 2, 512)]
    # 11,689,512 with the classifier of 512 * 1000 + 1000; two moving statistics per channel are not counted there
    assert counts(model) == (11_176_512, 2 * 4800)


def test_small_resnet():
    images = keras.Input((35, 21, 3))
    model = keras.Model(images, backbones.small_resnet(images))
    assert [tuple(x.shape[1:]) for x in model.outputs] == [(9, 6, 32), (5, 3, 64), (3, 2, 128)]
    maps = model(np.random.default_rng(0).uniform(-2, 2, (2, 35, 21, 3)).astype("float32"))
    assert all(np.isfinite(x).all() and np.any(x) for x in maps)
    # counted by hand: stem, then per block its convolutions (3x3, and 1x1 where the shape changes) and 2 per channel
    stem = 3 * 24 * 9 + 2 * 24
    blocks = [(24, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    of_blocks = sum(9 * a * b + 9 * b * b + 4 * b + (a * b + 2 * b if a != b else 0) for a, b in blocks)
    assert counts(model)[0] == stem + of_blocks


def test_a_block_that_adds_nothing_is_the_identity():
    inputs = keras.Input((6, 5, 4))
    model = keras.Model(inputs, backbones.residual_stages(inputs, filters=(4,), blocks=(2,), first_stride=1))
    for block in (1, 2):
        model.get_layer(f"stage1_block{block}_convolution2_normalization").gamma.assign(np.zeros(4))
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype("float32")
    np.testing.assert_allclose(model(x), np.maximum(x, 0), atol=1e-6)


def test_strides_and_shortcuts_of_stages():
    inputs = keras.Input((16, 12, 8))
    maps = backbones.residual_stages(inputs, filters=(8, 10), blocks=(1, 2), first_stride=1)
    assert [tuple(x.shape[1:]) for x in maps] == [(16, 12, 8), (8, 6, 10)]
    halved, = backbones.residual_stages(inputs, filters=(8,), blocks=(2,), first_stride=2)  # by its first block only
    assert tuple(halved.shape[1:]) == (8, 6, 8)
    names = {layer.name for layer in keras.Model(inputs, maps).layers}
    assert {name for name in names if name.endswith("shortcut")} == {"stage2_block1_shortcut"}
