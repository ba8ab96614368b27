"""Comparison of trained detectors: average precision against images per second, in a table and a picture."""
import dataclasses
import itertools
import time

import matplotlib.figure
import numpy as np
import tensorflow as tf

from apps.detection import outside_regions
from training import reports, runs
from training import run as runner
from training.config import UserError
from training.engine import figures, names

COLUMNS = ("run", "system", "test AP", "test AP50", "images per second", "with given regions")


def run(app, request):
    """Measures how many images per second each run's model detects in; prints, plots, saves and returns a row for each run.

    The average precision is the one that the run has measured on its test split. The speed is that of single images, the median
    over some test images, after one that is not counted. It includes everything from the pixels to the detections. For systems
    with regions from outside the network, the search for them is included, and another column shows the speed without it.

    Raises:
        UserError: there is no finished run, the runs are of different data sets, or the folder is not empty.
    """
    chosen = _chosen(app, request)
    folder = reports.folder_of(app, "compare", request)
    rows = []
    for found in chosen:
        row = _measured(app, found, request.images)
        rows.append(row)
        print(f"{names.one_line(row['run'])}: {row['images_per_second']:.1f} images per second", flush=True)
    rows.sort(key=lambda row: -row["ap"])
    dataset = chosen[0].config["dataset"]
    text = f"{markdown(rows)}\n\nTest split of {names.markdown(dataset)}; median time of {request.images} single images on " \
           "this machine, from the pixels to the detections, with the search for regions."
    print(f"\n{text}")
    reports.keep(folder, "compare", request, {"dataset": dataset, "rows": rows},
                 {"compare": lambda: plotted(rows)}, {"compare": text})
    return rows


def _chosen(app, request):
    """Returns the Runs to compare: those asked for, or the newest finished one of each system on the data set."""
    if request.run and request.dataset:
        raise UserError("--dataset has no effect with named runs: leave it out")
    if request.run:
        chosen = [runs.find(name, request.runs, app.task) for name in request.run]
        for found in chosen:
            if found.fault or not found.results:
                raise UserError(f"{found.folder} cannot be compared: {found.fault or 'it is not finished'}")
        sets = sorted({str(found.config.get("dataset")) for found in chosen})
        if len(sets) > 1:
            raise UserError(f"the runs have different data sets, {', '.join(map(names.one_line, sets))}: compare runs of one")
        return chosen
    newest, dataset = {}, request.dataset or next(iter(app.systems.values())).dataset
    for found in runs.every(request.runs, app.task):  # the newest first
        model = found.config.get("model") if found.results and not found.fault else None
        if model in app.systems and found.config.get("dataset") == dataset:
            newest.setdefault(model, found)
    if not newest:
        raise UserError(f"there is no finished run of {app.task} on {dataset} in {request.runs}: train one with "
                        f"`python -m apps.{app.task} --dataset {dataset}`")
    return list(newest.values())


def _measured(app, found, count):
    """Returns the row of a run: its names, metrics and images per second."""
    metrics = found.results.get("metrics")
    if not isinstance(metrics, dict) or not all(isinstance(metrics.get(name), (int, float)) for name in ("ap", "ap50")):
        raise UserError(f"{found.folder} cannot be compared: its results.json has no ap and ap50")
    model, config = runner.load(found.folder)
    # a limit, so that regions are searched in the few images that are read
    config = dataclasses.replace(config, limit_steps=-(-(count + 1) // config.batch_size))
    inputs = [part for part, _ in itertools.islice(app.data.datasets(config).test, config.limit_steps)]
    examples = [{name: part[row:row + 1] for name, part in batch.items()}
                for batch in inputs for row in range(len(batch["image"]))]
    row = {"run": found.folder.name, "model": config.model, "ap": metrics["ap"], "ap50": metrics["ap50"],
           "images_per_second": _speed(model.detect, [[example["image"]] for example in examples[:count + 1]])}
    if isinstance(model, outside_regions.OutsideRegionDetector):
        given = [[example["image"], example["regions_yxyx"]] for example in examples[:count + 1]]
        row["images_per_second_with_given_regions"] = _speed(model.detect, given)
    return row


def _speed(detect, examples):
    """Returns the images per second of detect(*example): one divided by the median time, without the first example."""
    call = tf.function(detect, autograph=False)
    seconds = []
    for example in examples:
        started = time.perf_counter()
        call(*example)["scores"].numpy()
        seconds.append(time.perf_counter() - started)
    return 1 / float(np.median(seconds[1:] or seconds))


def markdown(rows):
    """Returns a Markdown table with one row for each run."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        given = row.get("images_per_second_with_given_regions")
        lines.append(f"| {names.markdown(row['run'])} | {row['model']} | {row['ap']:.3f} | {row['ap50']:.3f} | "
                     f"{row['images_per_second']:.1f} | {f'{given:.1f}' if given else ''} |")
    return "\n".join(lines)


def plotted(rows):
    """Returns a figure of AP against images per second; a line leads to the speed with given regions."""
    figure = matplotlib.figure.Figure((7.5, 5))
    axes = figure.add_subplot()
    shown = []
    for number, row in enumerate(rows):
        color = f"C{number % 10}"
        axes.plot(row["images_per_second"], row["ap"], "o", color=color, label=str(number))
        shown.append(f"{row['run']} ({row['model']})")
        given = row.get("images_per_second_with_given_regions")
        if given:
            axes.plot([row["images_per_second"], given], [row["ap"]] * 2, "--", color=color)
            axes.plot(given, row["ap"], "o", color=color, fillstyle="none")
    axes.set_xscale("log")
    axes.set(xlabel="images per second, one at a time (hollow: with given regions)", ylabel="test AP",
             title="accuracy and speed of detectors")
    axes.grid(alpha=0.3, which="both")
    figures.legend(axes, shown, fontsize=8)
    return figure
