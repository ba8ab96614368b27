"""Reference solutions of NumPy and scikit-learn on the same training split."""
import numpy as np

from apps.foundations import data


def difference(model, config, info):
    """Returns (largest difference, name of the reference), or (None, the reason why there is no reference).

    For linear, logistic and softmax regression, the weights and intercepts of the standardized columns are compared; for the
    others, the class probabilities of the training examples.
    """
    features, answers = data.read(config.dataset, config, config.columns).parts["train"]
    x = (features - np.array(info.mean)) / np.array(info.std)
    if config.model in ("naive_bayes", "lda"):
        return _difference_of_probabilities(model, config, features, x, answers)
    c = None if config.c == "none" else config.c
    weights, intercepts = model.coefficients()
    if config.model == "linear":
        expected, name = _linear(x, answers, c)
        return _largest(np.vstack([weights, intercepts])[:, 0], expected), name
    if c is None and _is_separable(x, answers):
        return None, "the classes are separable, so the loss has no minimum without a penalty: set --c"
    expected_weights, expected_intercepts, name = _classifier(x, answers, c, config.model)
    return max(_largest(weights.T, expected_weights), _largest(intercepts - intercepts.mean() * (len(intercepts) > 1),
                                                               expected_intercepts)), name


def _linear(x, target, c):
    """Returns (weights and, last, the intercept; name)."""
    if c is None:
        found, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), target, rcond=None)
        return found, "numpy.linalg.lstsq"
    from sklearn.linear_model import Ridge

    ridge = Ridge(alpha=1 / c, solver="svd").fit(x, target)
    return np.append(ridge.coef_, ridge.intercept_), "scikit-learn's Ridge"


def _classifier(x, labels, c, kind):
    """Returns (weights (outputs, columns), intercepts (outputs,), name); the intercepts of several classes have the mean 0."""
    from sklearn.linear_model import LogisticRegression

    halved = kind == "softmax" and labels.max() == 1  # scikit-learn has one row of weights for two classes
    c = np.inf if c is None else 2 * c if halved else c
    fitted = LogisticRegression(C=c, solver="newton-cg", tol=1e-10, max_iter=10_000).fit(x, labels)
    weights, intercepts = fitted.coef_, fitted.intercept_
    if halved:
        weights, intercepts = np.vstack([-weights, weights]) / 2, np.append(-intercepts, intercepts) / 2
    return weights, intercepts - intercepts.mean() * (len(intercepts) > 1), "scikit-learn's LogisticRegression"


def _difference_of_probabilities(model, config, features, x, labels):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.naive_bayes import GaussianNB

    if config.model == "naive_bayes" and config.shared_variances:
        return None, "scikit-learn has no naive Bayes with shared variances"
    # lsqr has the likeliest covariance in every version
    other = GaussianNB() if config.model == "naive_bayes" else LinearDiscriminantAnalysis(solver="lsqr")
    logits = np.asarray(model({"features": features})["label"])
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = np.zeros_like(logits)
    expected[:, np.unique(labels)] = other.fit(x, labels).predict_proba(x)
    return _largest(found / found.sum(axis=1, keepdims=True), expected), f"scikit-learn's {type(other).__name__}"


def _is_separable(x, labels):
    """Whether affine functions separate all classes of the training split, as far as a weak penalty shows."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1e8, solver="newton-cg", max_iter=10_000).fit(x, labels).score(x, labels) == 1


def _largest(found, expected):
    return float(np.abs(found - expected).max())
