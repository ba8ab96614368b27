"""Independent networks (C12), which differ only in their initial weights."""
from apps.ensembles import members


def build_model(config, spec, steps):
    """Returns a compiled ensemble of networks from different initial weights, see `Independent`.

    Raises:
        UserError: `combine` is not available for them.
    """
    return members.compiled(Independent, config, spec, steps, combine=config.combine)


class Independent(members.Ensemble):
    """Networks that are trained on the same batches from different initial weights.

    The loss of the mean of their probabilities is at most the mean of their losses (Jensen's inequality), and lower the more
    they disagree. The mean of their weights fails: the hidden units of two networks have no common order, so the mean of two
    weights mixes units with different functions. Softmax regression (`hidden` 0) is the exception: it has no hidden units and
    its loss is convex, so all networks converge to nearly the same weights, and the loss of the mean weights is at most the
    mean of the losses.

    The arguments are those of `members.Ensemble`.

    Example:
        >>> import numpy as np
        >>> from apps.ensembles.independent import Independent
        >>> model = Independent((8, 8, 1), classes=10, members=3, hidden=16)
        >>> outputs = model({"image": np.zeros((2, 8, 8, 1), "uint8")})
        >>> outputs["members"].shape, model.answer(outputs).shape
        (TensorShape([2, 3, 10]), TensorShape([2, 10]))

    Source: Hansen and Salamon, 1990, "Neural Network Ensembles"; Lakshminarayanan et al., 2017, "Simple and Scalable Predictive
    Uncertainty Estimation using Deep Ensembles", section 2.4: random weights, no bootstrap.
    What differs: members share the order of the examples too.
    """

    def __init__(self, image_shape, classes, *, mean=128.0, std=64.0, members=5, hidden=64, depth=2, combine="probabilities",
                 steps=1000):
        super().__init__(image_shape, classes, mean=mean, std=std, members=members, hidden=hidden, depth=depth, combine=combine,
                         steps=steps, name="independent")
