"""AdaBoost for several classes (C11): each network on what the ones before it got wrong."""
import keras
import tensorflow as tf
from keras import ops

from apps.ensembles import members

MONITOR = None  # the last weights count: they hold all members


def build_model(config, spec):
    """Returns a compiled ensemble that is boosted by SAMME, see `AdaBoost`."""
    return AdaBoost(config, spec)


class AdaBoost(members.Ensemble):
    """Networks one after the other, each on weighted examples; what it gets wrong weighs more for the next one.

        loss[m] = mean_i w_i cross_entropy(y[m](x_i), label_i)                          w_i = 1 at first, sum w = n
        error   = sum_i w_i [argmax y[m](x_i) != label_i] / sum_i w_i
        alpha_m = log((1 - error) / error) + log(K - 1)
        w_i <- w_i exp(alpha_m [argmax y[m](x_i) != label_i]),  then scaled to sum n
        answer  = argmax_k sum_m alpha_m [argmax y[m](x) = k],   p = softmax(the same sums)

    In the last epoch of a member nothing is trained: it says of every example whether it is right, and the last step of that
    epoch sets alpha and the weights. A member at or below guessing, with an error of 1 - 1/K or more, gets alpha 0 and leaves
    the weights. An error below half an example's share counts as that, or a member without errors would be the only one.

    Source: Zhu et al., 2009, "Multi-class AdaBoost", algorithm 2; probabilities: eq. 11 with beta = (K - 1)^2 / K alpha,
    which is their softmax.
    What differs: what the paper leaves open, members without errors and below guessing.
    """

    combinations = ("boosting",)

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.example_weights = self.state("example_weights", (self.examples,), 1.0)
        self.right = self.state("right", (self.examples,), 0.0)  # what the member in judgement has right
        self.alphas = self.state("alphas", (self.members,), 0.0)

    def count_params(self):
        return super().count_params() + self.members  # their alphas

    def losses(self, outputs, pixels, targets, step):
        return ops.take(self.example_weights, targets["index"]) * super().losses(outputs, pixels, targets, step)

    def note(self, outputs, targets, step):
        super().note(outputs, targets, step)
        stage = self.stage(step)
        place = ops.cast(step, "int32") - stage * self.stage_steps
        judged = ops.argmax(outputs[0], axis=-1) == targets["label"]
        before = ops.where(place > self.stage_steps - self.still_steps, members.read(self.right), 0.0)
        right = ops.maximum(before, members.by_row(targets["index"], judged, self.examples))
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
        return {"alphas": keras.ops.convert_to_numpy(self.alphas).tolist()}


def samme(weights, right, classes):
    """Returns (alpha, the next weights) of a member.

    weights: (examples,), sum as many as they are
    right:   (examples,), 1 where the member is right, else 0
    """
    examples = weights.shape[0]
    error = tf.maximum(ops.sum(weights * (1 - right)) / ops.sum(weights), 0.5 / examples)
    alpha = ops.log((1 - error) / error) + ops.log(classes - 1.0)
    alpha = ops.where(error < 1 - 1 / classes, alpha, 0.0)
    changed = weights * ops.exp(alpha * (1 - right))
    return alpha, changed * examples / ops.sum(changed)
