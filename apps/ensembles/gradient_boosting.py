"""Gradient boosting (C11): each network fits the residuals of earlier ones."""
from keras import ops

from apps.ensembles import members, systems


def build_model(config, spec, steps):
    """Returns a compiled gradient-boosted ensemble, see `GradientBoosting`.

    Raises:
        UserError: the epochs are not a multiple of the members.
    """
    return members.compiled(GradientBoosting, config, spec, steps, shrinkage=config.shrinkage)


class GradientBoosting(members.Ensemble):
    """Networks trained one after another, each on the residuals of its predecessors by least squares.

        F_0 = 0,  residual_m(x) = onehot(label) - softmax(F_(m-1)(x)),  loss[m] = mean_i |residual_m(x_i) - h_m(x_i)|^2 / 2
        F_m(x) = F_(m-1)(x) + shrinkage h_m(x),  p = softmax(F_M(x))

    The residual is the negative gradient of the cross-entropy with respect to F.

    The arguments are those of `members.Ensemble`, and

    shrinkage: factor by which each correction is multiplied

    Example:
        >>> import numpy as np
        >>> from apps.ensembles.gradient_boosting import GradientBoosting
        >>> model = GradientBoosting((8, 8, 1), classes=10, members=3, hidden=16)
        >>> model({"image": np.zeros((2, 8, 8, 1), "uint8")})["boosting"].shape
        TensorShape([2, 3, 10])

    Source: Friedman, 2001, "Greedy Function Approximation: A Gradient Boosting Machine", algorithms 1 and 6 with eq. 36 and,
    for the shrinkage, section 5.
    What differs: members are networks with one output per class, not trees; the step along h_m is just the shrinkage, without
    a line search; all examples are used, not a sample.
    """

    combinations = ("boosting",)
    is_staged = systems.GradientBoosting.STAGED

    def __init__(self, image_shape, classes, *, mean=128.0, std=64.0, members=20, hidden=64, depth=1, shrinkage=1.0, steps=1000):
        super().__init__(image_shape, classes, mean=mean, std=std, members=members, hidden=hidden, depth=depth, steps=steps,
                         name="gradient_boosting")
        self.shrinkage = shrinkage

    def losses(self, outputs, pixels, targets, step):
        before = ops.cast(ops.arange(self.members) < self.stage(step), "float32")
        earlier = self.shrinkage * ops.sum(before[:, None, None] * self.networks.apply(pixels, self.networks.tensors()), axis=0)
        residuals = ops.one_hot(targets["label"], self.classes, dtype="float32") - ops.softmax(ops.stop_gradient(earlier))
        return ops.sum((residuals - outputs) ** 2, axis=-1) / 2

    def combined(self, outputs, pixels):
        return {"boosting": ops.softmax(self.shrinkage * ops.cumsum(outputs, axis=1))}
