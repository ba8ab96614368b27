"""Confidence intervals by the bootstrap."""
import numpy as np


def intervals(statistics, count, resamples, seed):
    """Returns {name: [low, high]}, the 95 % percentile interval of each statistic over bootstrap samples of the examples.

    A NaN value, which means that a bootstrap sample had nothing to measure, is ignored; a statistic that is always NaN has no
    interval.

    statistics: function of row numbers (count,), drawn with replacement, that returns {name: number} for these examples
    count:      number of examples
    resamples:  number of bootstrap samples
    seed:       random seed

    Source: Efron and Tibshirani, 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    random = np.random.default_rng(seed)
    values = {}
    for _ in range(resamples):
        for name, value in statistics(random.integers(0, count, count)).items():
            if not np.isnan(value):
                values.setdefault(name, []).append(value)
    return {name: np.percentile(numbers, [2.5, 97.5]).tolist() for name, numbers in values.items()}
