"""Comparison of all systems by the number of target images, in a table and a picture."""
import dataclasses
import functools
import time

import matplotlib.figure
import numpy as np
import tensorflow as tf

from apps.transfer import data, evaluation, pretraining
from training import config as settings
from training import reports
from training import run as runner
from training.config import UserError
from training.engine import strategies

WORDS = {"scratch": "from scratch", "classifier_only": "classifier only", "higher_layers": "higher layers",
         "all_layers": "all layers", "multi_task": "both tasks at once"}
_PRETRAINED = ("classifier_only", "higher_layers", "all_layers")


def run(app, request):
    """Trains all systems on different numbers of target images; prints, saves, plots and returns the test accuracies.

    Finished trainings are saved: the same command continues where it stopped. For each seed, all pretrained systems start from
    the same backbone, all systems use the same images, and larger sets include the smaller ones. Nothing is tuned: the last
    weights are used, and the test split is evaluated once.

    Multi-task learning passes over the source in each epoch, and therefore sees the target images more often than the other
    systems.

    Raises:
        UserError: sizes are not distinct or exceed the number of images, or the folder is not empty.
    """
    if len(set(request.sizes)) < len(request.sizes):
        raise UserError(f"--sizes must be distinct numbers, got {' '.join(map(str, request.sizes))}")
    folder = reports.folder_of(app, "regimes", request)
    rows = reports.rows_of(folder, request)
    tf.get_logger().setLevel("ERROR")  # each network is traced once, which TensorFlow takes for one function traced often
    sizes = sorted(request.sizes)
    data.datasets(_config(app, request, "all_layers", request.seed, sizes[-1]))  # whether there are as many
    for seed in range(request.seed, request.seed + request.seeds):
        _seed(app, request, seed, sizes, rows)
    accuracy = {model: {size: [] for size in sizes} for model in WORDS}
    source_accuracy = {"alone": [], **{size: [] for size in sizes}}
    for seed in range(request.seed, request.seed + request.seeds):
        source_accuracy["alone"].append(rows[_key(seed)]["accuracy"])
        for size in sizes:
            for model in WORDS:
                accuracy[model][size].append(rows[_key(seed, size, model)]["accuracy"])
            source_accuracy[size].append(rows[_key(seed, size, "multi_task")]["source_accuracy"])
    parameters, together = (rows[key]["parameters"] for key in (_key(request.seed), _key(request.seed, sizes[0], "multi_task")))
    text = f"{markdown(accuracy)}\n\nTest accuracy on the target task in %, mean over {request.seeds} " \
           f"seed{'s' if request.seeds > 1 else ''} on {request.dataset}, ± the standard deviation."
    tasks = multi_task_table(accuracy, source_accuracy, parameters, together)
    print(f"\n{text}\n\n{tasks}")
    seconds = round(sum(row["seconds"] for row in rows.values()), 1)
    numbers = {"seconds": seconds, "accuracy": accuracy, "source_accuracy": source_accuracy,
               "parameters": {"one network": parameters, "multi_task": together}}
    return reports.keep(
        folder, "regimes", request, numbers, {"regimes": lambda: plotted(accuracy)}, {"regimes": text, "multi_task": tasks})


def _key(seed, size=None, model="source"):
    return " ".join(map(str, filter(None, (f"seed {seed}", size, model))))


