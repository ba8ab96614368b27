"""A dialogue system of a few words, for tests, without a data set or training."""
import dataclasses

import keras
import tensorflow as tf

from apps.dialog.data import Info
from training.app import App
from training.data.spec import Spec

APP = App("dialog")
INFO = Info(
    words=["", "<unknown>", "##food", "##phone", "##place", "#bot", "#kb", "#user", "<silence>", "api_call", "bell", "call",
           "food", "greek", "hello", "here", "hi", "in", "is", "number", "oslo", "phone", "place", "please", "what", "your"],
    trained_words=26,
    candidates=["hello", "what food", "api_call greek oslo", "api_call thai oslo", "here is 555-1", "here is 555-2", "what place"],
    knowledge=["bell food greek", "bell place oslo", "bell phone 555-1", "lotus food thai", "lotus place oslo",
               "lotus phone 555-2"])
MEMORIES = 4


def build(model="memn2n", seed=0, **changes):
    """Returns (system with random weights, its settings)."""
    config = APP.config(model, **changes)
    unseen = ["555-1", "555-2", "lotus", "thai"] if config.keeps_unseen_words else []
    info = dataclasses.replace(INFO, words=[*INFO.words, *unseen])
    inputs = {"history": tf.TensorSpec((None, MEMORIES, 9), tf.int32), "query": tf.TensorSpec((None, 8), tf.int32),
              "entities": tf.TensorSpec((None, 10), tf.int32)}
    keras.utils.set_random_seed(seed)
    return APP.build_model(config, Spec(inputs, {}, info), steps=10), config
