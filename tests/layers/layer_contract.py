"""What every layer in `layers` promises, as one check."""
import contextlib
import inspect
import json

import keras
import numpy as np
import tensorflow as tf
from keras import tree

NAME = "checked"  # not a name that Keras would give by itself


def check_layer(make, inputs, reference, folder, *, training=False, masks=None, constant=(), discrete=False,
                always_float32=False, rows_depend_on_batch=False, draws=False, tolerance=1e-5, package="layers"):
    """Checks a layer against the contract and returns its float32 outputs as numpy arrays.

    make: function of Keras's own layer arguments (name, dtype) -> a fresh layer, whose other arguments are no defaults
    inputs: {argument of `call`: array or list of arrays} in order; their first dimension is the batch, two rows or more
    reference: function (layer, *inputs) -> the outputs, found by other means
    folder: where a model may be saved
    masks: {argument that is a mask: argument whose places it masks}; both are in `inputs`
    tolerance: of float32 results, relative to a value and to the largest one
    package: that it is registered in

    A layer that cannot keep a promise says so, and it is checked that it says the truth:
    constant: arguments that get no gradient by definition
    discrete: nothing has a gradient, as the layer chooses or counts
    always_float32: results are float32, and the same, under every policy
    rows_depend_on_batch: a row alone gives another result, as batch statistics do
    draws: random, with other numbers for a row alone, and under XLA, which has a generator of its own

    Raises:
        AssertionError: starts with the promise that is broken: value, shapes, config, masks, rows, precision,
            gradients, graph, XLA, float64 or saving.
    """
    for array in tree.flatten(inputs):
        assert len(set(array.shape)) == array.ndim, f"inputs: equal dimensions hide mistakes: {array.shape}"
        assert len(array) > 1, "inputs: there must be two rows to compare"
    layer = make(dtype="float32", name=NAME)
    _call(layer, inputs, training)  # builds it
    _move_weights(layer)
    state = _state(layer)

    def call(inputs):
        return _call(layer, inputs, training)

    def run(function, inputs):
        """Returns the outputs and the state that the call leaves, every time from the same state."""
        _restore(layer, state)
        outputs = tree.map_structure(np.asarray, function(inputs))
        left = _state(layer)
        _restore(layer, state)
        return outputs, left

    with _promise("value"):
        outputs, left = run(call, inputs)
        _check_finite(outputs)
        _check_equal(outputs, reference(layer, *inputs.values()), tolerance)
        _restore(layer, state)
    with _promise("shapes"):
        _check_shapes(layer, inputs, outputs)
        _check_symbolic(make(dtype="float32"), inputs, outputs, training)
    with _promise("config"):
        _check_config(layer, package)
        _check_config(make(dtype="mixed_bfloat16", name=NAME), package)
    with _promise("masks"):
        for mask, masked in (masks or {}).items():
            changed = run(call, inputs | {masked: _noise_where_masked(inputs[masked], inputs[mask])})[0]
            _check_equal(*(_output_kept(layer, x, inputs[mask], mask) for x in (changed, outputs)), tolerance)
            _check_finite(run(call, _first_row_empty(inputs, [mask]))[0])
    with _promise("rows"):
        rows = range(len(tree.flatten(inputs)[0]))
        alone = [run(call, tree.map_structure(lambda x: x[row:row + 1], inputs))[0] for row in rows]
        joined = tree.map_structure(lambda *parts: np.concatenate(parts), *alone)
        _check_exception(rows_depend_on_batch or draws, lambda: _check_equal(joined, outputs, tolerance))
        _check_finite(run(call, _first_row_empty(inputs, inputs))[0])
    with _promise("precision"):
        for policy in ("mixed_bfloat16", "mixed_float16"):
            _check_policy(policy, make, inputs, training, state, outputs, always_float32, discrete)
    with _promise("gradients"):
        if discrete:
            assert not layer.trainable_weights, "a discrete layer has nothing to train"
        else:
            gradients = _gradients(layer, inputs, training, constant)
            for which in [inputs, *([mask] for mask in masks or {})]:
                _restore(layer, state)
                _gradients(layer, _first_row_empty(inputs, which), training, constant)
    with _promise("graph"):
        signature = tree.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), inputs)
        graph = tf.function(call, input_signature=[signature])  # one graph for a batch of any size
        _check_equal(run(graph, inputs), (outputs, left), tolerance)
        shapes = [tuple(x.shape) for x in tree.flatten(graph.get_concrete_function().structured_outputs)]
        assert shapes == [(None, *x.shape[1:]) for x in tree.flatten(outputs)], f"shapes get lost: {shapes}"
    with _promise("XLA"):
        compiled, compiled_left = run(tf.function(call, jit_compile=True), inputs)
        _check_equal(compiled_left, left, tolerance)
        _check_exception(draws, lambda: _check_equal(compiled, outputs, tolerance))
    with _promise("float64"):
        if not discrete:
            _check_float64(make, inputs, training, constant, state, outputs, gradients, tolerance)
    with _promise("saving"):
        _restore(layer, state)
        symbols = _symbols(inputs)
        model = keras.Model(tree.flatten(symbols), _call(layer, symbols, training))
        model.save(folder / "layer.keras")
        loaded = keras.models.load_model(folder / "layer.keras")
        twin = loaded.get_layer(NAME)
        assert type(twin) is type(layer) and twin.get_config() == layer.get_config(), twin.get_config()
        _check_equal([w.value for w in twin.weights], [w.value for w in layer.weights], 0)
        _restore(twin, state)  # Keras saves no state of random generators
        _check_equal(loaded(tree.flatten(inputs)), outputs, tolerance)
    _restore(layer, state)
    return outputs


