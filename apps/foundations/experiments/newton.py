"""Newton's method with conjugate gradients: products with the Hessian, never the Hessian or its inverse."""
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_MOST_ITERATIONS = 20
"""of conjugate gradients, per dimension: rounding may cost more than the one that exact numbers need"""
_SHORTEST = 1e-12
_ENOUGH = 1e-4
"""share of the slope that a length must bring: Nocedal and Wright's c1"""


class Step(NamedTuple):
    """The start and the step of one iteration."""

    place: np.ndarray
    value: float
    gradient_norm: float
    damping: float
    """lambda of this step"""
    length: float
    """fraction of the step that was taken; the distance along a direction of negative curvature"""
    kind: str
    """newton, curvature (along a direction of negative curvature), or end"""


class Derivatives:
    """Value, gradient and products with the Hessian of a function of a flat float64 vector, each traced once.

    function: function of (point (n,), *arguments) that returns a scalar; the arguments are tensors, so different data share
              one trace
    """

    def __init__(self, function):
        self.function = function
        self._gradient = tf.function(self._gradient, reduce_retracing=True)
        self._product = tf.function(self._product, reduce_retracing=True)

    def gradient(self, place, *arguments):
        """Returns (value, gradient (n,)) as NumPy values."""
        value, gradient = self._gradient(tf.constant(place, tf.float64), *arguments)
        return float(value), gradient.numpy()

    def product(self, place, direction, *arguments):
        """Returns H direction, (n,): the derivative of the gradient along the direction, by forward-over-reverse
        differentiation.

        Source: Pearlmutter, 1994, "Fast Exact Multiplication by the Hessian"; Martens, 2010, section 3.
        """
        return self._product(tf.constant(place, tf.float64), tf.constant(direction, tf.float64), *arguments).numpy()

    def _gradient(self, place, *arguments):
        with tf.GradientTape() as tape:
            tape.watch(place)
            value = self.function(place, *arguments)
        return value, tape.gradient(value, place)

    def _product(self, place, direction, *arguments):
        with tf.autodiff.ForwardAccumulator(place, direction) as accumulator:
            _, gradient = self._gradient(place, *arguments)
        product = accumulator.jvp(gradient)
        return tf.zeros_like(place) if product is None else product  # a linear function has none


