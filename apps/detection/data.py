"""Images fitted into a square, with the boxes of their objects."""
from training.vision.detection.boxed_images import Info, datasets  # noqa: F401  this module's contract
