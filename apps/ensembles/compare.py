"""Comparison of all ensembles in a table and a picture."""
import dataclasses
import time

import numpy as np
import tensorflow as tf

from apps.ensembles import data, evaluation, pictures
from training import reports
from training import run as runner
from training.engine import strategies

KINDS = {
    "independent": ("independent", {}),
    "softmax regression": ("independent", {"hidden": 0}),
    "snapshots": ("snapshots", {}),
    "bagging": ("bagging", {}),
    "AdaBoost": ("adaboost", {}),
    "gradient boosting": ("gradient_boosting", {}),
}
"""{row: (system, settings that override its defaults)}; the defaults were chosen on validation"""
COLUMNS = {"members": "members alone", "probabilities": "mean of probabilities", "vote": "vote",
           "parameters": "mean of parameters", "boosting": "boosting's sum"}
NOTE = """\
The mean of the parameters of independent networks fails: their hidden units have no common order, so the mean mixes units with
different functions. Softmax regression is the exception: it has no hidden units and its loss is convex, so all members converge
to nearly the same weights, and by Jensen's inequality the loss of their mean is at most the mean of their losses. Snapshots come
from one training, which gives their units a common order, so their mean is as good as each of them. The members of boosting are
trained to correct earlier members and are weak on their own."""


def run(app, request):
    """Trains all kinds with all seeds; prints, saves and plots a table of test accuracies, and returns the numbers.

    Nothing is tuned: the settings are the defaults of the application, and the test split is evaluated once, after all
    trainings.

    Raises:
        UserError: the epochs do not suit every ensemble, or the folder is not empty.
    """
    given = dict(dataset=request.dataset, data_dir=request.data_dir, manual_dir=request.manual_dir, download=request.download)
    if request.epochs:
        given |= dict(epochs=request.epochs)
    seeds = range(request.seed, request.seed + request.seeds)
    configs = {kind: [app.config(model, seed=seed, **given, **own) for seed in seeds] for kind, (model, own) in KINDS.items()}
    for config, *_ in configs.values():
        config.check_epochs()  # before the first training, not at the last one
    folder = reports.folder_of(app, "compare", request)
    began = time.perf_counter()
    tf.get_logger().setLevel("ERROR")  # it takes the ensembles, each traced once, for one function traced often
    ensembles = {}
    for kind, of_seeds in configs.items():
        for config in of_seeds:
            started = time.perf_counter()
            ensembles.setdefault(kind, []).append((config, *trained(app, config)))
            print(f"{kind:18}  seed {config.seed}  {time.perf_counter() - started:5.1f} s", flush=True)
    rows = {kind: _row([evaluation.evaluate(model, splits.test, config, splits.spec.info) for config, model, splits in found])
            for kind, found in ensembles.items()}
    configs = {kind: dataclasses.asdict(of_seeds[0]) for kind, of_seeds in configs.items()}
    text = f"{markdown(rows)}\n\nTest accuracy in %, median of {request.seeds} seed{'s' if request.seeds > 1 else ''} on " \
           f"{request.dataset} (least to most).\n{_differences(rows)}\n{NOTE}"
    print(f"\n{text}")
    reports.keep(folder, "compare", request, {"seconds": round(time.perf_counter() - began, 1), "rows": rows, "configs": configs},
                 {"compare": lambda: pictures.comparison(rows)}, {"compare": text})
    return rows


def trained(app, config):
    """Returns (model, splits) after a training with these settings, which is validated only at its end and not saved."""
    strategies.set_precision(config)
    splits = data.datasets(config)
    return runner.trial(app, dataclasses.replace(config, validate_every=config.epochs), splits), splits


def _row(metrics):
    """Returns the figures of one kind over its seeds.

    members:          number of members
    accuracy:         {"members" or combination: [accuracy for each seed]}
    error_by_members: {combination: means over the seeds}; `alone` has the errors of each member by itself
    """
    by_seed = {"members": [each["member_accuracy"] for each in metrics]}
    by_seed |= {name: [each["accuracy_by"][name] for each in metrics] for name in metrics[0]["accuracy_by"]}
    errors = {name: np.mean([each["error_by_members"][name] for each in metrics], axis=0).tolist()
              for name in metrics[0]["error_by_members"]}
    row = {"members": len(metrics[0]["members"]), "accuracy": by_seed, "error_by_members": errors,
           "alone": (1 - np.mean([each["members"] for each in metrics], axis=0)).tolist(),
           "disagreement": float(np.mean([each["disagreement"] for each in metrics]))}
    if "out_of_bag_error" in metrics[0]:
        row["out_of_bag_error"] = float(np.mean([each["out_of_bag_error"] for each in metrics]))
    return row


def _differences(rows):
    """Returns in words what the table shows."""
    def above(kind, name):
        accuracy = rows[kind]["accuracy"]
        return f"{kind} {100 * np.median(np.subtract(accuracy[name], accuracy['members'])):+.2f}"

    parameters = ", ".join(above(kind, "parameters") for kind in rows if "parameters" in rows[kind]["accuracy"])
    return ("Difference from the accuracy of single members in percentage points, median over the seeds: "
            f"mean of parameters of {parameters}"
            f"; mean of probabilities of {above('snapshots', 'probabilities')}.")


def markdown(rows):
    """Returns the accuracies as a table with one row per kind of ensemble and one column per way of combining."""
    lines = ["| ensemble | members | " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * (len(COLUMNS) + 2)]
    for kind, row in rows.items():
        cells = [f"{100 * np.median(values):.2f} ({100 * min(values):.2f} to {100 * max(values):.2f})"
                 if (values := row["accuracy"].get(name)) else "" for name in COLUMNS]
        lines.append(f"| {kind} | {row['members']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