def minimize(derivatives, start, *arguments, damping=1.0, forcing=0.5, tolerance=1e-12, steps=100, curvature=True, seed=0):
    """Returns the list of Steps from `start` to a point with a gradient norm below `tolerance` and no negative curvature.

        (H + lambda I) p = -g  by conjugate gradients until |residual| <= min(forcing, |g|) |g|,   lambda = damping |g|
        ratio = (f(x + p) - f(x)) / (g p + p H p / 2);   ratio > 3/4: damping / 4;   ratio < 1/4: 4 damping
        x <- x + length p,  the first length of 1, 1/2, 1/4, … with sufficient decrease of the function

    As |g| goes to 0, lambda goes to 0 at least as fast, so the last steps are pure Newton steps, and |g_k+1| / |g_k|^2 stays
    bounded. If conjugate gradients find a direction d with d (H + lambda I) d <= 0, the step goes downhill along d as long as
    the function decreases. If the gradient is 0, a random right-hand side finds such a direction if the Hessian has one, so
    the method does not stop at a saddle point.

    damping:   damping of the first step; 0: no damping until a step has a bad ratio
    forcing:   0: conjugate gradients continue to rounding precision
    tolerance: tolerance of the gradient norm
    curvature: whether to look for negative curvature; False for convex functions
    seed:      seed of the random right-hand sides

    Source: Martens, 2010, "Deep learning via Hessian-free optimization", sections 3 and 4.1, products, conjugate gradients,
    and damping by the ratio (there by 3/2, and with lambda itself); Li, Fukushima, Qi and Yamashita, 2004, "Regularized Newton
    Methods for Convex Minimization Problems with Singular Solutions", lambda in proportion to |g|; Nocedal and Wright, 2006,
    "Numerical Optimization", algorithm 7.1 and section 7.1, truncation for a quadratic rate, negative curvature, lengths.
    """
    place, random, path = np.array(start, np.float64), np.random.default_rng(seed), []
    value, gradient = derivatives.gradient(place, *arguments)
    for _ in range(steps):
        norm = float(np.linalg.norm(gradient))
        shift = damping * norm

        def product(direction, shift=shift):
            return derivatives.product(place, direction, *arguments) + shift * direction

        if norm <= tolerance:
            if not curvature:
                break
            shift = 0.0
            _, downward = conjugate_gradients(lambda d: product(d, 0.0), random.normal(size=place.shape), 0.0)
            if downward is None:
                break
            step = None
        else:
            step, downward = conjugate_gradients(product, -gradient, min(forcing, norm) * norm)
        if downward is not None:
            length, after = _farthest(derivatives, arguments, place, value, gradient, downward)
            path.append(Step(place, value, norm, shift, length, "curvature"))
        else:
            slope, predicted = gradient @ step, gradient @ step + step @ product(step, 0.0) / 2
            is_rounding = abs(predicted) < 1e-13 * max(1.0, abs(value))  # two values can no longer be distinguished
            length, ratio = 1.0, 1.0
            if not is_rounding:
                ratio = (_value(derivatives, arguments, place + step) - value) / predicted
                while length > _SHORTEST and not (
                        _value(derivatives, arguments, place + length * step) <= value + _ENOUGH * length * slope):
                    length /= 2
            after = place + length * step
            path.append(Step(place, value, norm, shift, length, "newton"))
            damping = damping / 4 if ratio > 0.75 else max(4 * damping, 1e-3) if ratio < 0.25 else damping
        new_value, new_gradient = derivatives.gradient(after, *arguments)
        if downward is None and is_rounding and not np.linalg.norm(new_gradient) < norm or (
                not new_value <= value and (downward is not None or not is_rounding)):
            path.pop()  # as low as rounding lets it come
            break
        place, value, gradient = after, new_value, new_gradient
    return [*path, Step(place, value, float(np.linalg.norm(gradient)), 0.0, 0.0, "end")]


def conjugate_gradients(product, right, tolerance):
    """Returns (x with |A x - right| <= tolerance, None), or (None, d) with d A d <= 0 if A is not positive definite.

    product: function d -> A d; A is symmetric

    Source: Nocedal and Wright, 2006, algorithms 5.2 and 7.1.
    """
    x, residual = np.zeros_like(right), -right
    direction, square = right.copy(), right @ right
    smallest = (1e-15 * np.sqrt(square)) ** 2  # beneath it residuals are rounding
    for _ in range(_MOST_ITERATIONS * len(right)):
        if square <= max(tolerance ** 2, smallest):
            break
        along = product(direction)
        curvature = direction @ along
        if curvature <= 1e-14 * np.linalg.norm(along) * np.linalg.norm(direction):
            return None, direction
        length = square / curvature
        x, residual = x + length * direction, residual + length * along
        square, before = residual @ residual, square
        direction = -residual + square / before * direction
    return x, None


def _value(derivatives, arguments, place):
    """Returns the function's value, infinite where it is none."""
    found, _ = derivatives.gradient(place, *arguments)
    return found if np.isfinite(found) else np.inf


def _farthest(derivatives, arguments, place, value, gradient, direction):
    """Returns (length, place): the lowest along a direction of negative curvature, at lengths that double or halve from 1."""
    direction = direction / np.linalg.norm(direction)
    if gradient @ direction > 0:
        direction = -direction

    def at(length):
        return _value(derivatives, arguments, place + length * direction)

    length, lowest = 1.0, at(1.0)
    while lowest >= value and length > _SHORTEST:
        length /= 2
        lowest = at(length)
    factor = 2.0 if length == 1.0 else 0.5
    while _SHORTEST < length < 1 / _SHORTEST and (found := at(length * factor)) < lowest:
        length, lowest = length * factor, found
    return length, place + length * direction
