"""Independent networks (C12): what is drawn at first is all that they differ in."""
from apps.ensembles import members

MONITOR = None  # the last weights count: the rate has fallen to 0


def build_model(config, spec):
    """Returns a compiled ensemble of networks that see the same batches from different initial weights.

    The loss of the mean of their probabilities is at most the mean of their losses (Jensen's inequality), and lower the more
    they disagree. The mean of their weights fails: the hidden units of two networks have no common order, so that the mean of
    two weights mixes units that do different things. Softmax regression (--hidden 0) is the exception: it has no hidden units
    and its loss is convex, so that all networks end near the same weights, and the loss of the mean weights is at most the
    mean of the losses.

    Source: Hansen and Salamon, 1990, "Neural Network Ensembles"; Lakshminarayanan et al., 2017, "Simple and Scalable Predictive
    Uncertainty Estimation using Deep Ensembles", section 2.4: random weights, no bootstrap.
    What differs: members share the order of the examples too.
    """
    return members.Ensemble(config, spec)
