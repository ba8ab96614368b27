"""What a client sends to an exported classifier of the target's task and gets back: the signatures `serving_default` and
`embed` of `training.classifiers`, the same for every system of this application."""
from training import classifiers, image_serving
from training.image_serving import present_classes as present  # noqa: F401  a part of this module's contract
from training.image_serving import request  # noqa: F401

_WARMUP_SIDE = 32


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.export.export`."""
    return classifiers.signatures(model, info["class_names"])


def warmup(config):
    """Returns {signature: {input name: value}}."""
    return {name: image_serving.warmup(_WARMUP_SIDE) for name in ("serving_default", "embed")}
