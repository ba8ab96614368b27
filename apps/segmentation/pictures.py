"""Pictures of class maps, and of what the network is unsure about."""
from apps.segmentation import instance_pictures, map_pictures


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures and activations, see `map_pictures` and `instance_pictures`."""
    if config.INSTANCES:
        return instance_pictures.render(model, splits, config, info, metrics)
    return map_pictures.render(model, splits, config, info, metrics)
