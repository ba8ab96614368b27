"""layers.RoIAlign and layers.NonMaxSuppression compared with those of torchvision, on the same boxes.

    python benchmarks/roi.py align --peer-python PYTHON_WITH_TORCH
    python benchmarks/roi.py align_training --peer-python PYTHON_WITH_TORCH
    python benchmarks/roi.py suppression --peer-python PYTHON_WITH_TORCH
    python benchmarks/roi.py suppression_by_class --peer-python PYTHON_WITH_TORCH

align: 300 regions in each of 8 images of 256 x 256 pixels, 7 x 7 bins of 2 x 2 samples from a pyramid of 256 channels at the
strides 4, 8, 16 and 32; "training" adds the gradient by the maps. suppression: 1,000 candidates in each of 8 images, as
between the two stages of Faster R-CNN: IoU 0.7, the best 300; "by class" has 80 classes, IoU 0.5 and the best 100.
The maps are float32 on both sides, each in the layout that its library prefers. Before the timing, each side of a suppression
prints which boxes it keeps, as the sum of their indices.
"""
import os
import pathlib
import sys

import numpy as np
import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
BATCH, SIZE, CHANNELS, STRIDES, CLASSES = 8, 256, 256, (4, 8, 16, 32), 80


def boxes(count):
    """Returns boxes_yxyx (batch, count, 4) of 8 to 200 pixels a side within the image."""
    random = np.random.default_rng(0)
    sides = 8 * 25 ** random.uniform(0, 1, (BATCH, count, 2))
    corner = random.uniform(0, 1, (BATCH, count, 2)) * (SIZE - sides)
    return np.concatenate([corner, corner + sides], -1).astype("float32")


def maps():
    """Returns the pyramid, fine to coarse, each (batch, height, width, channels)."""
    random = np.random.default_rng(1)
    return [random.normal(size=(BATCH, SIZE // stride, SIZE // stride, CHANNELS)).astype("float32") for stride in STRIDES]


def candidates(by_class):
    """Returns boxes_yxyx (batch, 1000, 4) in groups of much overlap, scores and class ids (batch, 1000)."""
    random = np.random.default_rng(2)
    found = np.repeat(boxes(100), 10, axis=1) + random.normal(scale=4, size=(BATCH, 1000, 4)).astype("float32")
    class_ids = random.integers(0, CLASSES if by_class else 1, (BATCH, 1000))
    return found, random.permutation(BATCH * 1000).reshape(BATCH, 1000).astype("float32") / (BATCH * 1000) + 0.01, class_ids


def align_ours(training):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    import layers

    layer = layers.RoIAlign(7, STRIDES)
    regions, features = tf.constant(boxes(300)), [tf.constant(level) for level in maps()]

    @tf.function
    def forward():
        return layer(regions, features)

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            tape.watch(features)
            total = tf.reduce_sum(layer(regions, features))
        return tape.gradient(total, features)

    return lambda: (train()[0] if training else forward())[0, 0, 0, 0].numpy()


def align_torch(training):
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    align = MultiScaleRoIAlign([str(stride) for stride in STRIDES], 7, 2)
    regions = [torch.tensor(image[:, [1, 0, 3, 2]]) for image in boxes(300)]
    features = {str(stride): torch.tensor(level).permute(0, 3, 1, 2).contiguous() for stride, level in zip(STRIDES, maps())}
    sizes = [(SIZE, SIZE)] * BATCH

    def forward():
        with torch.inference_mode():
            return align(features, regions, sizes)[0, 0, 0, 0].item()

    def train():
        watched = {name: level.clone().requires_grad_() for name, level in features.items()}
        align(watched, regions, sizes).sum().backward()
        return watched["4"].grad[0, 0, 0, 0].item()

    return train if training else forward


def suppression_ours(by_class):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    import layers

    layer = layers.NonMaxSuppression(100 if by_class else 300, 0.5 if by_class else 0.7)
    found, scores, class_ids = (tf.constant(values) for values in candidates(by_class))
    groups = tf.cast(class_ids, tf.int32) if by_class else None
    step = tf.function(lambda: layer(found, scores, groups))
    print("ours keeps, as sums of indices", step()[0].numpy().sum(axis=1).tolist(), file=sys.stderr)
    return lambda: step()[0].numpy()


def suppression_torch(by_class):
    import torch
    from torchvision.ops import batched_nms, nms

    found, scores, class_ids = (torch.tensor(values) for values in candidates(by_class))
    found = found[..., [1, 0, 3, 2]].contiguous()

    def step():
        if by_class:
            return [batched_nms(*image, 0.5)[:100] for image in zip(found, scores, class_ids)]
        return [nms(*image, 0.7)[:300] for image in zip(found, scores)]

    print("torchvision keeps, as sums of indices", [int(kept.sum()) for kept in step()], file=sys.stderr)
    return step


COMPARISONS = {
    "align": {"ours": lambda: align_ours(False), "torch": lambda: align_torch(False)},
    "align_training": {"ours": lambda: align_ours(True), "torch": lambda: align_torch(True)},
    "suppression": {"ours": lambda: suppression_ours(False), "torch": lambda: suppression_torch(False)},
    "suppression_by_class": {"ours": lambda: suppression_ours(True), "torch": lambda: suppression_torch(True)}}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMPARISONS:
        sys.exit(f"choose one of: {', '.join(COMPARISONS)}")
    name = sys.argv.pop(1)
    turns.main(__file__, COMPARISONS[name], ("images", BATCH), arguments=[name])
