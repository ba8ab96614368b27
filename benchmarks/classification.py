"""Training step of the classifiers for small images, batch 64: ours, the same network with stock Keras layers, and PyTorch.

    python benchmarks/classification.py lenet5|resnet|vgg16|alexnet|maxout|dense_maxout --peer-python PYTHON_WITH_TORCH
"""
import os
import pathlib
import sys

import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
BATCH, CLASSES = 64, 10
SHAPES = {"lenet5": (28, 28, 1), "resnet": (32, 32, 3), "vgg16": (32, 32, 3), "alexnet": (32, 32, 3), "maxout": (28, 28, 1),
          "dense_maxout": (28, 28, 1)}
LARGEST_NORM, LARGEST_FIRST_NORM = 1.9365, 0.9
"""largest norms of the incoming weights of a unit of the maxout networks, as in their modules"""
STEPS = 10
"""steps per compiled call, as in the training loop"""


def ours(name):
    import contextlib

    import training  # noqa: F401  sets oneDNN on before TensorFlow is imported
    from training.app import App
    from training.engine import strategies

    with contextlib.redirect_stdout(sys.stderr):
        strategies.set_precision(App("classification").config(name))
    return _keras_steps(name)


def stock_keras(name):
    """The usual implementation: Keras's own layers in float32, with TensorFlow's default kernels and one step per call."""
    import keras

    import layers

    class Subsampling(keras.layers.AveragePooling2D):
        pass

    def normalization(**options):
        return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **options)

    class Maxout(keras.layers.Dense):
        def __init__(self, units, pieces, **options):
            super().__init__(units * pieces, **options)
            self.pieces = pieces

        def call(self, x):
            x = super().call(x)
            return keras.ops.max(keras.ops.reshape(x, (-1, x.shape[-1] // self.pieces, self.pieces)), axis=-1)

        def compute_output_shape(self, shape):
            return (*shape[:-1], self.units // self.pieces)

    class MaxoutConv2D(keras.layers.Conv2D):
        def __init__(self, filters, kernel_size, pieces, **options):
            super().__init__(filters * pieces, kernel_size, **options)
            self.pieces = pieces

        def call(self, x):
            x = super().call(x)
            return keras.ops.max(keras.ops.reshape(x, (-1, *x.shape[1:3], x.shape[3] // self.pieces, self.pieces)), axis=-1)

        def compute_output_shape(self, shape):
            *sides, channels = super().compute_output_shape(shape)
            return (*sides, channels // self.pieces)

    class LocalResponseNormalization(keras.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75)

    layers.Maxout, layers.MaxoutConv2D, layers.LocalResponseNormalization = Maxout, MaxoutConv2D, LocalResponseNormalization
    layers.BatchNormalization, layers.Subsampling = normalization, Subsampling
    layers.TableConv2D = lambda filters, size, table, **options: keras.layers.Conv2D(filters, size, **options)
    return _keras_steps(name, calls=STEPS)


def _keras_steps(name, calls=1):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np
    import tensorflow as tf

    from training.app import App
    from training.data.spec import Spec
    from training.vision.labelled_images import ImageInfo

    shape = SHAPES[name]
    app = App("classification")
    config = app.config(name, dataset="mnist" if shape[-1] == 1 else "cifar10", optimizer="momentum", dropout=0.0)
    info = ImageInfo(class_names=list(map(str, range(CLASSES))), mean=[120.0] * shape[-1], std=[60.0] * shape[-1])
    spec = Spec({"image": tf.TensorSpec([None, *shape], tf.uint8)}, {"label": tf.TensorSpec([None], tf.int32)}, info)
    keras.utils.set_random_seed(0)
    model = app.build_model(config, spec, steps=1000)
    random = np.random.default_rng(0)
    batch = ({"image": tf.constant(random.integers(0, 256, (BATCH, *shape)), tf.uint8)},
             {"label": tf.constant(random.integers(0, CLASSES, BATCH), tf.int32)})
    model._symbolic_build(data_batch=batch)

    @tf.function
    def steps():
        for _ in tf.range(STEPS // calls):
            model.train_step(batch)
        return model.get_metrics_result()["loss"]

    def run():
        for _ in range(calls):
            loss = steps()
        return float(loss)

    return run


def torch_bfloat16(name):
    return _torch_steps(name, low=True)


def torch_float32(name):
    return _torch_steps(name, low=False)


def _torch_steps(name, low):
    import torch

    torch.manual_seed(0)
    made = {"lenet5": _torch_lenet5, "resnet": _torch_resnet20, "vgg16": _torch_vgg16, "alexnet": _torch_alexnet,
            "maxout": _torch_maxout, "dense_maxout": _torch_dense_maxout}[name](torch.nn)
    model = made.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    height, width, channels = SHAPES[name]
    images = torch.randint(0, 256, (BATCH, channels, height, width), dtype=torch.uint8).to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (BATCH,))
    loss_of = torch.nn.CrossEntropyLoss()

    def run():
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = loss_of(model((images.float() - 120) / 60).float(), labels)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for weights, largest in getattr(made, "bounded", ()):
                    weights.copy_(torch.renorm(weights, 2, 0, largest))
        return loss.item()

    return run


def _torch_lenet5(nn):
    import torch

    class Subsampling(nn.Module):
        def __init__(self, maps):
            super().__init__()
            self.coefficient, self.bias = (nn.Parameter(torch.full((maps, 1, 1), value)) for value in (1.0, 0.0))

        def forward(self, x):
            return nn.functional.avg_pool2d(x, 2) * self.coefficient + self.bias

    class Table(nn.Conv2d):
        def __init__(self):
            super().__init__(6, 16, 5)
            mask = torch.zeros(16, 6, 1, 1)
            for row, inputs in enumerate([3] * 6 + [4] * 9 + [6]):  # as many as in the paper's table
                mask[row, :inputs] = 1
            self.register_buffer("mask", mask)

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight * self.mask, self.bias)

    class Squash(nn.Module):
        def forward(self, x):
            return 1.7159 * torch.tanh(x * (2 / 3))

    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), Squash(), Subsampling(6), Squash(), Table(), Squash(),
                         Subsampling(16), Squash(), nn.Conv2d(16, 120, 5), Squash(), nn.Flatten(),
                         nn.Linear(120, 84), Squash(), nn.Linear(84, CLASSES))


def _torch_resnet20(nn):
    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()

            def convolution(channels, size, step):
                return nn.Conv2d(channels, outputs, size, step, size // 2, bias=False), nn.BatchNorm2d(outputs)

            self.body = nn.Sequential(*convolution(inputs, 3, stride), nn.ReLU(), *convolution(outputs, 3, 1))
            self.shortcut = nn.Sequential(*convolution(inputs, 1, stride)) if inputs != outputs else nn.Identity()

        def forward(self, x):
            return nn.functional.relu(self.body(x) + self.shortcut(x))

    blocks = [Block(16 if stage == 0 else 8 * 2 ** stage if place == 0 else 16 * 2 ** stage, 16 * 2 ** stage,
                    2 if stage and not place else 1) for stage in range(3) for place in range(3)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def _torch_vgg16(nn):
    parts, channels = [], 3
    for stage, count in enumerate((2, 2, 3, 3, 3)):
        for _ in range(count):
            filters = 32 * min(2 ** stage, 8)
            parts += [nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
            channels = filters
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
                         nn.Linear(256, CLASSES))


def _torch_alexnet(nn):
    import torch

    class Grouped(nn.Module):
        def __init__(self, inputs, outputs, size):
            super().__init__()
            self.convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=2)

        def forward(self, x):
            return torch.relu(self.convolution(x))

    def normalization():
        return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)  # PyTorch divides alpha by the number of channels

    return nn.Sequential(
        nn.Conv2d(3, 24, 5, padding=2), nn.ReLU(), normalization(), nn.MaxPool2d(3, 2),
        Grouped(24, 64, 5), normalization(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(),
        Grouped(96, 96, 3), Grouped(96, 64, 3), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(64 * 9, 240), nn.ReLU(),
        nn.Linear(240, 240), nn.ReLU(), nn.Linear(240, CLASSES))


def _torch_pieces(nn, affine, pieces):
    """Returns the largest of the pieces of an affine layer's outputs, which lie on the second axis."""
    class Largest(nn.Module):
        def forward(self, x):
            return x.unflatten(1, (pieces, -1)).amax(1)

    return affine, Largest()


def _torch_maxout(nn):
    first, second = nn.Conv2d(1, 96, 8), nn.Conv2d(48, 96, 8, padding="same")
    third, last = nn.Conv2d(48, 96, 5, padding="same"), nn.Linear(24 * 9, CLASSES)
    made = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), *_torch_pieces(nn, first, 2), nn.MaxPool2d(4, 2), *_torch_pieces(nn, second, 2),
        nn.MaxPool2d(4, 2), nn.ZeroPad2d(1), *_torch_pieces(nn, third, 4), nn.MaxPool2d(2, 2), nn.Flatten(), last)
    made.bounded = [(first.weight, LARGEST_FIRST_NORM), *((layer.weight, LARGEST_NORM) for layer in (second, third, last))]
    return made


def _torch_dense_maxout(nn):
    affine = [nn.Linear(784, 1200), nn.Linear(240, 1200), nn.Linear(240, CLASSES)]
    made = nn.Sequential(nn.Flatten(), *_torch_pieces(nn, affine[0], 5), *_torch_pieces(nn, affine[1], 5), affine[2])
    made.bounded = [(layer.weight, LARGEST_NORM) for layer in affine]
    return made


if __name__ == "__main__":
    name = sys.argv.pop(1) if len(sys.argv) > 1 and sys.argv[1] in SHAPES else sys.exit(f"choose one of {', '.join(SHAPES)}")
    sides = {side.__name__: (lambda side=side: side(name)) for side in (ours, torch_bfloat16, torch_float32, stock_keras)}
    turns.main(__file__, sides, ("images", BATCH * STEPS), steps=2, rounds=9, arguments=(name,))
