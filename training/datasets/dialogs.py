"""Dialogues as examples, one for each turn of the bot; all dialogue sets of this package share these functions."""
import numpy as np
import tensorflow_datasets as tfds

SPEAKERS = ("user", "bot", "kb")
"""who says a line of a dialogue; kb: the knowledge base, whose lines are facts"""
SILENCE = "<SILENCE>"
"""utterance of a user who says nothing, so that the bot speaks twice in a row"""


def features():
    """Returns the features of a dialogue set: one example for each turn of the bot.

    history:   all utterances and facts before the response, oldest first; the last one is the user's utterance
    response:  what the bot says, or the API call that it issues
    dialog_id: number of the dialogue in its split
    turn:      0, 1, …: place of the response among the bot's turns of its dialogue
    """
    return tfds.features.FeaturesDict({
        "history": tfds.features.Sequence({
            "speaker": tfds.features.ClassLabel(names=list(SPEAKERS)),
            "text": tfds.features.Text(),
        }),
        "response": tfds.features.Text(),
        "dialog_id": np.int64,
        "turn": np.int64,
    })


def candidate_features():
    """Returns the features of the set of all responses that a bot chooses among."""
    return tfds.features.FeaturesDict({"response": tfds.features.Text()})


def knowledge_features():
    """Returns the features of a knowledge base: facts as triples."""
    return tfds.features.FeaturesDict({name: tfds.features.Text() for name in ("subject", "relation", "object")})


def examples(dialogs):
    """Yields (key, example) for every bot turn of dialogues, each a list of (speaker, text) in the order of speaking."""
    for number, dialog in enumerate(dialogs):
        turn = 0
        for place, (speaker, text) in enumerate(dialog):
            if speaker == "bot":
                before = dialog[:place]
                # columns instead of a dict for each line, which TFDS encodes several times as fast
                history = {"speaker": [who for who, _ in before], "text": [line for _, line in before]}
                yield f"{number:06d}-{turn:04d}", {
                    "history": history, "response": text, "dialog_id": number, "turn": turn}
                turn += 1


def responses(texts):
    """Yields (key, example) of candidate responses."""
    for number, text in enumerate(texts):
        yield f"{number:06d}", {"response": text}


def facts(triples):
    """Yields (key, example) of (subject, relation, object) triples."""
    for number, (subject, relation, value) in enumerate(triples):
        yield f"{number:06d}", {"subject": subject, "relation": relation, "object": value}
