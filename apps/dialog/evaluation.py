"""Accuracy by response and by whole dialogue."""
import itertools

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

from apps.dialog.knowledge import is_call
from training import bootstrap
from training.engine import graphs

VALIDATION_METRICS = ("per_response", "per_dialog")
"""metrics that are shown after each epoch"""
KINDS = ("API calls", "naming an entity", "phrases")
"""kinds of responses, see `kinds_of`"""


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set of batches.

    per_response: fraction of responses for which exactly the correct candidate is selected
    per_dialog:   fraction of dialogues in which all responses are correct
    per_kind:     {kind of the correct response: accuracy}: API calls, responses that name an entity of the knowledge base, and
                  other phrases
    intervals:    with `resamples` above 0 {"per_response": [low, high], …}, 95 % by bootstrap over the dialogues

    If the data set has a split with entities that do not occur in training, its metrics have the same names with the suffix
    `_oov`.
    """
    limit = config.limit_steps
    chosen, responses, dialog_ids, is_oov = choose(model, itertools.islice(batches, limit))
    metrics, intervals = {}, {}
    kinds = kinds_of(info)[responses]
    for ending, rows in (("", ~is_oov), ("_oov", is_oov)):
        if rows.any():
            correct, dialogs = (chosen == responses)[rows], dialog_ids[rows]
            metrics |= {f"{name}{ending}": value for name, value in rates(correct, dialogs).items()}
            of_kind = {name: correct[kinds[rows] == kind] for kind, name in enumerate(KINDS)}
            metrics[f"per_kind{ending}"] = {name: float(each.mean()) for name, each in of_kind.items() if each.size}
            if resamples:
                intervals |= {f"{name}{ending}": value for name, value in
                              _intervals(correct, dialogs, resamples, config.seed).items()}
    return metrics | ({"intervals": intervals} if resamples else {})


def rates(correct, dialog_ids):
    """Returns {"per_response", "per_dialog"} of responses.

    correct:    whether each response is correct, bool (responses,)
    dialog_ids: the dialogue of each response, (responses,)
    """
    _, wrong = _by_dialog(correct, dialog_ids)
    return {"per_response": float(np.mean(correct)), "per_dialog": float(np.mean(wrong == 0))}


def choose(model, batches):
    """Returns (selected candidate, correct candidate, dialogue, whether it is in the split test_oov) for all responses."""
    answer = graphs.of_model(model, "apps.dialog.evaluation", lambda model: tf.function(
        lambda inputs: tf.argmax(model(inputs, training=False), axis=-1, output_type=tf.int32), reduce_retracing=True))
    found = [(answer(inputs), targets["response"], targets["dialog_id"], targets["is_oov"]) for inputs, targets in batches]
    return tuple(np.concatenate([part.numpy() for part in parts]) for parts in zip(*found))


def kinds_of(info):
    """Returns the position in `KINDS` of every candidate, (candidates,)."""
    entities = {word for fact in info.knowledge for word in fact.split(" ")[::2]}
    return np.array([0 if is_call(response) else 1 if entities & set(response.split()) else 2
                     for response in info.candidates])


def table(metrics):
    """Prints the accuracy by kind of response, as plain text unless the output is a terminal."""
    console = rich.console.Console(highlight=False)
    shown = rich.table.Table(box=rich.table.box.HEAVY_HEAD if console.is_terminal else rich.table.box.ASCII)
    shown.add_column("correct responses")
    endings = [ending for ending in ("", "_oov") if f"per_response{ending}" in metrics]
    for ending in endings:
        shown.add_column("unseen" if ending else "test", justify="right")
    rows = [(name, [metrics[f"per_kind{ending}"].get(name) for ending in endings]) for name in KINDS]
    rows += [("all", [metrics[f"per_response{ending}"] for ending in endings]),
             ("whole dialogues", [metrics[f"per_dialog{ending}"] for ending in endings])]
    for name, values in rows:
        shown.add_row(name, *("" if value is None else f"{value:.1%}" for value in values))
    console.print(shown)


def _intervals(correct, dialog_ids, resamples, seed):
    """Returns {"per_response": [low, high], "per_dialog": …}; the responses of a dialogue are drawn together."""
    turns, wrong = _by_dialog(correct, dialog_ids)

    def statistics(rows):
        return {"per_response": 1 - wrong[rows].sum() / turns[rows].sum(), "per_dialog": (wrong[rows] == 0).mean()}

    return bootstrap.intervals(statistics, len(turns), resamples, seed)


def _by_dialog(correct, dialog_ids):
    """Returns (responses of each dialogue, wrong ones of each)."""
    _, rows = np.unique(dialog_ids, return_inverse=True)
    return np.bincount(rows), np.bincount(rows, weights=~correct)
