"""Properties of the detectors' own parts."""

import numpy as np
import pytest
import tensorflow as tf

from tests.apps.tiny import TINY
from training import UserError
from training.app import App
from training.data.spec import Info, Spec
from training.vision.detection import detector

APP = App("detection")


def built(model, classes=2, **settings):
    """Returns a compiled model for images of 64 pixels."""
    config = APP.config(model, image_size=64, **settings)
    return APP.build_model(config, Spec({}, {}, Info(class_names=["a", "b"][:classes])), steps=100)


def test_the_proposal_network_on_sampled_anchors_is_the_one_on_all():
    """Values and every gradient: of the network itself and of the maps it reads."""
    model = built("faster_rcnn", pyramid_filters=16, head_units=32, extra_levels=1)
    assert len(model.cells) == 3
    random = np.random.default_rng(0)
    maps = [tf.constant(random.normal(size=(2, *shape[1:])), tf.float32) for shape in model.backbone.output_shape]
    index = tf.constant(np.stack([random.permutation(len(model.anchors))[:50] for _ in range(2)]), tf.int32)
    weights = tf.constant(random.normal(size=(2, 50, 5)), tf.float32)
    variables = [v.value for v in model.proposal_head.trainable_variables]

    def everywhere():
        logits, offsets = (tf.concat(levels, axis=1) for levels in model._propose(maps))
        return tf.gather(logits, index, batch_dims=1), tf.gather(offsets, index, batch_dims=1)

    found = []
    for answer in (everywhere, lambda: model.propose_at(maps, index)):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            logits, offsets = answer()
            total = tf.reduce_sum(weights * tf.concat([logits[..., None], offsets], axis=-1))
        found.append([logits, offsets, *tape.gradient(total, [*variables, *maps[model.first_level:]])])
    assert tf.reduce_any(index < model.cells[0] * model.per_cell) and tf.reduce_any(index >= sum(model.cells[:2]) * model.per_cell)
    for dense, sampled in zip(*found):
        np.testing.assert_allclose(sampled, dense, atol=1e-5 * np.abs(dense).max())


@pytest.mark.parametrize("settings, compiled", [({}, False), ({"xla": True}, True), ({"strategy": "tpu"}, True)])
def test_a_compiled_step_reads_regions_without_the_kernel_that_xla_lacks(settings, compiled):
    assert built("faster_rcnn", 1, pyramid_filters=8, head_units=8, **settings).align.xla == compiled


@pytest.mark.parametrize("model, changes, words", [
    ("faster_rcnn", dict(region_levels=9), "--region-levels 9 must be at most 3"),
    ("faster_rcnn", dict(min_anchor_stride=128), "--min-anchor-stride 128 must be a stride of the pyramid: 4, 8, 16"),
    ("faster_rcnn", dict(min_anchor_stride=3), "--min-anchor-stride 3 must be a stride of the pyramid: 4, 8, 16"),
    ("retinanet", dict(min_anchor_stride=128), "--min-anchor-stride 128 must be a stride of the backbone: 4, 8, 16"),
    ("retinanet", dict(min_anchor_stride=3), "--min-anchor-stride 3 must be a stride of the backbone: 4, 8, 16"),
])
def test_levels_that_a_pyramid_lacks_are_refused_in_one_sentence(model, changes, words):
    with pytest.raises(UserError, match=words) as refused:
        built(model, 1, pyramid_filters=8, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("precision", ["mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("model", APP.systems)
def test_each_system_learns_and_detects_in_bfloat16(model, precision):
    made = built(model, **{name: value for name, value in TINY["detection"][model].items() if name not in ("image_size", "batch_size")})
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)), tf.float32)
    boxes = tf.constant([[[8, 8, 40, 40]]] * 2, tf.float32)
    targets = {"boxes_yxyx": boxes, "class_ids": tf.constant([[0], [1]]), "ignore": tf.constant([[False]] * 2),
               "is_crowd": tf.constant([[False]] * 2), "is_difficult": tf.constant([[False]] * 2),
               "regions_yxyx": tf.concat([boxes, tf.zeros((2, 7, 4))], axis=1)}  # for the systems that need them
    losses = tf.function(made.losses)(images, targets, training=True)
    assert all(loss.dtype == tf.float32 and np.isfinite(loss) for loss in losses.values())
    found = tf.function(made.detect)(images)
    assert found["boxes_yxyx"].dtype == found["scores"].dtype == tf.float32
    assert all(np.isfinite(found[name]).all() for name in ("boxes_yxyx", "scores"))


def test_a_detector_without_what_every_detector_needs_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match="Half must define losses, pyramid_features"):
        class Half(detector.Detector):
            def class_scores(self, images):
                return None