def _seed(app, request, seed, sizes, rows):
    """Adds the rows of a seed that are not there: of the source, and of every system on every part of the target's images."""
    missing = [(size, model) for size in sizes for model in WORDS if _key(seed, size, model) not in rows]
    if not missing:
        return
    started = time.perf_counter()
    config = _config(app, request, "all_layers", seed)
    strategies.set_precision(config)
    source, splits = pretraining.on_source(config)  # again, where some rows are there: the seed makes it the same
    rows[_key(seed)] = row = _row(source, splits, config, started)
    weights = source.get_layer("backbone").get_weights()
    classes = ", ".join(splits.spec.info.class_names)
    print(f"seed {seed}: the source ({classes}) reaches an accuracy of {row['accuracy']:.2%}", flush=True)

    @functools.lru_cache(maxsize=1)
    def read(size, is_both):  # scratch too learns what the pretrained systems learn, whatever the source is
        return data.datasets(_config(app, request, "multi_task" if is_both else "all_layers", seed, size))

    for size, model in missing:
        started = time.perf_counter()
        config, splits = _config(app, request, model, seed, size), read(size, model == "multi_task")
        prepare = (lambda made: made.get_layer("backbone").set_weights(weights)) if model in _PRETRAINED else None
        trained = runner.trial(app, dataclasses.replace(config, validate_every=config.epochs), splits, prepare=prepare)
        rows[_key(seed, size, model)] = row = _row(trained, splits, config, started)
        print(f"  {size:4} images of each class  {WORDS[model]:18}  {row['accuracy']:7.2%}  {row['seconds']:5.1f} s", flush=True)


def _row(model, splits, config, started):
    """Returns what is kept of a network: its test accuracy, its number of weights, and the seconds since it was begun."""
    metrics = evaluation.evaluate(model, splits.test, config, splits.spec.info)
    accuracies = {name: metrics[name] for name in ("accuracy", "source_accuracy") if name in metrics}
    return accuracies | {"parameters": model.count_params(), "seconds": round(time.perf_counter() - started, 1)}


def _config(app, request, model, seed, examples=None):
    """Returns the settings of one training."""
    epochs = request.source_epochs if model == "multi_task" else request.epochs  # it passes over the source in each epoch
    asked = {"epochs": epochs, "source": request.source, "source_epochs": request.source_epochs}
    known = {field.name for field in dataclasses.fields(app.systems[model])}
    given = {name: value for name, value in asked.items() if name in known and value is not None}
    places = {field.name: getattr(request, field.name) for field in dataclasses.fields(settings.Data)}
    return app.config(model, **places, **given, examples=examples, seed=seed)


def markdown(accuracy):
    """Returns a Markdown table with one row per system and one column per number of images.

    accuracy: {system: {size: [accuracy for each seed]}}
    """
    sizes = list(next(iter(accuracy.values())))
    lines = ["| images of each class | " + " | ".join(map(str, sizes)) + " |", "|" + "---|" * (len(sizes) + 1)]
    for model, row in accuracy.items():
        lines.append(f"| {WORDS[model]} | " + " | ".join(map(_cell, row.values())) + " |")
    return "\n".join(lines)


def multi_task_table(accuracy, source_accuracy, parameters, together):
    """Returns a Markdown table that compares one network for both tasks with two separate networks.

    accuracy:        accuracy on the target task, as in `markdown`
    source_accuracy: {"alone": [accuracy for each seed], size: the same for multi_task}, on the source task
    parameters:      number of weights of a network for one task
    together:        number of weights of the network for both
    """
    lines = ["| images of each class | target, its own network | target, both at once | source, its own network | "
             "source, both at once |", "|" + "---|" * 5]
    for size in accuracy["scratch"]:
        cells = (accuracy["scratch"][size], accuracy["multi_task"][size], source_accuracy["alone"], source_accuracy[size])
        lines.append(f"| {size} | " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + f"\n\nTwo networks have about {2 * parameters:,} weights, the one for both tasks has {together:,}."


def _cell(values):
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def plotted(accuracy):
    """Returns a figure of {system: {size: [accuracy for each seed]}}, with the range over the seeds as a band.

    accuracy: as in `markdown`
    """
    figure = matplotlib.figure.Figure((7.5, 5))
    axes = figure.add_subplot()
    for model, row in accuracy.items():
        sizes, values = list(row), np.array(list(row.values()))
        axes.plot(sizes, values.mean(axis=1), marker="o", markersize=4, label=WORDS[model])
        axes.fill_between(sizes, values.min(axis=1), values.max(axis=1), alpha=0.15)
    axes.set_xscale("log")
    axes.set_xticks(sizes, sizes)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training images of each class of the target", ylabel="test accuracy", title="benefit of pretraining")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
