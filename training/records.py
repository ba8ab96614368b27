"""Records of finished runs, from which the published tables are made, see `training.tables`. Does not import TensorFlow."""
import dataclasses
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import subprocess

import tyro

from training import doctor, runs
from training.config import UserError
from training.paths import Expanding, Path

LARGEST = 20 * 1024
"""size limit of a record in bytes"""
LONGEST_LIST = 32
"""longest list of numbers that is kept, such as one number per seed in a report"""
LEFT_OUT = ("data_dir", "manual_dir", "runs", "saved_models", "name", "resume", "force", "download", "debug")
"""settings that are paths on one machine or do not affect the results"""
PATHS = ("initialize", "backbone")
"""settings that may contain a path; its last part is kept"""
FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "bf16")
"""processor flags that determine the speed of matrix products and whether `--dtype auto` chooses bfloat16"""
PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ROOT = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Record(Expanding):
    """Saves the metrics of a finished run, or the numbers of an experiment's report, as results/<app>/<name>.json.

    The record names the current hardware and commit: record a run on the machine and with the source code that trained it.
    """

    run: tyro.conf.Positional[Path]
    """folder or name of a finished run or a report"""
    name: str | None = None
    """name of the record; None: model or verb, data set, and the seed unless it is 0"""
    group: str | None = None
    """name shared by records that differ only in the seed; tables show their median and all values"""
    force: bool = False
    """replace an existing record of this name"""
    runs: Path = "runs"
    """parent folder of the runs"""
    results: Path = "results"
    """parent folder of the records"""
    debug: bool = False
    """show the traceback of an error"""


def record(request):
    """Writes a record and returns its path.

    Raises:
        UserError: the run is not finished, a name is not allowed, the record exists, or there is nothing to record.
    """
    for option, name in (("--name", request.name), ("--group", request.group)):
        if name is not None and not _NAME.fullmatch(name):
            raise UserError(f"{option} {name} may contain only letters, digits, dots, dashes and underscores")
    content = _of_report(request) or _of_run(runs.find(request.run, request.runs))
    content["seed"] = seed = content["seed"] if isinstance(content["seed"], int) else None
    parts = [content.get("verb") or content.get("model") or "run", content.get("dataset"), f"seed-{seed}" if seed else None]
    name = request.name or re.sub(r"[^\w.-]+", "-", "-".join(str(part) for part in parts if part), flags=re.ASCII)
    for part in (content["app"], name):
        if not _NAME.fullmatch(part):
            raise UserError(f"{part} cannot be the name of a record: choose another one with --name")
    path = pathlib.Path(request.results) / content["app"] / f"{name}.json"
    if path.exists() and not request.force:
        raise UserError(f"{path} exists already: choose another --name, or replace it with --force")
    content |= {"group": request.group, "hardware": hardware(), "commit": commit()}
    text, dropped = _text({key: value for key, value in content.items() if value not in (None, {}, [])})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    dropped = ", ".join(re.sub(r"[^\w -]", "?", name)[:48] for name in dropped)  # a run's file may hold anything
    print(f"written to {path}" + (f"; left out because of their size: {dropped}" if dropped else ""))
    return path


def _of_run(run):
    """Returns what is kept of a training."""
    if run.fault:
        raise UserError(f"{run.folder} cannot be recorded: {run.fault}")
    if not run.results:
        raise UserError(f"{run.folder} is not finished, so there is nothing to record")
    if (run.config or {}).get("limit_steps"):
        raise UserError(f"{run.folder} was cut short by --limit-steps: only whole trainings are recorded")
    results = run.results
    metrics = _figures(results.get("metrics"))
    if not isinstance(metrics, dict) or not metrics:
        raise UserError(f"{run.folder} has no metrics to record")
    versions = _figures(results.get("versions")) if isinstance(results.get("versions"), dict) else None
    known = ("model", "dataset", "seed", "best_epoch", "examples_per_second", "parameters", "dtype", "replicas")
    return {name: _scalar(results.get(name)) for name in known} | {
        "app": run.folder.resolve().parent.name, "split": "test", "settings": _settings(run.config), "metrics": metrics,
        "minutes": _minutes(results.get("seconds")), "versions": versions}


def _of_report(request):
    """Returns what is kept of the report of an experiment, or None where there is none of this name."""
    file, value = _report(request)
    if not file:
        return None
    is_file_alone = "verb" not in value  # `table` of memory_qa writes no folder
    settings = _settings(value.get("settings"))
    apart = ("app", "verb", "settings", "seconds", "configs")
    metrics = _figures({name: part for name, part in value.items() if name not in apart}, with_lists=True)
    if not metrics:
        raise UserError(f"{file} has no figures to record")
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
    app, verb = (file.parent, "table") if is_file_alone else (file.parent.parent, file.stem)
    return {"app": app.name, "verb": verb, "dataset": _scalar(settings.get("dataset")), "seed": _scalar(settings.get("seed")),
            "settings": settings, "metrics": metrics, "minutes": _minutes(value.get("seconds")), "versions": versions}


