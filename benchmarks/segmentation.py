"""Training step of U-Net, 64 channels in the first of four stages, 128x128, batch 8: ours against PyTorch.

    python benchmarks/segmentation.py --peer-python PYTHON_WITH_TORCH

"products" is not a peer but the limit of the processor: the same number of multiply-adds as in our convolutions, three times as
many as in inference, as pure large matrix products.
"""
import contextlib
import os
import pathlib
import sys
import types

import detection
import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
BATCH, SIZE, WIDTH, STAGES, CLASSES = 8, 128, 64, 4, 11


def network_of(dtype):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.app import App
    from training.data.spec import Spec
    from training.engine import strategies

    app = App("segmentation")
    config = app.config("unet", image_size=SIZE, batch_size=BATCH, width=WIDTH, stages=STAGES, dtype=dtype)
    with contextlib.redirect_stdout(sys.stderr):
        strategies.set_precision(config)
    info = app.data.Info(class_names=[str(k) for k in range(CLASSES)], pixel_shares=[1 / CLASSES] * CLASSES)
    return app.build_model(config, Spec({}, {}, info), steps=1000)


def ours(dtype="auto"):
    import numpy as np

    network = network_of(dtype)
    import tensorflow as tf

    random = np.random.default_rng(0)
    batch = ({"image": tf.constant(random.integers(0, 256, (BATCH, SIZE, SIZE, 3)), tf.uint8)},
             {"classes": tf.constant(random.integers(0, CLASSES, (BATCH, SIZE, SIZE)), tf.int32)})
    network._symbolic_build(data_batch=batch)
    step = tf.function(network.train_step)
    return lambda: step(batch)["loss"].numpy()


def products():
    """Returns a step of pure matrix products with as many multiply-adds as a training step."""
    network = network_of("auto")
    import keras
    import tensorflow as tf

    from training import summary

    spec = types.SimpleNamespace(inputs={"image": tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)})
    multiply_adds = 3 * BATCH * sum(row[3] for row in summary.layer_rows(network, spec))
    print(f"U-Net: {multiply_adds / BATCH / 3:.3g} multiply-adds an image", file=sys.stderr)
    return detection.products(multiply_adds, keras.config.dtype_policy().compute_dtype)


def torch_side(dtype):
    import torch
    from torch import nn

    def convolutions(inputs, outputs):
        return nn.Sequential(*(part for first in (inputs, outputs) for part in (
            nn.Conv2d(first, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))))

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            filters = [WIDTH * 2 ** stage for stage in range(STAGES)]
            self.down = nn.ModuleList(convolutions(*pair) for pair in zip([3, *filters], filters))
            self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in filters[:-1])
            self.after = nn.ModuleList(convolutions(2 * width, width) for width in filters[:-1])
            self.classes = nn.Conv2d(WIDTH, CLASSES, 1)

        def forward(self, x):
            skips = []
            for stage, part in enumerate(self.down):
                x = part(nn.functional.max_pool2d(x, 2) if stage else x)
                skips.append(x)
            for stage in reversed(range(STAGES - 1)):
                x = self.after[stage](torch.cat([skips[stage], self.up[stage](x)], 1))
            return self.classes(x)

    torch.manual_seed(0)
    network = UNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    images = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    classes = torch.randint(0, CLASSES, (BATCH, SIZE, SIZE))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = network(images)
        loss = nn.functional.cross_entropy(logits.float(), classes)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


if __name__ == "__main__":
    turns.main(__file__, {
        "ours": ours, "ours_float32": lambda: ours("float32"), "torch_bfloat16": lambda: torch_side("bfloat16"),
        "torch_float32": lambda: torch_side("float32"), "products": products}, ("images", BATCH), steps=1, rounds=5)
