"""A chat with a trained system in the terminal."""
import sys

import tensorflow as tf

import training
from apps.dialog import serving
from apps.dialog.knowledge import Knowledge, is_call
from training import UserError, runs
from training import run as flow

SILENCE = "<SILENCE>"
"""utterance of a silent user, which lets the bot continue, as in the data"""


def run(app, request):
    """Chats with the system of a run until the input ends."""
    folder = runs.finished(app.task, request).folder
    model, config = training.load(folder)
    info = flow.described(folder).spec.info
    print(f"{config.model} of {folder}, trained on {config.dataset}. "
          "An empty line lets the bot continue; Ctrl-D ends the chat.", flush=True)
    talk = Talk(responder(model, config, info), Knowledge(info.knowledge, info.candidates))
    for line in _typed_lines():
        for shown in talk.say(line, request.attention):
            print(shown, flush=True)


class Talk:
    """A dialogue: utterances of the user, responses of the bot, and the results of its API calls.

    respond:   function from the lines of the dialogue to {"response", "score", "error", "read"}
    knowledge: a `knowledge.Knowledge`
    """

    def __init__(self, respond, knowledge):
        self.respond, self.knowledge = respond, knowledge
        self.history = []

    def say(self, text, attention=False):
        """Processes an utterance of the user, empty for silence, and returns the lines to print.

        An API call is looked up in the knowledge base; its facts are added to the history, and the bot continues while the
        user is silent.

        text:      the utterance
        attention: whether to also show the lines with the highest attention in the last hop
        """
        shown, found = self._turn(text, attention)
        if found:
            # a call right after the answer to a call is not looked up again: it could go on for ever
            shown += self._turn("", attention)[0]
        return shown

    def _turn(self, text, attention):
        """Returns (the lines to show, whether the response was a call, whose answer is in the history now)."""
        lines = [*self.history, f"user: {' '.join(text.split()) or SILENCE}"]
        answer = self.respond(lines)
        if answer["error"]:
            return [f"no response: {answer['error']}"], False
        response = answer["response"]
        facts = [f"kb: {fact}" for fact in self.knowledge.answer(response)] if is_call(response) else []
        self.history = [*lines, f"bot: {response}", *facts]
        shown = [f"bot: {response.strip()}  ({answer['score']:.2f})"]
        if attention and answer["read"]:
            shown += [f"  read {line['attention']:4.0%}  {line['line']}" for line in answer["read"][-1]]
        return shown + facts, bool(facts)


def responder(model, config, info):
    """Returns a function from the lines of a dialogue to the model's response, with the same graph as the export."""
    function, specs = serving.signatures(model, config, info)["explain"]
    graph = tf.function(function, input_signature=list(specs.values()))

    def respond(lines):
        answer = {name: value.numpy() for name, value in graph(tf.constant(["\n".join(lines)])).items()}
        return {"response": answer["response"][0].decode(), "score": float(answer["score"][0]),
                "error": answer["error"][0].decode(), "read": serving.most_read(answer, 0)}

    return respond


def _typed_lines():
    """Yields the lines that are typed or come through a pipe."""
    prompt = "you: " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt)
            line.encode("utf-8")  # in Python's UTF-8 mode other bytes come as half characters
        except EOFError:
            return
        except UnicodeError:
            raise UserError("the input is not valid UTF-8 text") from None
        yield line
