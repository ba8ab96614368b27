"""Interface of an exported segmenter, see `map_signatures`."""
from apps.segmentation import map_signatures
from training.vision import image_signatures
from training.vision.image_signatures import BATCH, KINDS, request  # noqa: F401  parts of this module's contract

PREDICT = "serving_default"


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    return map_signatures.signatures(model, config, info)


def warmup(config):
    """Returns one warm-up request per signature, {signature: {input name: value}}."""
    return {name: image_signatures.warmup(config.image_size) for name in ("serving_default", "embed")}


def present(asked, answer, path):
    """Returns the classes of one image as (JSON document, lines to print), and writes <path>.png and <path>.classes.png."""
    return map_signatures.present(asked, answer, path)
