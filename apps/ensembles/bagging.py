"""Bagging (C11): each network on a bootstrap sample of its own."""
import keras
import numpy as np
from keras import ops

from apps.ensembles import members

MONITOR = None  # the last weights count: they are those of the out-of-bag error


def build_model(config, spec):
    """Returns a compiled ensemble of networks on bootstrap samples, see `Bagging`."""
    return Bagging(config, spec)


class Bagging(members.Ensemble):
    """Networks of which each is trained on n examples drawn from n with replacement.

        counts[:, m] ~ Multinomial(n; 1/n, …, 1/n),   loss[m] = mean_i counts[i, m] cross_entropy(y[m](x_i), label_i)

    An example that was drawn twice counts twice; about a third (1 - 1/n)^n = 0.37 of them counts nothing and is judged in the
    last epoch, which trains nothing, by the members that never saw it: the out-of-bag error.

    Source: Breiman, 1996, "Bagging Predictors", section 1; and 1996, "Out-of-bag Estimation".
    What differs: samples are weights in batches that all members share.
    """

    combinations = ("probabilities", "vote")

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.counts = self.state("counts", (self.examples, self.members),
                                 bootstrap_counts(self.examples, self.members, config.seed).astype("float32"))
        # 0: not judged yet, or in the sample of every member; 1: wrong; 2: right
        self.out_of_bag = self.state("out_of_bag", (self.examples,), 0.0)

    def losses(self, outputs, pixels, targets, step):
        counts = ops.take(self.counts, targets["index"], axis=0)  # (batch, members)
        return ops.transpose(counts) * super().losses(outputs, pixels, targets, step)

    def note(self, outputs, targets, step):
        unseen = ops.cast(ops.equal(ops.take(self.counts, targets["index"], axis=0), 0), "float32")
        outputs = ops.transpose(outputs, (1, 0, 2))
        answers = members.votes(outputs) if self.combine == "vote" else ops.softmax(outputs)
        right = ops.argmax(ops.sum(unseen[..., None] * answers, axis=1), axis=-1) == targets["label"]
        judged = ops.where(ops.any(unseen > 0, axis=1), 1.0 + ops.cast(right, "float32"), 0.0)
        place = ops.cast(step, "int32") - (self.stage_steps - self.still_steps)
        before = ops.where(place <= 0, 0.0, members.read(self.out_of_bag))
        judged = ops.maximum(before, members.by_row(targets["index"], judged, self.examples))
        self.out_of_bag.assign(ops.where(place >= 0, judged, 0.0))

    def own_metrics(self):
        """Returns {"out_of_bag_error"}: of training examples by the members without them, once all are judged."""
        judged = keras.ops.convert_to_numpy(self.out_of_bag)
        return {"out_of_bag_error": float((judged[judged > 0] == 1).mean())} if (judged > 0).any() else {}


def bootstrap_counts(examples, members, seed):
    """Returns how often each example is in each member's sample of as many, whole numbers (examples, members)."""
    return np.random.default_rng([seed, examples]).multinomial(examples, np.full(examples, 1 / examples), members).T
