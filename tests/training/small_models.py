"""Small models and data for the tests of training."""
import keras
import numpy as np
import tensorflow as tf

FEATURES, CLASSES = 16, 4


def examples(count=1000, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, FEATURES)).astype("float32")
    y = np.argmax(x @ np.random.default_rng(7).normal(size=(FEATURES, CLASSES)), axis=1).astype("int32")
    return tf.data.Dataset.from_tensor_slices(({"x": x}, {"label": y})).cache()


def plain(example, seed):
    return example


def jitter(example, seed):
    inputs, targets = example
    return {"x": inputs["x"] + 0.1 * tf.random.stateless_normal(inputs["x"].shape, seed)}, targets


def classifier(dropout=0.4, norm=None, schedule=True, units=64):
    """norm: None, "plain", "synchronized" or "frozen" (batch norm in inference mode)."""
    x = inputs = keras.Input((FEATURES,), name="x")
    x = keras.layers.Dense(units, "relu")(x)
    if norm:
        layer = keras.layers.BatchNormalization(momentum=0.9, synchronized=norm == "synchronized")
        layer.trainable = norm != "frozen"
        x = layer(x)
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    model = keras.Model({"x": inputs}, {"label": keras.layers.Dense(CLASSES, name="label")(x)})
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 400) if schedule else 1e-2
    model.compile(keras.optimizers.Adam(rate),
                  {"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
                  metrics={"label": "accuracy"})
    return model


class OwnTest(keras.Model):
    """Measures by a mean of its own, which is NaN over no examples."""

    def test_step(self, data):
        inputs, targets = data
        losses = keras.losses.sparse_categorical_crossentropy(targets["label"], self(inputs)["label"], from_logits=True)
        self._loss_tracker.update_state(keras.ops.mean(losses), sample_weight=keras.ops.shape(losses)[0])
        return {"loss": self._loss_tracker.result()}


def own_test():
    inputs = keras.Input((FEATURES,), name="x")
    model = OwnTest({"x": inputs}, {"label": keras.layers.Dense(CLASSES, name="label")(inputs)})
    model.compile("sgd", {"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    return model


class CountedLoss(keras.Model):
    """Its loss is normalised by a count that differs from replica to replica: the examples of the first two classes."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(CLASSES)
        self.mean_loss = keras.metrics.Mean("loss")

    @property
    def metrics(self):
        return [self.mean_loss]

    def call(self, inputs):
        return self.dense(inputs["x"])

    def train_step(self, data):
        from training.engine import strategies

        inputs, targets = data
        chosen = tf.cast(targets["label"] < 2, tf.float32)
        count = strategies.global_sum(tf.reduce_sum(chosen))
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(targets["label"], self(inputs), from_logits=True)
            loss = tf.reduce_sum(losses * chosen) / count
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_variables), self.trainable_variables))
        self.mean_loss.update_state(strategies.global_sum(loss))
        return {"loss": self.mean_loss.result()}


class Adversaries(keras.Model):
    """A generator and a discriminator: two optimizers, a train_step of its own, and random numbers in it."""

    def __init__(self, latent=8):
        super().__init__()
        self.latent = latent
        self.generator = keras.Sequential(
            [keras.Input((latent,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(FEATURES)])
        self.discriminator = keras.Sequential(
            [keras.Input((FEATURES,)), keras.layers.Dense(32, "relu"), keras.layers.Dropout(0.3),
             keras.layers.Dense(1)])
        self.seed_generator = keras.random.SeedGenerator(3)
        self.d_loss, self.g_loss = keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def compile(self, d_optimizer, g_optimizer):
        super().compile(optimizer=None)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        d_optimizer.build(self.discriminator.trainable_variables)
        g_optimizer.build(self.generator.trainable_variables)

    def train_step(self, data):
        real = data[0]["x"]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync

        def entropy(logits, label):
            target = label * keras.ops.ones_like(logits)
            return keras.ops.mean(keras.ops.binary_crossentropy(target, logits, from_logits=True))

        def noise():
            return keras.random.normal((keras.ops.shape(real)[0], self.latent), seed=self.seed_generator)

        with tf.GradientTape() as tape:
            fake = self.generator(noise(), training=True)
            d_loss = entropy(self.discriminator(real, training=True), 1.0)
            d_loss += entropy(self.discriminator(fake, training=True), 0.0)
            scaled = d_loss / replicas
        variables = self.discriminator.trainable_variables
        self.d_optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables))
        with tf.GradientTape() as tape:
            g_loss = entropy(self.discriminator(self.generator(noise(), training=True), training=True), 1.0)
            scaled = g_loss / replicas
        variables = self.generator.trainable_variables
        self.g_optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables))
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


def adversaries():
    model = Adversaries()
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-3))
    return model


def variables(model):
    """Returns all that training changes, as arrays in a fixed order."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    found = model.variables + [v for optimizer in optimizers for v in optimizer.variables]
    return [v.numpy() for v in {id(v): v for v in found}.values()]