@contextlib.contextmanager
def _promise(name):
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error


def _call(layer, inputs, training):
    (_, first), *rest = inputs.items()
    return layer(first, **dict(rest), **_training(layer, training))


def _training(layer, training):
    return {"training": training} if "training" in inspect.signature(layer.call).parameters else {}


def _symbols(inputs):
    return tree.map_structure(lambda x: keras.Input(x.shape[1:], dtype=x.dtype.name), inputs)


def _state(layer):
    return [v.value.numpy() for v in layer.variables]


def _restore(layer, state):
    assert len(layer.variables) == len(state), "the number of variables has changed"
    for variable, value in zip(layer.variables, state):
        variable.assign(value)


def _move_weights(layer):
    """Moves every weight a little: zeros and ones hide mistakes."""
    random = np.random.default_rng(1)
    for weight in layer.weights:
        if "float" in weight.dtype:
            weight.assign(weight.value.numpy() + random.uniform(-0.3, 0.3, weight.shape))


def _first_row_empty(inputs, which):
    """Returns the inputs with the first row of the arguments in `which` all zero or false, as padding is."""
    emptied = {name: tree.map_structure(lambda x: np.concatenate([np.zeros_like(x[:1]), x[1:]]), inputs[name])
               for name in which}
    return inputs | emptied


def _check_finite(arrays):
    for array in tree.flatten(arrays):
        assert np.isfinite(np.asarray(array).astype("float64")).all(), f"not finite: {array}"


def _check_equal(found, expected, tolerance):
    found, expected = ([np.asarray(x) for x in tree.flatten(tensors)] for tensors in (found, expected))
    assert len(found) == len(expected), f"{len(found)} tensors where {len(expected)} are expected"
    for a, b in zip(found, expected):
        assert a.shape == b.shape, f"shape {a.shape} where {b.shape} is expected"
        if a.dtype.kind in "iub":
            np.testing.assert_array_equal(a, b)
        else:
            a, b = a.astype("float64"), b.astype("float64")
            np.testing.assert_allclose(a, b, tolerance, tolerance * np.abs(b).max(initial=0), equal_nan=False)


