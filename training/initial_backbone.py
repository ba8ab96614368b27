"""The backbone of another network as initial weights, matched by the names of the layers in `layers.backbones`."""
import re
from typing import NamedTuple

from keras import ops

from training.errors import UserError

_NAMES = re.compile(r"(stem|stage\d+_block\d+_\w+?)(_normalization)?")
"""names of layers in `layers.backbones`: a convolution, and the normalization that belongs to it"""


class Taken(NamedTuple):
    """What `take` did; the names are those of convolutions, each of which brings its normalization."""

    fitting: list[str]
    """layers that have the weights of the source now"""
    others: list[str]
    """layers of the backbone that the source lacks or has in another shape"""


def take(model, source, name):
    """Copies the weights of the backbone's layers from one model into another, wherever name and shapes agree.

    A convolution and its normalization, with its moving statistics, are taken together or not at all.

    model, source: built Keras models; the layers may be nested in other layers
    name:          name of the source in error messages

    Returns: Taken

    Raises:
        UserError: one of them has no backbone, or no layer fits.
    """
    wanted, given = _backbone(model), _backbone(source)
    if not wanted:
        raise UserError("this system has no backbone that the run of another application could initialize: --initialize takes "
                        f"only a run of the same application here, not {name}")
    if not given:
        raise UserError(f"{name} has no backbone to start from: choose a run of a residual network, such as "
                        "`python -m apps.classification`, or of a detector")
    fitting = [name for name, group in wanted.items() if _shapes(group) == _shapes(given.get(name, {}))]
    if not fitting:
        raise UserError(f"no layer of the backbone of {name} fits: {_difference(wanted, given)}")
    for name in fitting:
        for part, layer in wanted[name].items():
            layer.set_weights([ops.convert_to_numpy(weight) for weight in given[name][part].weights])
    return Taken(fitting, [name for name in wanted if name not in fitting])


def _backbone(model):
    """Returns {name of a convolution: {"" or "_normalization": layer}} of the backbone in a model, from the input on."""
    found = {}
    for layer in model._flatten_layers(include_self=False):
        match = _NAMES.fullmatch(layer.name)
        if match and layer.weights:
            found.setdefault(match[1], {})[match[2] or ""] = layer
    return {name: found[name] for name in sorted(found, key=lambda name: (name != "stem", name)) if "" in found[name]}


def _shapes(group):
    return {part: [tuple(weight.shape) for weight in layer.weights] for part, layer in group.items()}


def _difference(wanted, given):
    """Returns in words how two backbones differ, neither of whose layers fit."""
    both = [name for name in wanted if name in given]
    if not both:
        return f"it has {', '.join(list(given)[:3])} …, and {', '.join(list(wanted)[:3])} … are needed"
    shapes = [_shapes(each[both[0]])[""][0] for each in (given, wanted)]
    return f"the kernel of its {both[0]} has the shape {shapes[0]}, and this network needs {shapes[1]}"
