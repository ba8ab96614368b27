"""Common parts of the systems: parallel small networks, their optimizer, and ways to combine them."""
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from training.config import UserError
from training.engine import optimizers
from training.engine.step import gradient_step

_MOMENTUM = 0.9


@keras.saving.register_keras_serializable(package="apps")
class Networks(keras.layers.Layer):
    """Fully connected networks that are computed in parallel.

        x_0 = x,  x_l[m] = relu(x_(l-1)[m] W_l[m] + b_l[m]),  y[m] = x_depth[m] W[m] + b[m]

    members:  number of networks, m = 0, 1, …
    hidden:   units of each hidden layer; 0: no hidden layers, which is softmax regression
    depth:    hidden layers of each network
    classes:  outputs of each network
    is_alike: whether all start from the same weights; otherwise each has its own, by He before a ReLU and by Glorot elsewhere

    Shape:
        inputs:  (batch, features)
        returns: (batch, members, classes) float32

    Example:
        >>> import numpy as np
        >>> from apps.ensembles.members import Networks
        >>> Networks(3, hidden=8, depth=1, classes=10)(np.zeros((2, 64))).shape
        TensorShape([2, 3, 10])
    """

    def __init__(self, members, hidden, depth, classes, is_alike=False, **kwargs):
        super().__init__(**kwargs)
        self.members, self.hidden, self.depth, self.classes = members, hidden, depth, classes
        self.is_alike = is_alike

    def build(self, inputs_shape):
        sizes = [inputs_shape[-1], *([self.hidden] * self.depth if self.hidden else []), self.classes]
        self.matrices = []
        for number, (rows, columns) in enumerate(zip(sizes, sizes[1:])):
            kind = keras.initializers.GlorotUniform if number == len(sizes) - 2 else keras.initializers.HeNormal
            self.matrices += [  # without autocast, so that their means are in float32
                self.add_weight(name=f"kernel{number + 1}", shape=(self.members, rows, columns), initializer=self._drawn(kind),
                                autocast=False),
                self.add_weight(name=f"bias{number + 1}", shape=(self.members, columns), initializer="zeros", autocast=False)]

    def _drawn(self, kind):
        """Returns an initializer that draws each network's matrix by itself: all together would count as one large kernel."""
        def initializer(shape, dtype=None):
            one = kind()((*shape[1:],), dtype)
            return ops.stack([one] + [one if self.is_alike else kind()((*shape[1:],), dtype) for _ in range(shape[0] - 1)])
        return initializer

    def tensors(self, member=None):
        """Returns the kernels and biases of all networks, or of a single one with the first axis kept.

        The gradient with respect to the variables is dense and 0 for all other networks.
        """
        values = [read(weight) for weight in self.matrices]
        return values if member is None else [value[member][None] for value in values]

    def apply(self, inputs, tensors):
        """Returns the outputs (networks, batch, classes) float32 for inputs (batch, features) and the result of `tensors`."""
        inputs, *tensors = (ops.cast(tensor, self.compute_dtype) for tensor in (inputs, *tensors))
        x = ops.einsum("bi,mio->mbo", inputs, tensors[0]) + tensors[1][:, None]
        for kernel, bias in zip(tensors[2::2], tensors[3::2]):
            x = ops.matmul(ops.relu(x), kernel) + bias[:, None]
        return ops.cast(x, "float32")

    def call(self, inputs):
        return ops.transpose(self.apply(inputs, self.tensors()), (1, 0, 2))

    def rows(self, outputs):
        """Returns (name, output shape, parameters, multiply-adds) of each affine layer of all networks for `outputs`."""
        return [(f"layer{number}", str((outputs.shape[0], *bias.shape)), int(np.prod(kernel.shape)) + int(np.prod(bias.shape)),
                 outputs.shape[0] * int(np.prod(kernel.shape)))
                for number, (kernel, bias) in enumerate(zip(self.matrices[::2], self.matrices[1::2]), 1)]

    def averaged(self, inputs):
        """Returns the outputs (batch, members, classes) of networks with the mean weights of the first 1, 2, … members."""
        return ops.transpose(self.apply(inputs, [means(tensor, 0) for tensor in self.tensors()]), (1, 0, 2))

    def compute_output_shape(self, inputs_shape):
        return inputs_shape[0], self.members, self.classes

    def get_config(self):
        return super().get_config() | {
            "members": self.members, "hidden": self.hidden, "depth": self.depth, "classes": self.classes,
            "is_alike": self.is_alike}


