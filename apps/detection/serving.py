"""Interface of an exported detector, see `training.vision.detection.signatures`; the same for all systems."""
from training.vision.detection.signatures import present, signatures, warmup  # noqa: F401  parts of this module's contract
from training.vision.image_signatures import BATCH, KINDS, request  # noqa: F401  parts of this module's contract

PREDICT = "serving_default"
