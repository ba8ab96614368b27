"""How often the right response is chosen, by response and by whole dialogue."""
import itertools

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

VALIDATION_METRICS = ("per_response", "per_dialog")
"""what is shown after each epoch"""
KINDS = ("API calls", "naming an entity", "phrases")


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics over a validation or test set of batches.

    per_response:  share of responses that are exactly the right candidate
    per_dialog:    share of dialogues all of whose responses are
    per_kind:      {kind of the right response: share}: API calls, responses that name an entity of the knowledge base,
                   and other phrases
    Where the set holds the split with what training never shows, the same with the ending `_oov` for it.
    intervals:     with `resamples` above 0 {"per_response": [low, high], …}, 95 % by bootstrap over the dialogues
    """
    limit = config.limit_steps
    chosen, responses, dialog_ids, is_oov = choose(model, itertools.islice(batches, limit))
    metrics, intervals = {}, {}
    kinds = kinds_of(info)[responses]
    for ending, rows in (("", ~is_oov), ("_oov", is_oov)):
        if rows.any():
            right, dialogs = (chosen == responses)[rows], dialog_ids[rows]
            metrics |= {f"{name}{ending}": value for name, value in rates(right, dialogs).items()}
            metrics[f"per_kind{ending}"] = {
                name: float(right[kinds[rows] == kind].mean()) for kind, name in enumerate(KINDS) if (kinds[rows] == kind).any()}
            if resamples:
                intervals |= {f"{name}{ending}": value for name, value in
                              _intervals(right, dialogs, resamples, config.seed).items()}
    return metrics | ({"intervals": intervals} if resamples else {})


def rates(right, dialog_ids):
    """Returns {"per_response", "per_dialog"} for right or wrong, bool (responses,), and the dialogue of each."""
    _, rows = np.unique(dialog_ids, return_inverse=True)
    wrong = np.bincount(rows, weights=~right)
    return {"per_response": float(np.mean(right)), "per_dialog": float(np.mean(wrong == 0))}


def choose(model, batches):
    """Returns for every response (chosen candidate, right one, dialogue, whether it is of the unseen split)."""
    step = model.__dict__.setdefault("_choose", tf.function(
        lambda inputs: tf.argmax(model(inputs, training=False), axis=-1, output_type=tf.int32), reduce_retracing=True))
    found = [(step(inputs), targets["response"], targets["dialog_id"], targets["is_oov"]) for inputs, targets in batches]
    return tuple(np.concatenate([part.numpy() for part in parts]) for parts in zip(*found))


def kinds_of(info):
    """Returns the place in `KINDS` of every candidate, (candidates,)."""
    entities = {word for fact in info["knowledge"] for word in fact.split(" ")[::2]}
    return np.array([0 if response.startswith("api_call ") else 1 if entities & set(response.split()) else 2
                     for response in info["candidates"]])


def table(metrics):
    """Prints the shares of right responses by kind; plain text when the output is no terminal."""
    console = rich.console.Console(highlight=False)
    shown = rich.table.Table(box=rich.table.box.HEAVY_HEAD if console.is_terminal else rich.table.box.ASCII)
    shown.add_column("right responses")
    endings = [ending for ending in ("", "_oov") if f"per_response{ending}" in metrics]
    for ending in endings:
        shown.add_column("unseen" if ending else "test", justify="right")
    rows = [(name, [metrics[f"per_kind{ending}"].get(name) for ending in endings]) for name in KINDS]
    rows += [("all", [metrics[f"per_response{ending}"] for ending in endings]),
             ("whole dialogues", [metrics[f"per_dialog{ending}"] for ending in endings])]
    for name, values in rows:
        shown.add_row(name, *("" if value is None else f"{value:.1%}" for value in values))
    console.print(shown)


def _intervals(right, dialog_ids, resamples, seed):
    """Returns {"per_response": [low, high], "per_dialog": …}; the responses of a dialogue are drawn together."""
    _, rows = np.unique(dialog_ids, return_inverse=True)
    turns, wrong = np.bincount(rows), np.bincount(rows, weights=~right)
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(turns), (resamples, len(turns)))
    samples = {"per_response": 1 - wrong[drawn].sum(axis=1) / turns[drawn].sum(axis=1),
               "per_dialog": (wrong[drawn] == 0).mean(axis=1)}
    return {name: np.percentile(values, [2.5, 97.5]).tolist() for name, values in samples.items()}
