"""SSD compared with the same network in PyTorch: ResNet-18, seven feature maps from stride 8 on, 256x256, batch 8.

    python benchmarks/one_stage.py ssd_training --peer-python PYTHON_WITH_TORCH
    python benchmarks/one_stage.py ssd_inference --peer-python PYTHON_WITH_TORCH

The peer is torchvision's SSD (default boxes, matching, mining, losses and non-maximum suppression) on the maps of torchvision's
ResNet-18 and of the same additional layers as ours, in the memory format channels_last. "products" is not a peer but the limit of
the processor, see `detection.py`.
"""
import sys

import detection
import turns

EXTRA_MAPS, EXTRA_FILTERS, MIN_SCALE, MAX_SCALE = 4, 256, 0.1, 0.9
"""the defaults of our SSD"""


def torch_side(training, dtype):
    import torch
    import torchvision
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD

    def convolution(inputs, outputs, size, stride):
        return torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
                                   torch.nn.BatchNorm2d(outputs), torch.nn.ReLU())

    class Backbone(torch.nn.Module):
        out_channels = [128, 256, 512] + [EXTRA_FILTERS] * EXTRA_MAPS

        def __init__(self):
            super().__init__()
            names = {f"layer{number}": str(number) for number in (2, 3, 4)}
            self.body = torchvision.models._utils.IntermediateLayerGetter(torchvision.models.resnet18(weights=None), names)
            self.extra = torch.nn.ModuleList(torch.nn.Sequential(
                convolution(inputs, EXTRA_FILTERS // 2, 1, 1), convolution(EXTRA_FILTERS // 2, EXTRA_FILTERS, 3, 2))
                for inputs in [512] + [EXTRA_FILTERS] * (EXTRA_MAPS - 1))

        def forward(self, images):
            maps = list(self.body(images).values())
            for extra in self.extra:
                maps.append(extra(maps[-1]))
            return dict(enumerate(maps))

    torch.manual_seed(0)
    count = len(Backbone.out_channels)
    scales = [MIN_SCALE + (MAX_SCALE - MIN_SCALE) / (count - 1) * number for number in range(count + 1)]
    generator = DefaultBoxGenerator([[2, 3]] * count, scales=scales, steps=[8 * 2 ** level for level in range(count)])
    network = SSD(Backbone(), generator, (detection.SIZE, detection.SIZE), detection.CLASSES + 1, score_thresh=0.05,
                  nms_thresh=0.5, detections_per_img=100, image_mean=[0.5] * 3, image_std=[0.25] * 3)
    return detection.torch_steps(network, training, dtype)


def comparisons():
    """Returns {comparison: sides}."""
    return {f"ssd_{phase}": {
        "ours": lambda t=training: detection.keras_side("ssd", t),
        "torch_bfloat16": lambda t=training: torch_side(t, "bfloat16"),
        "torch_float32": lambda t=training: torch_side(t, "float32"),
        "products": lambda t=training: detection.products_side("ssd", t)}
        for phase, training in (("training", True), ("inference", False))}


if __name__ == "__main__":
    found = comparisons()
    if len(sys.argv) < 2 or sys.argv[1] not in found:
        sys.exit(f"choose one of: {', '.join(found)}")
    chosen = sys.argv.pop(1)
    turns.main(__file__, found[chosen], ("images", detection.BATCH), steps=2, rounds=5, arguments=[chosen])
