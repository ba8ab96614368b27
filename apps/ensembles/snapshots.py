"""Snapshots of one network (C12): several members for the cost of one training."""
import math

import keras
from keras import ops

from apps.ensembles import members, systems


def build_model(config, spec, steps):
    """Returns a compiled ensemble of the weights of one network at the end of each learning-rate cycle, see `Snapshots`.

    Raises:
        UserError: `combine` is not available for snapshots, or the epochs are not a multiple of the members.
    """
    return members.compiled(Snapshots, config, spec, steps, combine=config.combine)


class Snapshots(members.Ensemble):
    """One network that is trained in M cycles, in each of which the learning rate decays to 0; its weights after each cycle
    are a member.

    All members start from the same weights. In cycle c, member c is trained; later members copy its weights and earlier ones
    do not change, so each member keeps the weights from the end of its own cycle. A step costs as much as a step of one
    network. Because all snapshots come from one training, the mean of their weights may be a good network, unlike that of
    independent networks: `combine` "parameters".

    The arguments are those of `members.Ensemble`.

    Example:
        >>> import numpy as np
        >>> from apps.ensembles.snapshots import Snapshots
        >>> model = Snapshots((8, 8, 1), classes=10, members=3, hidden=16, steps=60)
        >>> outputs = model({"image": np.zeros((2, 8, 8, 1), "uint8")})
        >>> outputs["parameters"].shape, int(model.started)
        (TensorShape([2, 3, 10]), 1)

    Source: Huang et al., 2017, "Snapshot Ensembles: Train 1, Get M for Free", section 3; mean of weights: Izmailov et al.,
            2018,
    "Averaging Weights Leads to Wider Optima and Better Generalization", section 3.
    What differs: the mean is over the ensemble's own snapshots, from the first cycle on.
    """

    is_staged = systems.Snapshots.STAGED

    def __init__(self, image_shape, classes, *, mean=128.0, std=64.0, members=5, hidden=64, depth=2, combine="probabilities",
                 steps=1000):
        super().__init__(image_shape, classes, mean=mean, std=std, members=members, hidden=hidden, depth=depth, combine=combine,
                         steps=steps, is_alike=True, name="snapshots")
        self.steps = max(1, steps)

    def rate(self, peak):
        return Cyclic(peak, self.steps, self.members)

    def trained(self, step):
        return ops.cast(ops.arange(self.members) >= self.stage(step), "float32")

    def changed_gradients(self, gradients):
        # only the network of this cycle has one, and those after it follow
        return [ops.broadcast_to(ops.sum(gradient, axis=0, keepdims=True), gradient.shape) for gradient in gradients]


class Cyclic(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate with cosine decay in each of several cycles of equal length.

        rate(t) = peak / 2 (cos(pi mod(t - 1, ceil(T / M)) / ceil(T / M)) + 1),  t = 1, …, T

    peak:   learning rate at the start of each cycle
    steps:  T, in all cycles
    cycles: M

    Source: Huang et al., 2017, eq. 2. Here steps count from 0.
    """

    def __init__(self, peak, steps, cycles):
        self.peak, self.steps, self.cycles = peak, steps, cycles

    def __call__(self, step):
        length = math.ceil(self.steps / self.cycles)
        place = ops.cast(ops.cast(step, "int32") % length, "float32")
        return self.peak / 2 * (ops.cos(math.pi * place / length) + 1)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "cycles": self.cycles}