def _check_exception(stated, check):
    """Checks, or where an exception is stated, that the check would indeed fail."""
    if not stated:
        return check()
    try:
        check()
    except AssertionError:
        return
    raise AssertionError("an exception is stated that is none")


def _check_shapes(layer, inputs, outputs):
    """Compares `compute_output_shape` with what comes out, for this batch and for one of unknown size."""
    arguments = inspect.signature(layer.compute_output_shape).parameters
    for batch in (len(tree.flatten(inputs)[0]), None):
        shapes = {f"{name}_shape": [(batch, *x.shape[1:]) for x in value] if isinstance(value, list)
                  else (batch, *value.shape[1:]) for name, value in inputs.items()}
        if len(arguments) == 1:  # Keras then gives the first argument's shape, whatever the name
            declared = layer.compute_output_shape(next(iter(shapes.values())))
        else:
            declared = layer.compute_output_shape(**{name: shapes[name] for name in arguments if name in shapes})
        real = [(batch, *x.shape[1:]) for x in tree.flatten(outputs)]
        assert _flat_shapes(declared) == real, f"compute_output_shape gives {declared}, the outputs have {real}"


def _flat_shapes(shapes):
    if all(side is None or isinstance(side, int) for side in shapes):
        return [tuple(shapes)]
    return [flat for shape in shapes for flat in _flat_shapes(shape)]


def _check_symbolic(layer, inputs, outputs, training):
    symbolic = [(tuple(s.shape), s.dtype) for s in tree.flatten(_call(layer, _symbols(inputs), training))]
    real = [((None, *x.shape[1:]), x.dtype.name) for x in tree.flatten(outputs)]
    assert symbolic == real, f"symbolic outputs are {symbolic}, real ones {real}"


def _check_config(layer, package):
    registered = keras.saving.get_registered_name(type(layer))
    assert registered == f"{package}>{type(layer).__name__}", f"registered as {registered}"
    config = layer.get_config()
    for name, argument in inspect.signature(type(layer).__init__).parameters.items():
        if name != "self" and argument.kind is not argument.VAR_KEYWORD:
            assert name in config, f"get_config has no {name}"
            assert hasattr(layer, name), f"argument {name} is not kept as an attribute"
    twin = type(layer).from_config(json.loads(json.dumps(config)))
    assert twin.get_config() == config, f"{config} comes back as {twin.get_config()}"
    assert twin.name == NAME, f"the name comes back as {twin.name}"
    assert twin.dtype_policy == layer.dtype_policy, f"{layer.dtype_policy} comes back as {twin.dtype_policy}"


def _noise_where_masked(array, mask):
    """Returns the array with other values where the mask is false."""
    assert mask.any() and not mask.all(), "inputs: a mask must have both values"
    random = np.random.default_rng(2)
    if array.dtype.kind == "f":
        noise = random.normal(scale=100, size=array.shape)
    else:
        noise = random.integers(array.min(), array.max() + 1, array.shape)
    return np.where(np.expand_dims(mask, tuple(range(mask.ndim, array.ndim))), array, noise).astype(array.dtype)


def _output_kept(layer, outputs, mask, name):
    """Returns the outputs without the places that the layer's own output mask takes away."""
    if name != "mask" or not layer.supports_masking or layer.compute_mask(None, mask) is None:
        return outputs
    return outputs[np.asarray(layer.compute_mask(None, mask))]


