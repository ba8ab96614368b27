"""Snapshots of one network (C12): many members for the training of one."""
import math

import keras
from keras import ops

from apps.ensembles import members

MONITOR = None  # the last weights count: they hold all snapshots


def build_model(config, spec):
    """Returns a compiled ensemble of one network's weights at the ends of its rate's cycles, see `Snapshots`."""
    return Snapshots(config, spec)


class Snapshots(members.Ensemble):
    """One network whose rate falls from its peak to 0 in each of M cycles and whose weights at the end of each are a member.

    All members begin alike. In cycle c the network is member c; members after it follow it and those before it stand still, so
    that each holds the weights of the end of its own cycle. A step costs that of one network.

    As all snapshots come from one training, their weights may have a mean that is a good network, which independent ones
    have not: `--combine parameters`.

    Source: Huang et al., 2017, "Snapshot Ensembles: Train 1, Get M for Free", section 3; mean of weights: Izmailov et al., 2018,
    "Averaging Weights Leads to Wider Optima and Better Generalization", section 3.
    What differs: the mean is over the ensemble's own snapshots, from the first cycle on.
    """

    def __init__(self, config, spec):
        steps = max(1, spec.info["steps"])
        super().__init__(config, spec, rate=Cyclic(config.learning_rate, steps, config.members), alike=True)

    def trained(self, step):
        return ops.cast(ops.arange(self.members) >= self.stage(step), "float32")


class Cyclic(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls as a cosine in each of several cycles of equal length.

        rate(t) = peak / 2 (cos(pi mod(t - 1, ceil(T / M)) / ceil(T / M)) + 1),  t = 1, …, T

    peak: the rate at the begin of each cycle
    steps: T, in all cycles
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
