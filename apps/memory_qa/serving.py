"""What a client sends and gets: a story and a question in, the answer out, with what was read."""
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from apps.memory_qa import knowledge_serving, story_serving
from apps.memory_qa.systems import is_knowledge_base
from training.config import UserError
from training.engine import files

PREDICT = "explain"
"""the signature that `predict` asks, since it shows which sentences were read"""

_MOST_BYTES = 1_000_000
_SHOWN = 0.1
"""a sentence is shown as read if it gets at least this much of the attention"""


def signatures(model, config, info):
    """Returns the signatures of a model, which are the same for stories and for knowledge bases.

    story:    (batch,) string
    question: (batch,) string

    serving_default returns, each (batch,): answer, score (its probability), unknown_words (those never seen in training,
    which count for little) and error, a sentence where there is no answer to give, otherwise empty. `explain` adds
    sentences (batch, memories), what was in the memory, and attention (batch, hops, memories).
    """
    explain = (knowledge_serving if is_knowledge_base(config.dataset) else story_serving).explain(model, config, info)

    def serve(story, question):
        answer = explain(story, question)
        return {name: answer[name] for name in ("answer", "score", "unknown_words", "error")}

    inputs = {"story": tf.TensorSpec([None], tf.string), "question": tf.TensorSpec([None], tf.string)}
    return {"serving_default": (serve, inputs), "explain": (explain, inputs)}


def warmup(config):
    """Returns one request for every signature."""
    one = {"story": [b"Mary went to the kitchen. John went to the garden."], "question": [b"Where is Mary?"]}
    return {"serving_default": one, "explain": one}


def request(inputs):
    """Returns the request for files, each a story whose last line is the question; "-" is standard input.

    A text that ends in "?" and is no file's name is taken as the story and question itself.

    Raises:
        UserError: a file cannot be read, is too large, is no text, or holds nothing.
    """
    stories, questions = zip(*(_parts(name, _read(name)) for name in inputs))
    return {"story": list(stories), "question": list(questions)}


def present(inputs, answer, folder):
    """Prints each answer and the sentences that were read for it, and writes them as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = []
    for row, name in enumerate(inputs):
        error, found = answer["error"][row].decode(), answer["answer"][row].decode()
        document = {"input": name, "answer": found, "score": round(float(answer["score"][row]), 6), "error": error,
                    "unknown_words": answer["unknown_words"][row].decode().split(), "read": []}
        print(f"{name[:60]}: " + (f"no answer: {error}" if error else f"{found} ({document['score']:.2f})"))
        if document["unknown_words"]:
            print(f"  never seen in training: {', '.join(document['unknown_words'])}")
        for hop, weights in enumerate(answer["attention"][row] if not error else []):
            for place in np.argsort(-weights, kind="stable"):
                if weights[place] >= _SHOWN:
                    sentence = answer["sentences"][row, place].decode()
                    weight = float(weights[place])
                    document["read"].append({"hop": hop + 1, "sentence": sentence, "attention": round(weight, 4)})
                    print(f"  hop {hop + 1}  {weight:4.2f}  {sentence}")
        documents.append(document)
    path = folder / "answers.json"
    files.write_text(path, json.dumps(documents, indent=2, ensure_ascii=False) + "\n")
    print(f"{len(documents)} answer{'s' if len(documents) > 1 else ''} in {path}")


def _read(name):
    """Returns the text of a file or of standard input, or the name itself where it is a text that ends in "?"."""
    if name == "-":
        return sys.stdin.read(_MOST_BYTES)
    path = pathlib.Path(name)
    try:
        if path.is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise UserError(f"{name} has more than {_MOST_BYTES:,} bytes: a story is a text of some lines")
            return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{name} is no text in UTF-8") from None
    except OSError as error:
        if name.rstrip().endswith("?"):
            return name  # too long for a file's name
        raise UserError(f"cannot read {name}: {error.strerror}") from None
    if name.rstrip().endswith("?"):
        return name
    raise UserError(f"there is no file {name}; give a file whose last line is the question, or the text itself, ending in ?")


def _parts(name, content):
    """Returns story and question."""
    lines = [line.strip() for line in content.replace(". ", ".\n").replace("! ", "!\n").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{name} holds no question: its last line is taken as one")
    return "\n".join(lines[:-1]).encode(), lines[-1].encode()
