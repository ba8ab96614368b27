"""Interface of an exported system, the same for all systems of this application.

    serving_default: history (batch,) string: the dialogue so far, one line per utterance or fact, oldest first, each starting
                     with the speaker: "user: hello", "bot: good day", "kb: blue_bell cuisine greek". The last line is the
                     user's; "user: <SILENCE>" lets the bot continue
        -> response (batch,) string, one of the candidates; an API call begins with "api_call"
           score (batch,) float32
           error (batch,) string: empty, or the reason why there is no response
    explain: the same, and
           lines (batch, memory_size) string: the lines in memory, oldest first, padded with ""
           attention (batch, hops, memory_size) float32; no hops for a system without a memory

Of a dialogue longer than the memory, the oldest lines are dropped; of an utterance of more than 64 words, the last words are
dropped; words that do not occur in training are ignored.
"""
import tensorflow as tf

from apps.dialog.encoder import SPEAKERS
from training.engine.names import printable
from training.serving import export
from training.serving.requests import Asked, read
from training.text.files import decoded

PREDICT = "explain"
"""the signature that `predict` calls"""
KINDS = (".txt",)
"""extensions of dialogue files"""
BATCH = 16
"""dialogues per batch of `predict`"""

MOST_WORDS = 64
"""maximum number of words of an utterance; further words are ignored"""
MOST_BYTES = 1_000_000
"""size limit of a dialogue in bytes"""
_LINE = r"^\s*(user|bot|kb):\s*(.*?)\s*$"
_ERRORS = {
    "long": f"the history has more than {MOST_BYTES:,} bytes: send the latest lines only",
    "empty": "the history is empty: send lines such as 'user: hello', oldest first",
    "speaker": "every line of the history must begin with user:, bot: or kb:",
    "last": "the last line must begin with user:, since a response answers the user",
    "silent": "the last utterance has no words: send 'user: <SILENCE>' if the user says nothing",
}


def signatures(model, config, info):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`.

    model:  a `selector.Selector`
    config: its settings, which do not affect the signatures
    info:   `data.Info` of the data set
    """
    candidates = tf.constant(info.candidates)

    def responses(history):
        lines, error = _lines(history)
        logits, attention = model.attend(_inputs(model, lines))
        failed = tf.strings.length(error) > 0
        chosen = tf.argmax(logits, axis=-1, output_type=tf.int32)
        scores = tf.gather(model.scores(logits), chosen, batch_dims=1)
        return lines, failed, attention, {
            "response": _rows(tf.where(failed, "", tf.gather(candidates, chosen))),
            "score": _rows(tf.where(failed, 0.0, scores)),
            "error": _rows(error)}

    def serving_default(history):
        return responses(history)[-1]

    def explain(history):
        lines, failed, attention, answer = responses(history)
        spoken = lines["text"].with_values(tf.strings.join([lines["speaker"].values, lines["text"].values], ": "))
        shown = _padded(spoken[:, :-1], model.memory_size)
        answer["lines"] = export.any_size(tf.where(failed[:, tf.newaxis], "", shown))
        answer["attention"] = export.any_size(tf.where(failed[:, tf.newaxis, tf.newaxis], 0.0, attention))
        return answer

    inputs = {"history": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "explain": (explain, inputs)}


def warmup(config):
    """Returns {signature: {input name: value}}: the beginning of a dialogue, and a dialogue that gives an error."""
    history = [b"user: hello\nbot: good day\nuser: i need a table for two", b"bot: good day"]
    return {name: {"history": history} for name in ("serving_default", "explain")}


def request(name):
    """Returns a dialogue in a text file as an input.

    Raises:
        UserError: the file cannot be read, is too long or not text.
    """
    return Asked({"history": [decoded(read(name, MOST_BYTES), printable(name)).encode()]})


def present(asked, answer, path):
    """Returns the response to one dialogue as (JSON document, lines to print), with the lines of highest attention."""
    error = answer["error"][0].decode()
    document = {"error": error, "response": answer["response"][0].decode(), "score": round(float(answer["score"][0]), 6),
                "read": most_read(answer, 0)}
    said = f"no response: {error}" if error else f"{document['response']}  ({document['score']:.2f})"
    return document, [said, *(f"hop {hop}  {line['attention']:4.0%}  {line['line']}"
                              for hop, lines in enumerate(document["read"], start=1) for line in lines)]


def most_read(answer, row, most=3):
    """Returns the lines of highest attention for each hop, [{"line", "attention"}, …], highest first.

    answer: outputs of the signature `explain`
    row:    number of the dialogue in the answer
    most:   number of lines per hop
    """
    lines = [line.decode() for line in answer["lines"][row] if line]
    return [[{"line": lines[place], "attention": round(float(weights[place]), 4)}
             for place in weights[:len(lines)].argsort()[::-1][:most].tolist()] for weights in answer["attention"][row]]


def _lines(history):
    """Returns ({"speaker", "text"}: ragged strings (batch, lines), error (batch,)); a refused row becomes one silent line."""
    too_long = tf.strings.length(history) > MOST_BYTES
    history = tf.strings.unicode_transcode(tf.where(too_long, "", history), "UTF-8", "UTF-8")
    speaker, text, is_line = _parts(history)
    last_speaker, last_text = (part[:, -1:].to_tensor("", shape=[None, 1])[:, 0] for part in (speaker, text))
    error = tf.zeros_like(history)
    for name, is_wrong in (("silent", tf.strings.length(last_text) == 0), ("last", last_speaker != "user"),
                           ("speaker", ~tf.reduce_all(is_line, axis=1)), ("empty", speaker.row_lengths() == 0),
                           ("long", too_long)):
        error = tf.where(is_wrong, _ERRORS[name], error)  # the last one that applies is reported
    speaker, text, _ = _parts(tf.where(tf.strings.length(error) > 0, "user: <SILENCE>", history))
    return {"speaker": speaker, "text": text}, error


def _parts(history):
    """Returns ragged (batch, lines): speaker, text, and whether the line has a speaker at all."""
    lines = tf.strings.split(history, "\n")
    lines = lines.with_values(tf.strings.strip(lines.values))
    lines = tf.ragged.boolean_mask(lines, tf.strings.length(lines) > 0)
    return (*(lines.with_values(tf.strings.regex_replace(lines.values, _LINE, part)) for part in (r"\1", r"\2")),
            lines.with_values(tf.strings.regex_full_match(lines.values, _LINE)))


def _inputs(model, lines):
    """Returns the model's inputs for parsed dialogues, whose last line is the user's."""
    encoder, memory_size = model.encoder, model.memory_size
    kept = {name: part[:, -memory_size - 1:] for name, part in lines.items()}
    speaker, text = (kept[name][:, :-1] for name in ("speaker", "text"))
    places = tf.argmax(speaker.values[:, tf.newaxis] == tf.constant(SPEAKERS), axis=1, output_type=tf.int32)
    history = text.with_values(encoder.lines(places, text.values))  # (batch, lines, words)
    entities = kept["text"].with_values(encoder.entities(kept["text"].values)).merge_dims(1, 2)
    return {
        "history": history.to_tensor(shape=[None, memory_size, 2 * MOST_WORDS + 1]),
        "query": encoder.utterances(kept["text"][:, -1:].values).to_tensor(shape=[None, 2 * MOST_WORDS]),
        "entities": entities.to_tensor(),
    }


def _padded(lines, memory_size):
    """Returns the latest of ragged lines, padded with empty ones to (batch, memory_size)."""
    return lines[:, -memory_size:].to_tensor("", shape=[None, memory_size])


def _rows(values):
    return tf.ensure_shape(values, (None,))
