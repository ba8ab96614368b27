"""Training step of ResNet-18 with a feature pyramid and a linear head, 128x128, batch 32: ours, stock Keras and PyTorch.

    python benchmarks/backbone.py --peer-python PYTHON_WITH_TORCH
"""
import os
import pathlib
import sys

import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
BATCH, SIZE, FILTERS, CLASSES = 32, 128, 256, 10


def ours():
    import contextlib

    import training  # noqa: F401  sets oneDNN on before TensorFlow is imported
    from training.app import App
    from training.engine import strategies

    with contextlib.redirect_stdout(sys.stderr):
        strategies.set_precision(App("classification").config("resnet"))
    return _keras_step()


def stock_keras():
    """The usual implementation: Keras's own layers in float32, with TensorFlow's default kernels."""
    import keras

    import layers.backbones
    import layers.feature_pyramid

    def normalization(**options):
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **options)

    layers.backbones.BatchNormalization = layers.feature_pyramid.BatchNormalization = normalization
    return _keras_step()


def _keras_step():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np
    import tensorflow as tf

    import layers
    from layers import backbones

    images = keras.Input((SIZE, SIZE, 3))
    maps = layers.FeaturePyramid(FILTERS, normalize=True)(backbones.resnet18(images))
    pooled = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(x) for x in maps])
    model = keras.Model(images, keras.layers.Dense(CLASSES, dtype="float32")(pooled))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(0)
    batch = (tf.constant(random.normal(size=(BATCH, SIZE, SIZE, 3)), tf.float32), tf.constant(random.integers(0, CLASSES, BATCH)))
    model._symbolic_build(data_batch=batch)
    step = tf.function(model.train_step)
    return lambda: step(batch)["loss"].numpy()


def _torch_step(dtype):
    import torch
    import torchvision

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            body = torchvision.models.resnet18(weights=None)
            names = {f"layer{i}": str(i) for i in (1, 2, 3, 4)}
            self.body = torchvision.models._utils.IntermediateLayerGetter(body, names)
            self.pyramid = torchvision.ops.FeaturePyramidNetwork([64, 128, 256, 512], FILTERS, norm_layer=torch.nn.BatchNorm2d)
            self.head = torch.nn.Linear(4 * FILTERS, CLASSES)

        def forward(self, images):
            maps = self.pyramid(self.body(images)).values()
            return self.head(torch.cat([x.mean((2, 3)) for x in maps], 1).float())

    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (BATCH,))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    turns.main(__file__, {
        "ours": ours, "stock_keras": stock_keras, "torch_bfloat16": lambda: _torch_step("bfloat16"),
        "torch_float32": lambda: _torch_step("float32")}, ("images", BATCH), steps=2, rounds=5)
