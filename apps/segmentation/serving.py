"""Interface of an exported segmenter, see `map_signatures` and `instance_signatures`; the two have folders of their own."""
from apps.segmentation import instance_signatures, map_signatures
from training.vision import image_signatures
from training.vision.image_signatures import BATCH, KINDS, request  # noqa: F401  parts of this module's contract

PREDICT = "serving_default"


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    if config.INSTANCES:
        return instance_signatures.signatures(model, config, info)
    return map_signatures.signatures(model, config, info)


def warmup(config):
    """Returns one warm-up request per signature, {signature: {input name: value}}."""
    return {name: image_signatures.warmup(config.image_size) for name in ("serving_default", "embed")}


def present(asked, answer, path):
    """Returns the classes or objects of one image as (JSON document, lines to print), and writes <path>.png and
    <path>.classes.png or <path>.instances.png."""
    if "instance_map" in answer:
        return instance_signatures.present(asked, answer, path)
    return map_signatures.present(asked, answer, path)
