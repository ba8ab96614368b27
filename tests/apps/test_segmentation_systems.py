"""The systems of segmentation: shapes of their papers, equal answers of both pixel classifiers, and what settings are refused."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.segmentation import encoder_decoder, fcn, patches_speed, pixel_classifier, scaling, segmenter, unet
from apps.segmentation.pixel_classifier import PixelClassifier
from training import UserError
from training.app import App
from training.data.spec import Spec
from training.vision.pixel_losses import VOID

APP = App("segmentation")
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3)).astype("uint8")


def spec(classes=4):
    return Spec({}, {}, APP.data.Info(class_names=list("abcdefgh"[:classes]), pixel_shares=[1 / classes] * classes))


def test_unet_has_the_convolutions_of_its_paper():
    """18 of 3x3 with 64 to 1,024 channels, four up-convolutions of 2x2 and one of 1x1; each of ours has two trained numbers per
    channel of batch normalization in place of a bias."""
    images = keras.Input((64, 64, 3))
    model = keras.Model(images, segmenter.class_scores(2)(unet.network(images)))
    expected, channels = 0, 3
    for filters in (64, 128, 256, 512, 1024):
        expected += 9 * (channels * filters + filters ** 2) + 2 * 2 * filters
        channels = filters
    for filters in (512, 256, 128, 64):
        expected += 4 * 2 * filters * filters + filters + 9 * (2 * filters * filters + filters ** 2) + 2 * 2 * filters
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == expected + 64 * 2 + 2


@pytest.mark.parametrize("kind", scaling.KINDS)
@pytest.mark.parametrize("network", [encoder_decoder.network, fcn.network])
def test_every_upsampling_gives_scores_of_the_images_size(network, kind):
    model = segmenter.build(5, lambda images: network(images, upsampling=kind, width=4, stages=3))
    assert model({"image": IMAGES})["classes"].shape == (2, 32, 48, 5)
    assert model.embed(IMAGES).shape[0] == 2
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model({"image": IMAGES}, training=True)["classes"] ** 2)
    assert all(gradient is not None for gradient in tape.gradient(total, model.trainable_weights))


@pytest.mark.parametrize("stride, scored", [(2, 4), (4, 3), (8, 2), (16, 1)])
def test_the_stride_says_which_resolutions_are_scored(stride, scored):
    network = keras.Model(images := keras.Input((32, 32, 3)), fcn.network(images, stride=stride, width=4, stages=4))
    assert sum(layer.name.startswith("score") for layer in network.layers) == scored


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_patches_and_one_pass_have_equal_answers(stages):
    settings = dict(width=5, stages=stages, units=7)
    once, many = (PixelClassifier(20, 4, one_pass=one_pass, **settings) for one_pass in (True, False))
    random = np.random.default_rng(1)
    weights = [random.uniform(0.1, 1, w.shape) if "variance" in w.path else random.normal(size=w.shape) / 3
               for w in once.network.weights]
    for model in (once, many):
        model.network.set_weights(weights)
    images = IMAGES[:, :20, :20]
    first, second = (model({"image": images})["classes"].numpy() for model in (once, many))
    assert first.shape == (2, 20, 20, 4) and first.std(axis=(1, 2)).min() > 0.01  # pixels differ
    np.testing.assert_allclose(first, second, atol=1e-5 * np.abs(first).max())
    np.testing.assert_allclose(once.embed(images), many.embed(images), rtol=1e-4)
    side = pixel_classifier.patch_side(stages)
    padded = many.padded(images)  # the definition: the network on the patch around one pixel
    alone, _ = many.network(padded[1:, 13:13 + side, 6:6 + side], training=False)
    np.testing.assert_allclose(alone[0, 0, 0], first[1, 13, 6], atol=1e-5 * np.abs(first).max())


def test_pixels_between_the_classified_ones_take_over_their_scores():
    every, all_of_them = (PixelClassifier(20, 4, width=4, every=every) for every in (3, 1))
    every.network.set_weights(all_of_them.network.get_weights())
    fine = all_of_them({"image": IMAGES[:, :20, :20]})["classes"].numpy()
    found = every({"image": IMAGES[:, :20, :20]})["classes"].numpy()
    place = np.arange(20) // 3 * 3
    np.testing.assert_allclose(found, fine[:, place][:, :, place], atol=1e-5)


def test_patches_are_drawn_by_class_and_never_from_void():
    model = PixelClassifier(16, 3, stages=1, patches=40, draw_weights=[1.0, 9.0, 1.0])
    classes = np.full((4, 16, 16), VOID, "int32")
    classes[:, :8] = 0
    classes[:, 8:12] = 1
    seen = []
    for _ in range(5):
        patches, drawn = model._drawn(model.padded(np.broadcast_to(np.arange(16)[:, None, None], (4, 16, 16, 3))), classes)
        assert patches.shape == (160, 10, 10, 3) and drawn.shape == (160, 1, 1)
        rows = np.round((patches.numpy()[:, 5, 5, 0] + 2) * 64).astype(int)  # each image holds its rows' numbers
        np.testing.assert_array_equal(drawn.numpy()[:, 0, 0], np.where(rows < 8, 0, 1))
        seen.append(drawn.numpy())
    assert np.mean(seen) > 0.6  # a third of the labeled pixels, with nine times the weight
    assert (seen[0] != seen[1]).any()
    np.testing.assert_allclose(model.pixel_loss.class_weights, [1, 1 / 9, 1])  # the loss makes up for it


@pytest.mark.parametrize("settings, words", [
    (dict(model="unet", image_size=100), "--image-size 100 must be a multiple of 8 for this network: choose 96"),
    (dict(model="encoder_decoder", crop_size=60), "--crop-size 60 must be a multiple of 16"),
    (dict(model="convolutional", crop_size=64), "--crop-size has no effect for convolutional")])
def test_sizes_that_do_not_fit_are_refused(settings, words):
    config = APP.config(**settings)
    with pytest.raises(UserError, match=words):
        APP.build_model(config, spec(), steps=10)


def test_the_network_begins_with_the_frequency_of_the_classes():
    config = APP.config("unet", width=4, stages=2, class_balance=0.0)
    info = APP.data.Info(class_names=["a", "b", "c"], pixel_shares=[0.7, 0.2, 0.1])
    np.testing.assert_allclose(np.exp(segmenter.prior(config, info)), info.pixel_shares)
    assert segmenter.class_weights([0.4, 0.1, 0.5, 0.0], 1.0) == pytest.approx([1.0, 4.0, 0.8, 1.0])
    model = APP.build_model(config, Spec({}, {}, info), steps=10)
    np.testing.assert_allclose(model.get_layer("classes").bias, np.log(info.pixel_shares), rtol=1e-5)


def test_the_speed_of_patches_is_compared(tmp_path, monkeypatch, capsys):
    tiny = APP.config("convolutional", width=4, stages=1, units=8, image_size=16, batch_size=2)
    monkeypatch.setattr(patches_speed, "_config", lambda app, request: (tiny, lambda model: None))
    request = APP.verbs["patches_speed"](images=2, rounds=2, runs=str(tmp_path), name="speed")
    numbers = patches_speed.run(APP, request)
    assert numbers["greatest_difference"] < 1e-5 and numbers["equal_classes"] == 1 and numbers["speed_ratio"] > 0
    assert (tmp_path / "segmentation" / "speed" / "patches_speed.json").is_file()
    assert (tmp_path / "segmentation" / "speed" / "pictures" / "patches_speed.png").is_file()
    assert "ratio" in capsys.readouterr().out
