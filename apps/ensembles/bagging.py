"""Bagging (C11): each network is trained on its own bootstrap sample."""
import numpy as np
from keras import ops

from apps.ensembles import members


def build_model(config, spec, steps):
    """Returns a compiled ensemble of networks on bootstrap samples, see `Bagging`.

    Raises:
        UserError: `combine` is not available for bagging, or there are too few epochs.
    """
    return members.compiled(
        Bagging, config, spec, steps, train_examples=spec.info.train_examples, combine=config.combine,
        evaluation_steps=steps // config.epochs, seed=config.seed)


class Bagging(members.Ensemble):
    """Networks that are each trained on n of n examples, sampled with replacement.

        counts[:, m] ~ Multinomial(n; 1/n, …, 1/n),   loss[m] = mean_i counts[i, m] cross_entropy(y[m](x_i), label_i)

    An example that was drawn twice counts twice. About a third of the examples, (1 - 1/n)^n = 0.37, are not in the sample of a
    member. The last epoch only evaluates: each example is classified by the members that never saw it, which gives the
    out-of-bag error.

    The arguments are those of `members.Ensemble`, and

    train_examples: n, size of the training split
    seed:           seed of the bootstrap samples

    Example:
        >>> import numpy as np
        >>> from apps.ensembles.bagging import Bagging
        >>> model = Bagging((8, 8, 1), classes=10, train_examples=100, members=3, hidden=16)
        >>> outputs = model({"image": np.zeros((2, 8, 8, 1), "uint8")})
        >>> outputs["vote"].shape, model.answer(outputs).shape
        (TensorShape([2, 3, 10]), TensorShape([2, 10]))

    Source: Breiman, 1996, "Bagging Predictors", section 1; and 1996, "Out-of-bag Estimation".
    What differs: samples are weights of examples in batches that all members share.
    """

    combinations = ("probabilities", "vote")

    def __init__(self, image_shape, classes, *, train_examples, mean=128.0, std=64.0, members=10, hidden=64, depth=2,
                 combine="probabilities", steps=1000, evaluation_steps=10, seed=0):
        super().__init__(image_shape, classes, mean=mean, std=std, members=members, hidden=hidden, depth=depth, combine=combine,
                         steps=steps, evaluation_steps=evaluation_steps, name="bagging")
        self.train_examples = train_examples
        self.counts = self.state("counts", (train_examples, members),
                                 bootstrap_counts(train_examples, members, seed).astype("float32"))
        # 0: not evaluated yet, or in the sample of every member; 1: wrong; 2: right
        self.out_of_bag = self.state("out_of_bag", (train_examples,), 0.0)

    def losses(self, outputs, pixels, targets, step):
        counts = ops.take(self.counts, targets["index"], axis=0)  # (batch, members)
        return ops.transpose(counts) * super().losses(outputs, pixels, targets, step)

    def note(self, outputs, targets, step):
        unseen = ops.cast(ops.equal(ops.take(self.counts, targets["index"], axis=0), 0), "float32")
        outputs = ops.transpose(outputs, (1, 0, 2))
        answers = members.votes(outputs) if self.combine == "vote" else ops.softmax(outputs)
        right = ops.argmax(ops.sum(unseen[..., None] * answers, axis=1), axis=-1) == targets["label"]
        evaluated = ops.where(ops.any(unseen > 0, axis=1), 1.0 + ops.cast(right, "float32"), 0.0)
        place = ops.cast(step, "int32") - (self.stage_steps - self.evaluation_steps)
        before = ops.where(place <= 0, 0.0, members.read(self.out_of_bag))
        evaluated = ops.maximum(before, members.by_row(targets["index"], evaluated, self.train_examples))
        self.out_of_bag.assign(ops.where(place >= 0, evaluated, 0.0))

    def own_metrics(self):
        """Returns {"out_of_bag_error"}, once all training examples have been evaluated by the members that never saw them."""
        evaluated = ops.convert_to_numpy(self.out_of_bag)
        return {"out_of_bag_error": float((evaluated[evaluated > 0] == 1).mean())} if (evaluated > 0).any() else {}


def bootstrap_counts(examples, members, seed):
    """Returns the multiplicity of each example in the bootstrap sample of each member, integers (examples, members)."""
    return np.random.default_rng([seed, examples]).multinomial(examples, np.full(examples, 1 / examples), members).T
