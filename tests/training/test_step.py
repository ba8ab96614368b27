"""One gradient step does what one that is written out by hand does, in every precision and on any number of replicas."""
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from training.engine import step, strategies

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(8, 5)).astype("float32")
TARGETS = RANDOM.normal(size=(8, 3)).astype("float32")
WORDS = np.array([[1, 2], [2, 2], [4, 1], [1, 1], [2, 4], [4, 4], [1, 2], [2, 1]], "int32")  # never 0 or 3
SCALE = 2.0 ** 10
"""of the loss in float16: Keras begins with 2^15, and comes down to about this one after some steps that are skipped"""


class Affine(keras.Model):
    """Squared errors of a dense layer, or of an embedding below it."""

    def __init__(self, words=False, share=False, change=None):
        super().__init__()
        self.embed = keras.layers.Embedding(5, 5) if words else None
        self.dense = keras.layers.Dense(3)
        self.share, self.change = share, change
        if words:
            self.embed.build((None, 2))
        self.dense.build((None, 5))
        self.built = True

    def call(self, inputs):
        return self.dense(inputs if self.embed is None else ops.mean(self.embed(inputs), axis=1))

    def losses_of(self, inputs, targets):
        errors = ops.sum((ops.cast(self(inputs), "float32") - targets) ** 2, axis=-1)
        loss = ops.sum(errors) / strategies.global_sum(float(errors.shape[0])) if self.share else ops.mean(errors)
        return loss, errors

    def train_step(self, batch):
        loss, errors = step.gradient_step(self.optimizer, self.trainable_variables, lambda: self.losses_of(*batch),
                                          is_share=self.share, change=self.change)
        return loss, errors


def made(optimizer=None, inputs=INPUTS, **settings):
    keras.utils.set_random_seed(1)
    model = Affine(words=inputs.dtype == np.int32, **settings)
    model.compile(optimizer or keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        model.optimizer.dynamic_scale.assign(SCALE)
    return model


def call(model, mode="graph"):
    return {"eager": lambda f: f, "graph": tf.function, "xla": tf.function(jit_compile=True).__call__}[mode](model.train_step)


def moved(model, inputs=INPUTS, steps=3, mode="graph"):
    """Returns the weights after some steps, and what the last step returned."""
    train_step = call(model, mode)
    for _ in range(steps):
        returned = train_step((inputs, TARGETS))
    return model.get_weights(), returned


def by_hand(optimizer, inputs=INPUTS, steps=3, change=lambda gradients: gradients):
    """Returns the weights after the same steps, written out for float32 on one device."""
    model = made(optimizer, inputs)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss, errors = model.losses_of(inputs, TARGETS)
        variables = model.trainable_variables
        optimizer.apply(change(tape.gradient(loss, [v.value for v in variables])), variables)
    return model.get_weights(), (loss, errors)


def number(variable):
    return keras.ops.convert_to_numpy(variable).item()


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1), "clipped": lambda: keras.optimizers.Adam(0.1, global_clipnorm=0.3),
    "scaled": lambda: keras.optimizers.SGD(0.1, momentum=0.9, clipnorm=0.5, loss_scale_factor=64.0)}


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equals_a_step_by_hand(name, mode):
    start = made().get_weights()
    expected, (loss, errors) = by_hand(OPTIMIZERS[name]() if name != "scaled" else keras.optimizers.SGD(0.1, 0.9, clipnorm=0.5))
    found, returned = moved(made(OPTIMIZERS[name]()), mode=mode)
    assert_close(found, expected)
    assert_close(returned, (loss, errors))
    assert max(np.abs(a - b).max() for a, b in zip(found, start)) > 1e-2


