"""Pictures of detections and of what leads to them."""
from training.vision.detection.pictures import render  # noqa: F401  this module's contract
