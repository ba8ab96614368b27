"""Faster R-CNN and RetinaNet compared with those of torchvision and keras-cv: ResNet-18 with a feature pyramid, 256x256, batch
8.

    python benchmarks/detection.py faster_rcnn_training --peer-python PYTHON_WITH_TORCH
    python benchmarks/detection.py faster_rcnn_inference --peer-python PYTHON_WITH_TORCH
    python benchmarks/detection.py retinanet_training
    python benchmarks/detection.py retinanet_inference

Faster R-CNN: 256 channels, 300 proposals, 128 sampled regions, head of 1,024 units on both sides.
"products" is not a peer but the limit of the processor: the same number of multiply-adds as in our network's convolutions and
dense layers, three times as many in training, as pure large matrix products in bfloat16.
"""
import os
import pathlib
import sys
import types

import numpy as np
import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
BATCH, SIZE, OBJECTS, CLASSES = 8, 256, 6, 10


def scene():
    """Returns images (batch, size, size, 3) from 0 to 255, boxes (batch, objects, 4) yxyx and class ids."""
    random = np.random.default_rng(0)
    corner, sides = random.uniform(0, 150, (BATCH, OBJECTS, 2)), random.uniform(20, 100, (BATCH, OBJECTS, 2))
    images = random.uniform(0, 255, (BATCH, SIZE, SIZE, 3)).astype("float32")
    return images, np.concatenate([corner, corner + sides], -1).astype("float32"), random.integers(0, CLASSES, (BATCH, OBJECTS))


def network_of(model, dtype="auto"):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import contextlib

    from training.app import App
    from training.data.spec import Info, Spec
    from training.engine import strategies

    app = App("detection")
    config = app.config(model, dataset="coco/2017", image_size=SIZE, batch_size=BATCH, max_objects=OBJECTS, dtype=dtype)
    with contextlib.redirect_stdout(sys.stderr):
        strategies.set_precision(config)
    return app.build_model(config, Spec({}, {}, Info(class_names=[str(i) for i in range(CLASSES)])), steps=1000)


def keras_side(model, training, dtype="auto"):
    import tensorflow as tf

    network = network_of(model, dtype)
    network.optimizer.build(network.trainable_variables)
    images, boxes, class_ids = scene()
    inputs = {"image": tf.constant(images)}
    targets = {"boxes_yxyx": tf.constant(boxes), "class_ids": tf.constant(class_ids, tf.int32),
               "ignore": tf.zeros(class_ids.shape, tf.bool)}
    if training:
        step = tf.function(network.train_step)
        return lambda: step((inputs, targets))["loss"].numpy()
    detect = tf.function(network.detect)
    return lambda: detect(inputs["image"])["scores"].numpy()


def products_side(model, training):
    """Returns a step of pure matrix products with as many multiply-adds as `model` needs for a batch."""
    import tensorflow as tf

    from training import summary

    network = network_of(model)
    spec = types.SimpleNamespace(inputs={"image": tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)})
    multiply_adds = sum(row[3] for row in summary.layer_rows(network, spec)) * BATCH * (3 if training else 1)
    print(f"{model}: {multiply_adds / BATCH:.3g} multiply-adds an image", file=sys.stderr)
    return products(multiply_adds, tf.bfloat16)


def products(multiply_adds, dtype):
    """Returns a step of pure matrix products with about this number of multiply-adds."""
    import tensorflow as tf

    size = 2048
    matrix = tf.cast(tf.random.normal((size, size)), dtype)
    times = max(1, round(multiply_adds / size ** 3))

    @tf.function
    def step():
        product = matrix
        for _ in tf.range(times):
            product = tf.matmul(matrix, product) * 0.02
        return product

    return lambda: step().numpy()


def torch_side(training, dtype):
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=torch.nn.BatchNorm2d)
    network = FasterRCNN(
        backbone, CLASSES + 1, min_size=SIZE, max_size=SIZE, rpn_pre_nms_top_n_train=1000, rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_train=300, rpn_post_nms_top_n_test=300, box_batch_size_per_image=128)
    return torch_steps(network, training, dtype)


def torch_steps(network, training, dtype):
    """Returns a step of one of torchvision's detectors on the images of `scene`: training, or inference of one image."""
    import torch

    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    images, boxes, class_ids = scene()
    pictures = [torch.tensor(image).permute(2, 0, 1).contiguous() / 255 for image in images]
    targets = [{"boxes": torch.tensor(b[:, [1, 0, 3, 2]]), "labels": torch.tensor(c) + 1} for b, c in zip(boxes, class_ids)]
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16")
    network.train(training)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = sum(network(pictures, targets).values())
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        with autocast, torch.inference_mode():
            return network(pictures)[0]["scores"].sum().item()

    return train if training else infer


def comparisons():
    """Returns {comparison: sides}."""
    made = {}
    for phase, training in (("training", True), ("inference", False)):
        made[f"faster_rcnn_{phase}"] = {
            "ours": lambda t=training: keras_side("faster_rcnn", t),
            "torchvision_float32": lambda t=training: torch_side(t, "float32"),
            "torchvision_bfloat16": lambda t=training: torch_side(t, "bfloat16"),
            "products": lambda t=training: products_side("faster_rcnn", t)}
        made[f"retinanet_{phase}"] = {
            "ours": lambda t=training: keras_side("retinanet", t),
            "keras_cv_float32": lambda t=training: keras_side("keras_cv_retinanet", t, "float32"),
            "products": lambda t=training: products_side("retinanet", t)}
    return made


if __name__ == "__main__":
    found = comparisons()
    if len(sys.argv) < 2 or sys.argv[1] not in found:
        sys.exit(f"choose one of: {', '.join(found)}")
    chosen = sys.argv.pop(1)
    turns.main(__file__, found[chosen], ("images", BATCH), steps=2, rounds=5, arguments=[chosen])
