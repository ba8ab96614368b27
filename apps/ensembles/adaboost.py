"""AdaBoost for several classes (C11): each network concentrates on the errors of earlier ones."""
import tensorflow as tf
from keras import ops

from apps.ensembles import members, systems


def build_model(config, spec, steps):
    """Returns a compiled ensemble boosted by SAMME, see `AdaBoost`.

    Raises:
        UserError: the epochs are not a multiple of the members, or too few.
    """
    return members.compiled(AdaBoost, config, spec, steps, train_examples=spec.info.train_examples,
                            evaluation_steps=steps // config.epochs)


class AdaBoost(members.Ensemble):
    """Networks trained one after another on weighted examples; misclassified examples get more weight for the next one.

        loss[m] = mean_i w_i cross_entropy(y[m](x_i), label_i)                          w_i = 1 at first, sum w = n
        error   = sum_i w_i [argmax y[m](x_i) != label_i] / sum_i w_i
        alpha_m = log((1 - error) / error) + log(K - 1)
        w_i <- w_i exp(alpha_m [argmax y[m](x_i) != label_i]),  then scaled to sum n
        answer  = argmax_k sum_m alpha_m [argmax y[m](x) = k],   p = softmax(the same sums)

    The last epoch of a member only evaluates it on all examples, and the last step of that epoch sets alpha and the weights. A
    member that is not better than guessing, with an error of at least 1 - 1/K, gets alpha 0 and does not change the weights.
    An error below the share of half an example is raised to it, because a member without errors would otherwise outvote all
    others.

    The arguments are those of `members.Ensemble`, and

    train_examples: n, size of the training split

    Example:
        >>> import numpy as np
        >>> from apps.ensembles.adaboost import AdaBoost
        >>> model = AdaBoost((8, 8, 1), classes=10, train_examples=100, members=3)
        >>> outputs = model({"image": np.zeros((2, 8, 8, 1), "uint8")})
        >>> outputs["boosting"].shape, model.own_metrics()
        (TensorShape([2, 3, 10]), {'alphas': [0.0, 0.0, 0.0]})

    Source: Zhu et al., 2009, "Multi-class AdaBoost", algorithm 2; probabilities: eq. 11 with beta = (K - 1)^2 / K alpha,
    which is their softmax.
    What differs: the treatment of members without errors or not better than guessing, which the paper does not define.
    """

    combinations = ("boosting",)
    is_staged = systems.AdaBoost.STAGED

    def __init__(self, image_shape, classes, *, train_examples, mean=128.0, std=64.0, members=20, hidden=16, depth=1, steps=1000,
                 evaluation_steps=10):
        super().__init__(image_shape, classes, mean=mean, std=std, members=members, hidden=hidden, depth=depth, steps=steps,
                         evaluation_steps=evaluation_steps, name="adaboost")
        self.train_examples = train_examples
        self.example_weights = self.state("example_weights", (train_examples,), 1.0)
        self.right = self.state("right", (train_examples,), 0.0)  # 1 where the member that is evaluated is right
        self.alphas = self.state("alphas", (members,), 0.0)

    def count_params(self):
        return super().count_params() + self.members  # their alphas

    def losses(self, outputs, pixels, targets, step):
        return ops.take(self.example_weights, targets["index"]) * super().losses(outputs, pixels, targets, step)

    def note(self, outputs, targets, step):
        super().note(outputs, targets, step)
        stage = self.stage(step)
        place = ops.cast(step, "int32") - stage * self.stage_steps
        is_right = ops.argmax(outputs[0], axis=-1) == targets["label"]
        before = ops.where(place > self.stage_steps - self.evaluation_steps, members.read(self.right), 0.0)
        right = ops.maximum(before, members.by_row(targets["index"], is_right, self.train_examples))
        self.right.assign(right)
        is_last = place == self.stage_steps - 1
        weights = members.read(self.example_weights)
        alpha, changed = samme(weights, right, self.classes)
        self.example_weights.assign(ops.where(is_last, changed, weights))
        is_member = ops.logical_and(is_last, ops.arange(self.members) == stage)
        self.alphas.assign(ops.where(is_member, alpha, members.read(self.alphas)))

    def combined(self, outputs, pixels):
        sums = ops.cumsum(self.alphas[:, None] * members.votes(outputs), axis=1)
        return {"boosting": ops.softmax(sums)}

    def own_metrics(self):
        """Returns {"alphas"}: each member's weight in the sum."""
        return {"alphas": ops.convert_to_numpy(self.alphas).tolist()}


def samme(weights, right, classes):
    """Returns (alpha, the next weights) of a member.

    weights: (examples,), with the number of examples as their sum
    right:   (examples,), 1 if the member is right, otherwise 0
    classes: number of classes
    """
    examples = weights.shape[0]
    error = tf.maximum(ops.sum(weights * (1 - right)) / ops.sum(weights), 0.5 / examples)
    alpha = ops.log((1 - error) / error) + ops.log(classes - 1.0)
    alpha = ops.where(error < 1 - 1 / classes, alpha, 0.0)
    changed = weights * ops.exp(alpha * (1 - right))
    return alpha, changed * examples / ops.sum(changed)
