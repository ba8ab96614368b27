"""A dialogue system of a few words, for tests: no data set, no training."""
import keras
import tensorflow as tf

from apps import dialog
from apps.dialog import memn2n, supervised_embeddings, tfidf
from training import config
from training.data.spec import Spec

INFO = {
    "words": ["", "<unknown>", "##food", "##phone", "##place", "#bot", "#kb", "#user", "<silence>", "api_call", "bell", "call",
              "food", "greek", "hello", "here", "hi", "in", "is", "number", "oslo", "phone", "place", "please", "what", "your"],
    "trained_words": 26,
    "candidates": ["hello", "what food", "api_call greek oslo", "api_call thai oslo", "here is 555-1", "here is 555-2", "what place"],
    "knowledge": ["bell food greek", "bell place oslo", "bell phone 555-1", "lotus food thai", "lotus place oslo",
                  "lotus phone 555-2"],
}
MEMORIES = 4
SYSTEMS = {"memn2n": memn2n, "supervised_embeddings": supervised_embeddings, "tfidf": tfidf}


def build(model="memn2n", seed=0, **changes):
    """Returns (system with random weights, its settings)."""
    settings = config.resolve(dialog, dialog.Config(model=model, **changes))
    info = INFO | {"steps": 10}
    if settings.tied:
        info["words"] = [*INFO["words"], "555-1", "555-2", "lotus", "thai"]
    inputs = {"history": tf.TensorSpec((None, MEMORIES, 9), tf.int32), "query": tf.TensorSpec((None, 8), tf.int32),
              "entities": tf.TensorSpec((None, 10), tf.int32)}
    keras.utils.set_random_seed(seed)
    return SYSTEMS[model].build_model(settings, Spec(inputs, {}, info)), settings
