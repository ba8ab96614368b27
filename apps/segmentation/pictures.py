"""Pictures of class maps, and of what the network is unsure about."""
from apps.segmentation import map_pictures


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures and activations, see `map_pictures`."""
    return map_pictures.render(model, splits, config, info, metrics)
