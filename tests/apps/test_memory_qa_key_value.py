"""Key-value memory network on arrays small enough to follow."""
import numpy as np
import pytest
import tensorflow as tf

import training
from apps.memory_qa import key_value
from apps.memory_qa.data import Info
from apps.memory_qa.knowledge_reader import TOPIC
from training.app import App
from training.data.spec import Spec

WORDS = ["", "<unknown>", *"abcdefgh", "r", "s"]
FACT_WORDS = [*WORDS, TOPIC, "<1>", "<2>", "<3>"]


def built(memory, words, memories=4, width=3, question=2, **changes):
    """Returns the compiled model of a knowledge base, if these are the words of one, or else of stories."""
    config = App("memory_qa").config("key_value", **(dict(
        dataset="some" if words is WORDS else "metaqa", memory=memory, hops=2, embedding_size=12, memory_size=4,
        learning_rate=0.02) | changes))
    spec = Spec({"story": tf.TensorSpec([None, memories, width], tf.int32), "question": tf.TensorSpec([None, question], tf.int32)},
                {"answer": tf.TensorSpec([None], tf.int32)}, Info(words=words, tasks=["t"]))
    return key_value.build_model(config, spec, steps=200)


def stories(count=40, seed=0):
    """Returns inputs and targets: who is where, three sentences of "person is place"; the latest place is the answer."""
    random = np.random.default_rng(seed)
    story = np.zeros((count, 4, 3), np.int32)
    story[:, :3] = np.stack([random.integers(2, 5, (count, 3)), np.full((count, 3), 10), random.integers(5, 9, (count, 3))], -1)
    asked = random.integers(0, 3, count)
    person = story[np.arange(count), asked, 0]
    last = 2 - (story[:, 2::-1, 0] == person[:, None]).argmax(axis=1)
    return ({"story": story, "question": np.stack([person, np.zeros(count)], 1).astype(np.int32)},
            {"answer": story[np.arange(count), last, 2], "task": np.zeros(count, np.int32)})


def trained(model, inputs, targets, steps):
    step = tf.function(model.train_step)
    for _ in range(steps):
        step((inputs, targets))
    return float(model.loss_mean.result())


@pytest.mark.parametrize("memory", ["sentence", "window"])
def test_stories_can_be_learned(memory):
    inputs, targets = stories()
    model = built(memory, WORDS)
    trained(model, inputs, targets, 200)
    logits, attention = model(inputs)
    assert logits.shape == (40, 1, len(WORDS)) and attention.shape == (40, 2, 1, 4)
    assert (np.argmax(logits[:, 0], -1) == targets["answer"]).mean() > 0.95
    np.testing.assert_allclose(np.sum(attention, -1), 1, rtol=1e-5)
    assert not np.asarray(attention)[..., 3].any()  # the memory that is not there


def two_facts():
    """Returns questions r or s about the topic: the first and the third fact answer."""
    topic = FACT_WORDS.index(TOPIC)
    markers = np.arange(topic + 1, topic + 4)
    orders = [np.random.default_rng(seed).permutation(markers) for seed in range(30)]
    r, s = FACT_WORDS.index("r"), FACT_WORDS.index("s")
    story = np.array([[[topic, r, a], [topic, s, b], [topic, r, c], [0, 0, 0]] for a, b, c in orders for _ in range(2)], np.int32)
    question = np.array([[2 + kind, topic] for _ in orders for kind in range(2)], np.int32)
    answers = np.array([[a, c] if kind == 0 else [b, 0] for a, b, c in orders for kind in range(2)], np.int32)
    return {"story": story, "question": question}, {"answer": answers[:, 0], "answers": answers}


@pytest.mark.parametrize("memory", ["triple", "sentence", "window"])
def test_facts_can_be_learned(memory):
    inputs, targets = two_facts()
    model = built(memory, FACT_WORDS, hops=1)
    trained(model, inputs, targets, 300)
    best = np.argmax(model(inputs)[0][:, 0], -1)
    assert (best[:, None] == targets["answers"]).any(axis=1).mean() > 0.95


def test_only_entities_that_were_read_are_candidates():
    inputs, _ = two_facts()
    inputs = {"story": inputs["story"][:2, 1:2], "question": inputs["question"][:2]}
    model = built("triple", FACT_WORDS, memories=1)
    probabilities = np.asarray(tf.nn.softmax(model(inputs)[0][:, 0]))
    np.testing.assert_allclose(probabilities[np.arange(2), inputs["story"][:, 0, 2]], 1)


def test_one_right_answer_of_several_is_enough():
    logits = tf.math.log([[0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(key_value._cross_entropy(logits, tf.constant([[1, 3, 0]])), [-np.log(0.6)], rtol=1e-5)
    np.testing.assert_allclose(key_value._cross_entropy(logits, tf.constant([[2, 0, 0]])), [-np.log(0.3)], rtol=1e-5)


def test_windows_lie_around_each_word():
    model = built("window", WORDS, width=7)
    story = np.arange(2, 9, dtype=np.int32).reshape(1, 1, 7)
    windows = np.asarray(model._windows(story))[0, 0]
    assert windows.shape == (7, 11)
    assert windows[0].tolist() == [0, 0, 0, 0, 0, 2, 3, 4, 5, 6, 7]
    assert windows[:, 5].tolist() == story.ravel().tolist()


@pytest.mark.parametrize("memory, words", [("sentence", WORDS), ("window", WORDS), ("triple", FACT_WORDS), ("window", FACT_WORDS)])
def test_an_empty_story_reads_nothing(memory, words):
    model = built(memory, words)
    logits, attention = model({"story": np.zeros((3, 4, 3), np.int32), "question": np.zeros((3, 2), np.int32)})
    assert np.isfinite(logits).all() and not np.asarray(attention).any()


@pytest.mark.parametrize("memory, words", [("sentence", WORDS), ("triple", FACT_WORDS)])
def test_xla_gives_the_same_step(memory, words):
    inputs, targets = two_facts() if words is FACT_WORDS else stories()
    losses = []
    for compiled in (False, True):
        model = built(memory, words)
        model.optimizer.build(model.trainable_variables)
        if memory == "sentence":
            model.time_index.noise = 0  # XLA draws other numbers
        for weight in model.trainable_variables:
            weight.assign(np.random.default_rng(1).normal(scale=0.3, size=weight.shape))
        step = tf.function(model.train_step, jit_compile=compiled)
        losses.append([float(step((inputs, targets))["loss"]) for _ in range(3)])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_story_has_no_triples():
    with pytest.raises(training.UserError, match="--memory triple needs a knowledge base, but some has stories"):
        built("triple", WORDS)