class Momentum(keras.optimizers.SGD):
    """Gradient descent with Nesterov momentum for parallel networks, of which only some are trained at a time.

        g <- g + decay w                        of kernels
        v[m] <- 0.9 v[m] - rate[m] g[m],  w[m] <- w[m] + 0.9 v[m] - rate[m] g[m]        rate[m] = rate * trained(step)[m]

    A network with rate 0 does not change, and starts without momentum later.

    rate:    number or schedule
    trained: step -> (members,) float32 of 0 and 1
    decay:   fraction of each kernel that is added to its gradient
    """

    def __init__(self, rate, trained, decay):
        super().__init__(rate, momentum=_MOMENTUM, nesterov=True, name="momentum")
        self.trained, self.decay = trained, decay

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.momentums[self._get_variable_index(variable)]
        rates = ops.cast(learning_rate, "float32") * self.trained(read(self.iterations))
        rates = ops.reshape(rates, (-1,) + (1,) * (len(variable.shape) - 1))
        if len(variable.shape) > 2:
            gradient = gradient + self.decay * variable
        step = -rates * gradient
        moved = ops.where(rates > 0, _MOMENTUM * velocity, 0.0) + step
        self.assign(velocity, moved)
        self.assign_add(variable, ops.where(rates > 0, _MOMENTUM * moved + step, 0.0))


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate with warmup and cosine decay in each stage, see `training.engine.optimizers.warmup_cosine`, and 0 in its
    last steps.

    peak:       highest rate
    steps:      steps of a stage
    zero_steps: number of last steps with rate 0
    """

    def __init__(self, peak, steps, zero_steps=0):
        self.peak, self.steps, self.zero_steps = peak, steps, zero_steps
        self.moving = max(1, steps - zero_steps)
        self.rate = optimizers.warmup_cosine(peak, self.moving)

    def __call__(self, step):
        place = ops.cast(step, "int32") % self.steps
        return ops.where(place < self.moving, ops.cast(self.rate(place), "float32"), 0.0)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "zero_steps": self.zero_steps}


class Ensemble(keras.Model):
    """Networks that are trained in parallel on the same batches, and ways to combine them.

    Outputs, each (batch, members, classes): "members", their softmax; and for each of `combinations` the probabilities of the
    first 1, 2, … members together:

        probabilities:  p = 1/M sum_m softmax(y[m])
        vote:           p_k = 1/M sum_m [argmax y[m] = k]
        parameters:     p = softmax(network with weights 1/M sum_m w[m])

    A system may override which members are trained when (`stage`, `trained`), the learning rate (`rate`), the loss (`losses`)
    and gradient (`changed_gradients`), the state after each step (`note`), and `combinations`; `own_metrics` are its
    additional metrics.

    image_shape:      (height, width, channels) of the images
    classes:          number of classes
    mean, std:        mean and standard deviation of the training pixels, from 0 to 255: a number for each channel, or one for all
    members:          number of networks
    hidden:           ReLU units of each hidden layer; 0: no hidden layers, which is softmax regression
    depth:            hidden layers of each network
    combine:          the one of `combinations` that `answer` uses; None: the first one
    steps:            steps of the whole training
    evaluation_steps: number of last steps of each stage, which only evaluate
    is_alike:         whether all networks start from the same weights
    """

    combinations = ("probabilities", "vote", "parameters")
    is_staged = False
    """whether the members are trained one after another, each in its own stage; otherwise there is a single stage"""

    def __init__(self, image_shape, classes, *, mean, std, members, hidden, depth, steps, combine=None, evaluation_steps=0,
                 is_alike=False, name=None):
        super().__init__(name=name)
        self.combine = combine or self.combinations[0]
        if self.combine not in self.combinations:
            raise UserError(f"--combine {self.combine} is not available for {name}: choose one of {', '.join(self.combinations)}")
        self.members, self.classes, self.channels = members, classes, image_shape[-1]
        self.stage_steps = max(1, steps // (members if self.is_staged else 1))
        self.evaluation_steps = evaluation_steps
        self.standardize = keras.layers.Normalization(
            mean=mean, variance=np.square(std).tolist(), dtype="float32", name="standardize")
        self.networks = Networks(members, hidden, depth, classes, is_alike, name="networks")
        self.standardize.build((None, *image_shape))
        self.networks.build((None, math.prod(image_shape)))
        self.started = self.state("started", (), 1 if self.is_staged else members, "int32")  # members that count
        self.loss_mean = keras.metrics.Mean("loss")
        self.built = True

    def state(self, name, shape, start, dtype="float32"):
        """Returns a variable for the state of training, with the same type in any precision; `start` is a number or an
        array."""
        def initializer(shape, dtype=None):
            return ops.broadcast_to(ops.convert_to_tensor(start, dtype), shape)

        return self.add_weight(name=name, shape=shape, dtype=dtype, initializer=initializer, trainable=False, autocast=False,
                               aggregation="only_first_replica")

    @property
    def metrics(self):
        return [self.loss_mean]

    def count_params(self):
        """Returns the number of parameters for prediction, without any `state` that only training uses."""
        return self.networks.count_params()

    def pixels(self, images):
        """Returns uint8 images (batch, height, width, channels) as standardized (batch, features)."""
        images = self.standardize(ops.cast(images, "float32"))
        return ops.reshape(images, (-1, self.networks.matrices[0].shape[1]))

    def call(self, inputs, training=False):
        pixels = self.pixels(inputs["image"])
        outputs = self.networks(pixels)
        return {"members": ops.softmax(outputs)} | self.combined(outputs, pixels)

    def combined(self, outputs, pixels):
        """Returns {combination: (batch, members, classes)} of the members' outputs (batch, members, classes)."""
        made = {"probabilities": means(ops.softmax(outputs), 1), "vote": means(votes(outputs), 1)}
        return made | ({"parameters": ops.softmax(self.networks.averaged(pixels))} if "parameters" in self.combinations else {})

    def answer(self, outputs):
        """Returns the probabilities (batch, classes) of all active members, combined by `combine`."""
        return ops.take(outputs[self.combine], self.started - 1, axis=1)

    def rate(self, peak):
        """Returns the learning rate schedule with the maximum `peak`."""
        return WarmupCosine(peak, self.stage_steps, self.evaluation_steps)

    def stage(self, step):
        """Returns the number of the stage, and of the member that it trains."""
        return ops.minimum(ops.cast(step, "int32") // self.stage_steps, self.members - 1)

    def trained(self, step):
        """Returns 1 for each member that is trained in this step, (members,) float32."""
        numbers = ops.arange(self.members)
        return ops.cast(numbers == self.stage(step) if self.is_staged else numbers >= 0, "float32")

    def losses(self, outputs, pixels, targets, step):
        """Returns the losses (networks, batch) of the networks in training; outputs: (networks, batch, classes)."""
        return cross_entropy(outputs, targets["label"])

    def changed_gradients(self, gradients):
        """Returns the gradients for the optimizer from those with respect to `networks.matrices`; by default unchanged."""
        return gradients

    def note(self, outputs, targets, step):
        """Saves the state that later steps need; outputs: (networks, batch, classes), from before the update."""
        if self.is_staged:
            self.started.assign(self.stage(step) + 1)

    def own_metrics(self):
        """Returns the additional metrics of this system, {metric: number or list}; by default none."""
        return {}

    def train_step(self, batch):
        inputs, targets = batch
        step = read(self.optimizer.iterations)
        pixels = self.pixels(inputs["image"])

        def losses_of():
            tensors = self.networks.tensors(self.stage(step) if self.is_staged else None)
            outputs = self.networks.apply(pixels, tensors)
            losses = self.losses(outputs, pixels, targets, step)
            return ops.sum(ops.mean(losses, axis=1)), losses, outputs

        _, losses, outputs = gradient_step(self.optimizer, self.networks.matrices, losses_of, change=self.changed_gradients)
        self.optimizer.iterations.assign(step + 1)  # also where float16 skipped the step, or stages would outlast their epochs
        self.note(outputs, targets, step)
        self.loss_mean.update_state(ops.mean(losses))
        return {"loss": self.loss_mean.result()}


def compiled(kind, config, spec, steps, **own):
    """Returns an ensemble of the class `kind`, compiled for `steps` steps; `own`: arguments of only some classes.

    Raises:
        UserError: the epochs cannot be divided among the members.
    """
    config.check_epochs()
    model = kind(tuple(spec.inputs["image"].shape[1:]), len(spec.info.class_names), mean=spec.info.mean, std=spec.info.std,
                 members=config.members, hidden=config.hidden, depth=config.depth, steps=steps, **own)
    model.compile(optimizer=Momentum(model.rate(config.learning_rate), model.trained, config.weight_decay))
    return model


def read(variable):
    """Returns the current value of a Keras variable as a tensor, which later assignments do not change."""
    return tf.convert_to_tensor(variable.value)


def cross_entropy(outputs, labels):
    """Returns the cross-entropies (networks, batch) of outputs (networks, batch, classes) with labels (batch,)."""
    return ops.sparse_categorical_crossentropy(ops.broadcast_to(labels[None], ops.shape(outputs)[:2]), outputs, from_logits=True)


def votes(outputs):
    """Returns 1 for the class that each member predicts and 0 for the others; ties go to the first class."""
    return ops.one_hot(ops.argmax(outputs, axis=-1), outputs.shape[-1], dtype="float32")


def means(values, axis):
    """Returns the means of the first 1, 2, … members along their axis."""
    counts = ops.arange(1, values.shape[axis] + 1, dtype=values.dtype)
    return ops.cumsum(values, axis=axis) / ops.reshape(counts, (-1,) + (1,) * (len(values.shape) - axis - 1))


def by_row(rows, values, examples):
    """Returns the values of a batch (batch,) from all replicas at their rows of the training split, (examples,); 0 elsewhere.

    Duplicate rows in a batch count once.
    """
    values = ops.cast(values, "float32")
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        rows, values = replica.all_gather(rows, axis=0), replica.all_gather(values, axis=0)
    return tf.tensor_scatter_nd_max(tf.zeros((examples,)), rows[:, None], values)