def _report(request):
    """Returns (file, content) of a report, or (None, None)."""
    places = [pathlib.Path(request.run)]
    if places[0].name == request.run:
        places += [folder / request.run for folder in runs.folders(request.runs)]
    files = []
    for place in places:
        files += sorted(place.glob("*.json")) if place.is_dir() else [
            file for file in (place, place.parent / f"{place.name}.json") if file.is_file()]
    found = {}
    for file in files:
        value, _ = runs.json_object(file)
        # rows.json is of an experiment that is not done
        if value.get("verb") == file.stem or ({"rows", "settings"} <= set(value) and file.name != "rows.json"):
            found[file.resolve()] = value
    if len(found) > 1:
        raise UserError(f"there are several reports named {request.run}: give the file of one of them")
    return next(iter(found.items()), (None, None))


def _settings(values):
    """Returns settings without places on one machine."""
    kept = {}
    for name, value in (values if isinstance(values, dict) else {}).items():
        if name in LEFT_OUT or isinstance(value, dict):
            continue
        parts = [_setting(name, part) for part in (value if isinstance(value, list) else [value])]
        kept[name] = parts if isinstance(value, list) else parts[0]
    return kept


def _setting(name, value):
    if isinstance(value, str):
        windows = pathlib.PureWindowsPath(value)  # takes both kinds of separators
        return windows.name if name in PATHS or value.startswith(("/", "~")) or windows.drive else value[:200]
    is_number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    return value if is_number or value is None else str(value)[:200]


def _figures(value, with_lists=False):
    """Returns what is kept of metrics: numbers, short texts and dicts of them, with lists short ones of numbers; else None.

    A list of rows becomes a dict, whose keys are the words and whole numbers of each row.
    """
    if with_lists and isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        keys = ["/".join(str(part) for part in row.values() if isinstance(part, (str, int))) for row in value]
        keys = keys if len(set(keys)) == len(keys) and all(keys) else map(str, range(len(value)))
        value = {key: {name: part for name, part in row.items() if not isinstance(part, (str, int))} or row
                 for key, row in zip(keys, value)}
    if isinstance(value, dict):
        parts = {str(name): _figures(part, with_lists) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part not in (None, {}, [])}
    if isinstance(value, list):
        return [_scalar(part) for part in value] if with_lists and len(value) <= LONGEST_LIST and all(
            isinstance(part, (int, float)) for part in value) else None
    return _scalar(value)


def _scalar(value):
    """Returns a number, truth value or short text, and None for anything else, which JSON's NaN is too."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value[:200] if isinstance(value, str) else value if isinstance(value, int) else None


def _minutes(seconds):
    seconds = seconds.get("total") if isinstance(seconds, dict) else seconds
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds < 1e9
    return round(seconds / 60, 2) if is_number else None


def _text(content):
    """Returns a record as JSON, and the names of metrics that had to be left out for its size, the largest ones."""
    metrics, dropped = dict(content["metrics"]), []
    while True:
        text = json.dumps(content | {"metrics": metrics}, indent=1, sort_keys=True, allow_nan=False) + "\n"
        if len(text) <= LARGEST:
            return text, dropped
        if len(metrics) < 2:
            raise UserError(f"the record would be larger than {LARGEST} bytes")
        dropped.append(max(metrics, key=lambda name: len(json.dumps(metrics[name]))))
        del metrics[dropped[-1]]


def hardware(path="/proc/cpuinfo"):
    """Returns the hardware that the results depend on: processor, relevant flags, cores, and GPUs if the driver responds."""
    found = {"cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
             "processor": platform.processor() or platform.machine()}
    try:
        lines = (line.partition(":") for line in pathlib.Path(path).read_text(errors="replace").split("\n\n")[0].splitlines())
        facts = {name.strip(): value.strip() for name, _, value in lines}
        found["flags"] = sorted(set(FLAGS) & doctor.processor_flags(path))
        if "model name" in facts:  # cloud machines all say the same; family and model tell their generations apart
            found["processor"] = f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')})"
    except OSError:
        pass  # the system does not tell
    gpus = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return found | ({"gpus": gpus} if gpus else {})


def commit(root=_ROOT):
    """Returns the commit of the clone, with -dirty if the source code was changed, or None without a clone."""
    if not (root / ".git").exists():
        return None
    name = _output("git", "-C", str(root), "rev-parse", "HEAD")
    differs = _output("git", "-C", str(root), "status", "--porcelain", "--", "apps", "layers", "training")
    return name + ("-dirty" if differs else "") if name else None


def _output(*command):
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""
