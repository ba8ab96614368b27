"""An epoch over all tasks with batches of 32: our end-to-end memory network and a plain PyTorch implementation.

    python benchmarks/memory_qa.py joint --peer-python PYTHON_WITH_TORCH
    python benchmarks/memory_qa.py restarts

joint:    3 hops, vectors of size 50, position encoding, times with noise, one network, over all tasks; the peer reads memories
          of one size, and bounds the norm of all gradients at once, as a plain program does
restarts: ten networks as one program, and a single one: if the ratio is above 0.1, ten networks in parallel are faster than
          one after another

With BABI=DATA the stories are bAbI's, from DATA/babi; otherwise those of the embedded simulated world.
"""
import os
import pathlib
import sys
import tempfile

import numpy as np
import turns

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
BATCH, HOPS, SIZE, NOISE, RATE = 32, 3, 50, 0.1, 0.01


def settings(restarts):
    from training.app import App

    chosen = dict(dataset="babi", manual_dir=os.environ["BABI"]) if "BABI" in os.environ else {}
    return App("memory_qa").config(
        "memn2n", restarts=restarts, hops=HOPS, embedding_size=SIZE, noise=NOISE, batch_size=BATCH, linear_start=False,
        **chosen)


def ours(restarts):
    import tensorflow as tf

    from apps.memory_qa import data, memn2n
    from training import run

    config = settings(restarts)
    splits = data.datasets(config)
    model = memn2n.build_model(config, splits.spec, run.steps_of(config, splits))
    alone = tf.distribute.InputContext()
    first = splits.train(0, 0, alone)
    model._symbolic_build(data_batch=first.element_spec)
    step = tf.function(model.train_step, jit_compile=True)
    steps = int(first.cardinality())

    @tf.function
    def epoch(iterator):
        for _ in tf.range(steps):
            step(next(iterator))

    numbers = iter(range(1_000_000))
    return lambda: epoch(iter(splits.train(next(numbers), 0, alone)))


def torch(arrays):
    import torch as pytorch

    given = np.load(arrays)
    story, question, answer = (pytorch.tensor(given[name]).long() for name in ("story", "question", "answer"))
    vocabulary, memories = int(given["vocabulary"]), story.shape[1]

    class Network(pytorch.nn.Module):
        def __init__(self):
            super().__init__()
            times = memories + int(np.ceil(NOISE * memories)) + 1
            self.words = pytorch.nn.ModuleList(pytorch.nn.Embedding(vocabulary, SIZE, padding_idx=0) for _ in range(HOPS + 1))
            self.times = pytorch.nn.ModuleList(pytorch.nn.Embedding(times, SIZE, padding_idx=0) for _ in range(HOPS + 1))
            for table in [*self.words, *self.times]:
                pytorch.nn.init.normal_(table.weight, std=0.1)
                table.weight.data[0] = 0
            self.empty = pytorch.nn.Parameter(0.1 * pytorch.randn(SIZE))

        def forward(self, story, question):
            mask = (story != 0).any(-1)
            ago = mask.long().flip(1).cumsum(1).flip(1) * mask
            slots = pytorch.rand(len(story), memories + int(np.ceil(NOISE * memories))).argsort(1)
            slots = slots[:, :memories].sort(1).values + 1
            ago = pytorch.where(mask, slots.gather(1, (ago - 1).clamp(min=0)), 0)
            weights, last = _position(story), 2 * pytorch.arange(1, SIZE + 1) / SIZE
            u = (self.words[0](question) * _position(question)).sum(1)
            for hop in range(HOPS):
                keys = (self.words[hop](story) * weights).sum(2) + last * self.times[hop](ago)
                values = (self.words[hop + 1](story) * weights).sum(2) + last * self.times[hop + 1](ago)
                if hop == HOPS - 1:
                    values = values + (~mask)[..., None] * last * self.empty
                scores = (keys * u[:, None]).sum(-1)  # 0 in empty places
                u = u + (scores.softmax(1)[..., None] * values).sum(1)
            return u @ self.words[HOPS].weight.T

    def _position(words):
        count = (words != 0).sum(-1, keepdim=True).clamp(min=1)
        place = pytorch.arange(1, words.shape[-1] + 1) / count
        unit = pytorch.arange(1, SIZE + 1) / SIZE
        return 2 * (1 - place)[..., None] - 2 * unit * (1 - 2 * place)[..., None]

    pytorch.manual_seed(0)
    network = Network()
    optimizer = pytorch.optim.SGD(network.parameters(), RATE)

    def epoch():
        for rows in pytorch.randperm(len(answer)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss = pytorch.nn.functional.cross_entropy(network(story[rows], question[rows]), answer[rows], reduction="sum")
            loss.backward()
            pytorch.nn.utils.clip_grad_norm_(network.parameters(), 40.0)
            optimizer.step()
        return loss.item()

    return epoch


def training_arrays():
    """Writes the same stories for the peer and returns the file name."""
    import tensorflow as tf

    from apps.memory_qa import data

    splits = data.datasets(settings(1))
    batches = list(splits.train(0, 0, tf.distribute.InputContext()).as_numpy_iterator())
    path = pathlib.Path(tempfile.mkdtemp(), "stories.npz")
    np.savez(path, story=np.concatenate([inputs["story"] for inputs, _ in batches]),
             question=np.concatenate([inputs["question"] for inputs, _ in batches]),
             answer=np.concatenate([targets["answer"] for _, targets in batches]), vocabulary=len(splits.spec.info.words))
    return str(path)


if __name__ == "__main__":
    if sys.argv[1:2] not in (["joint"], ["restarts"]):
        sys.exit("choose one of: joint, restarts")
    chosen = sys.argv.pop(1)
    if chosen == "joint":
        arrays = sys.argv.pop(1) if sys.argv[1:] and sys.argv[1].endswith(".npz") else training_arrays()
        turns.main(__file__, {"ours": lambda: ours(1), "torch": lambda: torch(arrays)}, ("epochs", 1), steps=1, rounds=7,
                   arguments=[chosen, arrays])
    else:
        turns.main(__file__, {"ten": lambda: ours(10), "one": lambda: ours(1)}, ("epochs", 1), steps=1, rounds=7,
                   arguments=[chosen])