def _check_policy(policy, make, inputs, training, state, outputs, always_float32, discrete):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = make(name=NAME)
        _call(layer, inputs, training)
        _restore(layer, state)
        low = _call(layer, inputs, training)
    finally:
        keras.config.set_dtype_policy(before)
    wanted = "float32" if always_float32 else policy.removeprefix("mixed_")
    for x, full in zip(tree.flatten(low), tree.flatten(outputs)):
        assert x.dtype.name == (wanted if full.dtype.kind == "f" else full.dtype.name), f"{policy} gives {x.dtype.name}"
    for weight in layer.weights:
        assert weight.dtype == "float32" or "float" not in weight.dtype, f"{weight.path} is {weight.dtype}"
    _check_finite(low)
    if always_float32:
        _check_equal(low, outputs, 0)
    elif not discrete:
        _check_equal(low, outputs, 0.05)


def _trained(inputs, constant):
    """Returns the part of the inputs that has a gradient."""
    return {name: value for name, value in inputs.items()
            if name not in constant and tree.flatten(value)[0].dtype.kind == "f"}


def _weighted_sum(outputs):
    """Returns the floating outputs as one number; every entry has a weight of its own, so that no errors cancel."""
    random = np.random.default_rng(3)
    floats = [x for x in tree.flatten(outputs) if x.dtype.is_floating]
    return sum(tf.reduce_sum(x * tf.constant(random.uniform(0.5, 1.5, x.shape), x.dtype)) for x in floats)


def _gradients(layer, inputs, training, constant):
    """Returns the gradients of inputs and weights as numpy arrays; each must be there and finite."""
    tensors = tree.map_structure(tf.convert_to_tensor, inputs)
    watched = tree.flatten([tensors[name] for name in _trained(inputs, constant)])
    fixed = tree.flatten([tensors[name] for name in constant])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(watched + fixed)
        total = _weighted_sum(_call(layer, tensors, training))
    assert not any(g is not None for g in tape.gradient(total, fixed)), f"a gradient reaches one of {constant}"
    names = [f"input tensor {number}" for number in range(len(watched))] + [w.path for w in layer.trainable_weights]
    gradients = tape.gradient(total, watched + [w.value for w in layer.trainable_weights])
    for name, gradient in zip(names, gradients):
        assert gradient is not None, f"no gradient reaches {name}"
        assert np.isfinite(gradient).all(), f"the gradient of {name} is not finite"
    return [np.asarray(gradient) for gradient in gradients]


def _check_float64(make, inputs, training, constant, state, outputs, gradients, tolerance):
    """Compares float64 with float32, whose kernels may be others, and float64's gradients with differences."""
    inputs = tree.map_structure(lambda x: x.astype("float64") if x.dtype.kind == "f" else x, inputs)
    layer = make(dtype="float64", name=NAME)
    _call(layer, inputs, training)
    _restore(layer, state)
    found = _call(layer, inputs, training)
    assert all(x.dtype != tf.float32 for x in tree.flatten(found)), "float64 gives float32"
    _check_equal(outputs, found, tolerance)
    _restore(layer, state)
    _check_equal(gradients, _gradients(layer, inputs, training, constant), 100 * tolerance)
    _restore(layer, state)
    _check_numerically(layer, inputs, training, constant)


def _check_numerically(layer, inputs, training, constant):
    """Compares gradients with differences, along three random directions of every tensor."""
    random = np.random.default_rng(4)
    trained = _trained(inputs, constant)
    start = [trained, [w.value.numpy() for w in layer.trainable_variables]]
    others = [v.value.numpy() for v in layer.non_trainable_variables]
    directions = [random.normal(size=(3, *x.shape)) for x in tree.flatten(start)]

    @tf.function
    def total(*steps):
        moved = [x + tf.tensordot(step, direction, 1)
                 for x, step, direction in zip(tree.flatten(start), steps, directions)]
        changed, weights = tree.pack_sequence_as(start, moved)
        (_, first), *rest = (inputs | changed).items()
        return _weighted_sum(
            layer.stateless_call(weights, others, first, **dict(rest), **_training(layer, training))[0])

    analytic, numeric = tf.test.compute_gradient(total, [np.zeros(3)] * len(directions), delta=1e-5)
    _check_equal(analytic, numeric, 1e-5)
