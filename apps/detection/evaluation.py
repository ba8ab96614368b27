"""COCO and VOC average precision, recall of proposals, and bootstrap intervals."""
from training.vision.detection.metrics import VALIDATION_METRICS, evaluate, table  # noqa: F401  this module's contract