@pytest.mark.parametrize("name", ["sgd", "scaled"])
@pytest.mark.parametrize("inputs", [INPUTS, WORDS], ids=["dense", "sparse"])
def test_change_gets_and_gives_true_gradients(inputs, name):
    seen = []

    def change(gradients):
        seen[:] = gradients
        return [gradient * 0.5 for gradient in gradients]

    settings = dict(momentum=0.9, loss_scale_factor=64.0) if name == "scaled" else {}
    found, _ = moved(made(keras.optimizers.SGD(0.1, **settings), inputs, change=change), inputs, 1, mode="eager")
    halved = keras.optimizers.SGD(0.05)
    expected, _ = by_hand(halved, inputs, steps=1)
    assert_close(found, expected)
    assert_close([-0.05 * gradient for gradient in seen],
                 [a - b for a, b in zip(expected, made(halved, inputs).get_weights())], atol=1e-5)


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("inputs, has_change", [(INPUTS, False), (WORDS, True)], ids=["plain", "sparse and changed"])
def test_float16_moves_as_far_as_float32(precision, mode, inputs, has_change):
    seen = []

    def change(gradients):
        seen.append([tf.convert_to_tensor(gradient) for gradient in gradients])
        return [0.5 * gradient for gradient in gradients]

    model = made(keras.optimizers.SGD(0.1, global_clipnorm=5.0), inputs, change=change if has_change else None)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    start = model.get_weights()
    found, (loss, _) = moved(model, inputs, steps=3, mode=mode)
    assert number(model.optimizer.dynamic_scale) == SCALE and number(model.optimizer.step_counter) == 3  # none was skipped
    if mode == "eager" and has_change:
        assert max(np.abs(gradient).max() for gradient in seen[0]) < 20  # and not times 2^10
    keras.config.set_dtype_policy("float32")
    expected, (expected_loss, _) = by_hand(
        keras.optimizers.SGD(0.1, global_clipnorm=5.0), inputs,
        change=(lambda gradients: [0.5 * tf.convert_to_tensor(gradient) for gradient in gradients]) if has_change else list)
    travelled = [a - b for a, b in zip(expected, start)]
    assert max(np.abs(way).max() for way in travelled) > 0.02
    assert_close([a - b for a, b in zip(found, start)], travelled, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(loss, expected_loss, rtol=0.01)


class Watched(keras.optimizers.SGD):
    """Notes in which type a loss is scaled."""

    def scale_loss(self, loss):
        self.dtype = loss.dtype
        return super().scale_loss(loss)


@pytest.mark.parametrize("dtype, scaled", [("float16", tf.float32), ("bfloat16", tf.float32), ("float32", tf.float32),
                                           ("float64", tf.float64)])
def test_a_loss_is_scaled_in_float32_or_float64(dtype, scaled):
    weight = keras.Variable(np.ones(3), dtype="float32")
    optimizer = Watched(0.5, loss_scale_factor=8.0)
    optimizer.build([weight])
    loss = step.gradient_step(optimizer, [weight], lambda: ops.sum(ops.cast(weight, dtype)))
    assert loss.dtype == tf.as_dtype(dtype) and float(loss) == 3 and optimizer.dtype == scaled
    np.testing.assert_array_equal(weight.numpy(), np.full(3, 0.5))


def test_float64_stays():
    weight = keras.Variable(np.ones(3), dtype="float64")
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([weight])
    loss = step.gradient_step(optimizer, [weight], lambda: tf.reduce_sum(tf.exp(weight.value * 1e-12)))
    assert loss.dtype == tf.float64
    np.testing.assert_allclose(weight.numpy(), 1 - 1e-12, rtol=1e-16)  # which float32 takes for 1


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("has_change", [False, True], ids=["plain", "clipped"])
def test_an_overflow_skips_the_step_whatever_is_made_of_it(precision, has_change):
    model = made(change=(lambda gradients: [ops.clip(g, -1, 1) for g in gradients]) if has_change else None)
    start = model.get_weights()
    train_step = tf.function(model.train_step)
    train_step((np.where(INPUTS == INPUTS[0, 0], np.inf, INPUTS).astype("float32"), TARGETS))
    assert_close(model.get_weights(), start, rtol=0, atol=0)
    assert number(model.optimizer.dynamic_scale) == SCALE / 2 and number(model.optimizer.iterations) == 0
    train_step((INPUTS, TARGETS))
    assert number(model.optimizer.iterations) == 1 and np.isfinite(model.get_weights()[0]).all()


@pytest.fixture(scope="module")
def mirrored():
    return strategies.make("mirrored")


def on_two(mirrored, inputs, steps=3, halves=None, **settings):
    """Returns the model after it has trained on two replicas with half of the batch each."""
    with mirrored.scope():
        model = made(keras.optimizers.SGD(0.1, momentum=0.9), inputs, **settings)
    halves = halves or [(inputs[:4], TARGETS[:4]), (inputs[4:], TARGETS[4:])]
    batch = mirrored.experimental_distribute_values_from_function(
        lambda context: tuple(map(tf.constant, halves[context.replica_id_in_sync_group])))
    train_step = tf.function(lambda batch: mirrored.run(model.train_step, args=(batch,)))
    for _ in range(steps):
        train_step(batch)
    return model


def whole_norm(gradients):
    """Bounds the norm of the whole batch's gradient, as memory networks do."""
    gradients = strategies.global_sum(gradients)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    factor = 0.3 / tf.linalg.global_norm(gradients) / replicas  # the optimizer sums them once more
    return [gradient * factor for gradient in gradients]


@pytest.mark.parametrize("inputs, settings", [(INPUTS, {}), (WORDS, dict(share=True)), (WORDS, dict(change=whole_norm))],
                         ids=["mean", "sparse share", "sparse and changed"])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"], indirect=True)
def test_two_replicas_move_as_one(mirrored, precision, inputs, settings):
    two = on_two(mirrored, inputs, **settings)
    assert number(two.optimizer.iterations) == 3
    one, _ = moved(made(keras.optimizers.SGD(0.1, momentum=0.9), inputs, **settings), inputs)
    close = dict(rtol=1e-5, atol=1e-6) if precision == "float32" else dict(rtol=0.02, atol=2e-3)
    assert_close(two.get_weights(), one, **close)
    assert max(np.abs(a - b).max() for a, b in zip(one, made(inputs=inputs).get_weights())) > 0.02


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("bad", [0, 1])
def test_an_overflow_on_one_replica_skips_the_step_on_both(mirrored, precision, bad):
    halves = [(INPUTS[:4], TARGETS[:4]), (INPUTS[4:], TARGETS[4:])]
    halves[bad] = (np.full_like(INPUTS[:4], np.inf), halves[bad][1])
    model = on_two(mirrored, INPUTS, steps=1, halves=halves)
    assert_close(model.get_weights(), made().get_weights(), rtol=0, atol=0)
    assert number(model.optimizer.dynamic_scale) == SCALE / 2


def test_losses_may_be_a_scalar_alone_and_variables_none():
    model = made()
    loss = step.gradient_step(model.optimizer, model.trainable_variables, lambda: model.losses_of(INPUTS, TARGETS)[0])
    assert loss.shape == () and number(model.optimizer.iterations) == 1
    assert step.gradient_step(None, [], lambda: (loss, "anything")) == (loss, "anything")


def test_one_network_of_several_in_a_variable_trains_alone():
    networks = keras.Variable(RANDOM.normal(size=(4, 5, 3)), dtype="float32")
    before = networks.numpy()
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build([networks])

    @tf.function
    def train_step(member):
        def losses_of():
            kernel = ops.take(networks, member[None], axis=0)[0]
            return ops.mean((ops.matmul(INPUTS, kernel) - TARGETS) ** 2)
        return step.gradient_step(optimizer, [networks], losses_of)

    train_step(tf.constant(2))
    change = np.abs(networks.numpy() - before).max(axis=(1, 2))
    assert change[2] > 1e-3 and change[[0, 1, 3]].max() == 0


def test_networks_in_one_variable_may_share_a_gradient():
    """As copies do that move with the one that is trained."""
    networks = keras.Variable(np.tile(RANDOM.normal(size=(1, 5, 3)), (4, 1, 1)), dtype="float32")
    alone = keras.Variable(networks[2], dtype="float32")
    optimizers = [keras.optimizers.SGD(0.1, loss_scale_factor=64.0), keras.optimizers.SGD(0.1)]
    for optimizer, variable in zip(optimizers, (networks, alone)):
        optimizer.build([variable])

    def loss_of(kernel):
        return ops.mean((ops.matmul(INPUTS, kernel) - TARGETS) ** 2)

    kernel = ops.take(networks, [2], axis=0)
    _, gradients = step.scaled_gradients(optimizers[0], [kernel], lambda: loss_of(kernel[0]))
    step.apply_scaled(optimizers[0], [ops.broadcast_to(gradients[0], networks.shape)], [networks])
    step.gradient_step(optimizers[1], [alone], lambda: loss_of(alone))
    np.testing.assert_allclose(networks.numpy(), np.tile(alone.numpy(), (4, 1, 1)), rtol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
def test_halves_of_a_step_take_gradients_by_inputs_and_sums_of_gradients(precision):
    model, other = made(keras.optimizers.SGD(0.1)), made(keras.optimizers.SGD(0.1))
    variables, pixels = model.trainable_variables, tf.constant(INPUTS)

    @tf.function
    def train_step():
        (_, errors), (*gradients, by_pixels) = step.scaled_gradients(
            model.optimizer, [*variables, pixels], lambda: model.losses_of(pixels, TARGETS))
        _, again = step.scaled_gradients(model.optimizer, variables, lambda: model.losses_of(pixels, TARGETS))
        step.apply_scaled(model.optimizer, [(a + b) / 2 for a, b in zip(gradients, again)], variables)
        return errors, by_pixels

    errors, by_pixels = train_step()
    assert errors.shape == (8,)
    kernel, bias = other.get_weights()
    expected = 2 / 8 * (INPUTS @ kernel + bias - TARGETS) @ kernel.T
    np.testing.assert_allclose(by_pixels / SCALE, expected, rtol=0.02, atol=0.02)
    assert_close(model.get_weights(), moved(other, steps=1)[0], rtol=1e-3, atol=1e-4)
