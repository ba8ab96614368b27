"""Interface of an exported system: from a story and a question to an answer with the attention."""
import numpy as np
import tensorflow as tf

from apps.memory_qa import knowledge_serving, story_serving
from apps.memory_qa.systems import is_knowledge_base
from training.config import UserError
from training.engine.names import printable
from training.serving.requests import Asked, is_question, read
from training.text.files import decoded

PREDICT = "explain"
"""the signature that `predict` calls, which includes the attention to the sentences"""
KINDS = (".txt",)
"""extensions of files with a story and a question"""
BATCH = 16
"""questions per batch of `predict`"""
MOST_BYTES = 1_000_000
"""size limit of a story, and of a question, in bytes"""
_SHOWN = 0.1
"""a sentence is shown as read if it gets at least this much of the attention"""


def signatures(model, config, info):
    """Returns the signatures of a model, which are the same for stories and knowledge bases.

    story:    (batch,) string
    question: (batch,) string

    serving_default returns, each (batch,): answer, score (its probability), unknown_words (which did not occur in training and
    have little effect) and error, the reason why there is no answer, otherwise empty. `explain` adds sentences (batch,
    memories), the contents of the memory, and attention (batch, hops, memories).
    """
    answer = (knowledge_serving if is_knowledge_base(config.dataset) else story_serving).explain(model, config, info)

    def explain(story, question):
        is_long = tf.maximum(tf.strings.length(story), tf.strings.length(question)) > MOST_BYTES
        # bytes that are no UTF-8 become a sign of their own, since regular expressions stop at them
        texts = (tf.strings.unicode_transcode(tf.where(is_long, "", text), "UTF-8", "UTF-8") for text in (story, question))
        found = answer(*texts)
        return found | {"error": tf.where(is_long, f"the text has more than {MOST_BYTES:,} bytes", found["error"])}

    def serve(story, question):
        answer = explain(story, question)
        return {name: answer[name] for name in ("answer", "score", "unknown_words", "error")}

    inputs = {"story": tf.TensorSpec([None], tf.string), "question": tf.TensorSpec([None], tf.string)}
    return {"serving_default": (serve, inputs), "explain": (explain, inputs)}


def warmup(config):
    """Returns one request for every signature."""
    one = {"story": [b"Mary went to the kitchen. John went to the garden."], "question": [b"Where is Mary?"]}
    return {"serving_default": one, "explain": one}


def request(name):
    """Returns a story file as an input, in which the last line is the question; "-" is standard input.

    A text that ends in "?" and is not a file name is used as story and question itself.

    Raises:
        UserError: the file cannot be read, is too large, is not text, or is empty.
    """
    if is_question(name):
        content, where = name, "the question"
    else:
        where = printable(name)
        content = decoded(read(name, MOST_BYTES), where)
    lines = [line.strip() for line in content.replace(". ", ".\n").replace("! ", "!\n").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{where} contains no question, which must be the last line")
    story, question = (text.encode("utf-8", "replace") for text in ("\n".join(lines[:-1]), lines[-1]))
    return Asked({"story": [story], "question": [question]})


def present(asked, answer, path):
    """Returns the answer to one question as (JSON document, lines to print), with the sentences of highest attention."""
    error, found = answer["error"][0].decode(), answer["answer"][0].decode()
    document = {"error": error, "answer": found, "score": round(float(answer["score"][0]), 6),
                "unknown_words": answer["unknown_words"][0].decode().split(), "read": []}
    said = [f"no answer: {error}" if error else f"{found} ({document['score']:.2f})"]
    if document["unknown_words"]:
        said.append(f"never seen in training: {', '.join(document['unknown_words'])}")
    for hop, weights in enumerate(answer["attention"][0] if not error else [], start=1):
        for place in np.argsort(-weights, kind="stable"):
            if weights[place] >= _SHOWN:
                sentence = answer["sentences"][0, place].decode()
                document["read"].append({"hop": hop, "sentence": sentence, "attention": round(float(weights[place]), 4)})
                said.append(f"hop {hop}  {weights[place]:4.2f}  {sentence}")
    return document, said
