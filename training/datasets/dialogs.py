"""Dialogues as examples, one per bot turn; shared by all dialogue data sets of this package."""
import numpy as np
import tensorflow_datasets as tfds

SPEAKERS = ("user", "bot", "kb")
"""the speakers of a dialogue; kb: the knowledge base, whose lines are facts"""
SILENCE = "<SILENCE>"
"""utterance of a silent user, between two consecutive bot turns"""


def features():
    """Returns the features of a dialogue set: one example per bot turn.

    history:   all utterances and facts before the response, oldest first; the last one is the user's utterance
    response:  the utterance or API call of the bot
    dialog_id: number of the dialogue in its split
    turn:      0, 1, …: number of the bot turn in its dialogue
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
    """Returns the features of the set of candidate responses."""
    return tfds.features.FeaturesDict({"response": tfds.features.Text()})


def knowledge_features():
    """Returns the features of a knowledge base: facts as triples."""
    return tfds.features.FeaturesDict({name: tfds.features.Text() for name in ("subject", "relation", "object")})


def examples(dialogs):
    """Yields (key, example) for every bot turn of dialogues, which are lists of (speaker, text) in order."""
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
