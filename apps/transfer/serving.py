"""Interface of an exported classifier of the target task: the signatures `serving_default` and
`embed` of `training.vision.classifiers`, the same for every system of this application."""
from training.vision import classifiers, image_signatures
from training.vision.image_signatures import BATCH, KINDS, request  # noqa: F401  parts of this module's contract
from training.vision.image_signatures import present_classes as present  # noqa: F401

PREDICT = "serving_default"
"""the signature that the verb `predict` calls"""
_WARMUP_SIDE = 32


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`."""
    return classifiers.signatures(model, info.class_names)


def warmup(config):
    """Returns one warm-up request per signature, {signature: {input name: value}}."""
    return {name: image_signatures.warmup(_WARMUP_SIDE) for name in ("serving_default", "embed")}
