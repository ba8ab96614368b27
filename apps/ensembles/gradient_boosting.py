"""Gradient boosting (C11): each network on the residuals of the ones before it."""
from keras import ops

from apps.ensembles import members

MONITOR = None  # the last weights count: they hold all members


def build_model(config, spec):
    """Returns a compiled ensemble that is boosted by gradients, see `GradientBoosting`."""
    return GradientBoosting(config, spec)


class GradientBoosting(members.Ensemble):
    """Networks one after the other, each of which learns what is missing, by least squares.

        F_0 = 0,  residual_m(x) = onehot(label) - softmax(F_(m-1)(x)),  loss[m] = mean_i |residual_m(x_i) - h_m(x_i)|^2 / 2
        F_m(x) = F_(m-1)(x) + shrinkage h_m(x),  p = softmax(F_M(x))

    The residual is the negative gradient of the cross-entropy by F.

    Source: Friedman, 2001, "Greedy Function Approximation: A Gradient Boosting Machine", algorithms 1 and 6 with eq. 36 and,
    for the shrinkage, section 5.
    What differs: members are networks with an output for each class, not trees; the step along h_m is the shrinkage alone,
    without a line search; all examples, not a sample of them.
    """

    combinations = ("boosting",)

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.shrinkage = config.shrinkage

    def losses(self, outputs, pixels, targets, step):
        before = ops.cast(ops.arange(self.members) < self.stage(step), "float32")
        earlier = self.shrinkage * ops.sum(before[:, None, None] * self.networks.apply(pixels, self.networks.tensors()), axis=0)
        residuals = ops.one_hot(targets["label"], self.classes, dtype="float32") - ops.softmax(earlier)
        return ops.sum((residuals - outputs) ** 2, axis=-1) / 2

    def combined(self, outputs, pixels):
        return {"boosting": ops.softmax(self.shrinkage * ops.cumsum(outputs, axis=1))}
