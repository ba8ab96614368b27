"""What a client sends and gets: a story and a question in, the answer out, with what was read."""
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

from apps import memory_qa
from apps.memory_qa import knowledge
from training.config import UserError
from training.serving import export
from training.text.vocabulary import Vocabulary, tokens

PREDICT = "explain"
"""the signature that `predict` asks, since it shows which sentences were read"""

_MOST_WORDS = 64
"""words of a sentence or question that an answer has room for"""
_MOST_BYTES = 1_000_000
_SHOWN = 0.1  # attention from which on a sentence is shown as read


def signatures(model, config, info):
    """Returns the signatures of a model of stories, or of one of a knowledge base (`knowledge.signatures`).

    story:    (batch,) string: sentences, one a line or each ended by . ! or ?; the latest that the memory has room for count
    question: (batch,) string

    serving_default returns, each (batch,): answer, score (its probability), unknown_words (those never seen in training,
    which count for little) and error, a sentence where there is no answer to give, otherwise empty. `explain` adds
    sentences (batch, memories), what was in the memory, and attention (batch, hops, memories).
    """
    if config.dataset.partition("/")[0] in memory_qa.KNOWLEDGE_BASES:
        return knowledge.signatures(model, config, info)
    vocabulary = Vocabulary(info["words"])
    model.vocabulary_table = vocabulary.table  # a part of the export
    memories = config.memory_size
    words = tf.constant(info["words"])

    def explain(story, question):
        sentences = _sentences(story)[:, -memories:]
        question_words, sentence_words = tokens(question), sentences.with_flat_values(tokens(sentences.flat_values))
        story_ids = vocabulary.ids(sentence_words).to_tensor(shape=[None, memories, _MOST_WORDS])
        question_ids = vocabulary.ids(question_words).to_tensor(shape=[None, _MOST_WORDS])
        logits, attention = model({"story": story_ids, "question": question_ids}, training=False)
        member = model.chosen.value if hasattr(model, "chosen") else 0
        scores = tf.nn.softmax(tf.cast(logits, tf.float32)[:, member, 2:])  # padding and unknown are no answers
        best = tf.argmax(scores, axis=-1)
        longest = tf.maximum(_longest(sentence_words), question_words.row_lengths())
        error = tf.where(question_words.row_lengths() == 0, "the question has no words", tf.where(
            longest > _MOST_WORDS, f"a sentence has more than {_MOST_WORDS} words", ""))
        return {
            "answer": tf.where(error == "", tf.gather(words, best + 2), ""),
            "score": tf.where(error == "", tf.reduce_max(scores, axis=-1), 0.0),
            "unknown_words": _unknown(vocabulary, tf.concat([sentence_words.merge_dims(1, 2), question_words], axis=1)),
            "error": error,
            "sentences": export.any_size(sentences.to_tensor(shape=[None, memories])),
            "attention": export.any_size(attention[:, :, member]),
        }

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
                    document["read"].append({"hop": hop + 1, "sentence": sentence, "attention": round(float(weights[place]), 4)})
                    print(f"  hop {hop + 1}  {weights[place]:4.2f}  {sentence}")
        documents.append(document)
    path = folder / "answers.json"
    path.write_text(json.dumps(documents, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(documents)} answer{'s' if len(documents) > 1 else ''} in {path}")


def _sentences(story):
    """Returns the sentences of each story, ragged (batch, sentences)."""
    lines = tf.strings.split(tf.strings.regex_replace(story, r"([.!?])\s+", "\\1\n"), "\n")
    lines = lines.with_flat_values(tf.strings.strip(lines.flat_values))
    return tf.ragged.boolean_mask(lines, tf.strings.regex_full_match(lines, r"(?s).*[\pL\pN].*"))


def _longest(sentence_words):
    lengths = sentence_words.with_values(tf.cast(sentence_words.values.row_lengths(), tf.int64))
    return tf.reduce_max(tf.concat([lengths, tf.zeros_like(lengths.row_lengths())[:, None]], axis=1), axis=1)


def _unknown(vocabulary, words):
    """Returns the words that the vocabulary lacks, (batch,) strings with spaces between."""
    missing = tf.ragged.boolean_mask(words, vocabulary.ids(words) == 1)
    return tf.strings.reduce_join(missing, axis=1, separator=" ")


def _read(name):
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
