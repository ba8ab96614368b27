"""The LSTM baseline on arrays small enough to follow."""
import numpy as np
import tensorflow as tf

from apps.memory_qa import lstm
from apps.memory_qa.data import Info
from training.app import App
from training.data.spec import Spec

WORDS = ["", "<unknown>", *"abcdefgh"]


def model(memory_size=6):
    config = App("memory_qa").config("lstm", embedding_size=16, memory_size=memory_size, learning_rate=0.02)
    spec = Spec({"story": tf.TensorSpec([None, 3, 4], tf.int32), "question": tf.TensorSpec([None, 2], tf.int32)}, {},
                Info(words=WORDS, tasks=["t"]))
    return lstm.build_model(config, spec, steps=200)


def test_words_follow_each_other_without_padding():
    story = np.array([[[2, 3, 0, 0], [0, 0, 0, 0], [4, 5, 6, 0]], np.zeros((3, 4))], np.int32)
    question = np.array([[7, 0], [8, 9]], np.int32)
    assert np.asarray(model().sequence(story, question)).tolist() == [
        [0] * 8 + [2, 3, 4, 5, 6, 7], [0] * 12 + [8, 9]]
    assert np.asarray(model(memory_size=1).sequence(story, question)).tolist() == [[4, 5, 6, 7], [0, 0, 8, 9]]


def test_the_padding_does_not_matter():
    story, question = np.array([[[2, 3, 0, 0], [4, 5, 6, 0], [0] * 4]], np.int32), np.array([[7, 0]], np.int32)
    moved = np.array([[[0] * 4, [2, 3, 4, 5], [0, 6, 0, 0]]], np.int32)
    it = model()
    logits, attention = it({"story": story, "question": question})
    assert logits.shape == (1, 1, len(WORDS)) and attention.shape == (1, 0, 1, 3)
    np.testing.assert_allclose(logits, it({"story": moved, "question": np.array([[0, 7]], np.int32)})[0], rtol=1e-5, atol=1e-6)


def test_nothing_at_all_is_no_error():
    logits, _ = model()({"story": np.zeros((2, 3, 4), np.int32), "question": np.zeros((2, 2), np.int32)})
    assert np.isfinite(logits).all()


def test_a_batch_can_be_learned():
    random = np.random.default_rng(0)
    story = random.integers(2, 6, (20, 3, 4)).astype(np.int32)
    inputs = {"story": story, "question": np.full((20, 2), 7, np.int32)}
    targets = {"answer": story[:, 2, 3]}
    it = model()
    step = tf.function(it.train_step)
    for _ in range(150):
        step((inputs, targets))
    assert (np.argmax(it(inputs)[0][:, 0], -1) == targets["answer"]).all()
