"""Checks whether this machine has everything that the suite needs: `python -m apps doctor`."""
import configparser
import dataclasses
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import shutil
import socket
import subprocess
import sys
from typing import Annotated, NamedTuple

import tyro

from training import paths
from training.config import Data
from training.errors import UserError
from training.paths import Expanding, IsPath, Path

DISTRIBUTION = "tensorflow-suite"
PORTS = {6006: "TensorBoard", 8500: "TensorFlow Serving, gRPC", 8501: "TensorFlow Serving, REST"}
ROOM = 5e9
"""free disk space in bytes below which a long training may fill the disk"""


class Finding(NamedTuple):
    """One line of the report: `state` is ok, note (works with limitations) or bad (the suite cannot work)."""

    state: str
    what: str
    text: str


@dataclasses.dataclass(frozen=True)
class Doctor(Expanding):
    """Checks whether this machine has everything that the suite needs. Exit code 2 if something essential is missing."""

    data_dir: str | None = None
    """folder of prepared TFDS data sets; None: TFDS's own, ~/tensorflow_datasets"""
    manual_dir: Annotated[str | None, IsPath()] = None
    """folder of manually downloaded data sets"""
    runs: Path = "runs"
    """parent folder of the runs"""
    saved_models: Path = "saved_models"
    """parent folder of the exports"""
    timeout_seconds: float = 120.0
    """time limit for the start of TensorFlow"""
    debug: bool = False
    """show the traceback of an error"""


def main(arguments):
    """Prints all findings and returns the exit code."""
    request = tyro.cli(Doctor, prog="python -m apps doctor", args=arguments, description=Doctor.__doc__)
    worst = "ok"
    for group in (lambda: [python()], packages, lambda: devices(request.timeout_seconds), lambda: [matrix_units()],
                  lambda: [data_sets(request.data_dir)],
                  lambda: [folder("manual data", request.manual_dir)] if request.manual_dir else [],
                  lambda: [folder("runs", request.runs), folder("exports", request.saved_models), room(request.runs)],
                  lambda: [tensorboard()], ports, lambda: [containers()]):
        for finding in group():
            print(f"{finding.state:4}  {finding.what:24}  {finding.text}", flush=True)
            worst = "bad" if "bad" in (worst, finding.state) else worst
    if worst == "bad":
        print("\nFix the problems marked bad first.")
        return 2
    return 0


def python():
    """Returns the Finding about the Python version."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("ok", "Python", version)
    return Finding("bad", "Python", f"{version}: the suite needs 3.11, 3.12 or 3.13")


def packages():
    """Returns a Finding for every required package."""
    from packaging.requirements import Requirement

    found = []
    for text in requirements():
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding("bad", requirement.name, "not installed: pip install -c constraints.txt -e ."))
            continue
        inside = requirement.specifier.contains(version, prereleases=True)
        found.append(Finding("ok", requirement.name, version) if inside else
                     Finding("note", requirement.name, f"{version} is outside the tested range {requirement.specifier}"))
    return found


def requirements():
    """Returns the suite's requirements, as text, from the clone or else from the installed package."""
    clone = pathlib.Path(__file__).resolve().parents[1] / "setup.cfg"
    parser = configparser.ConfigParser()
    if clone.is_file() and parser.read(clone, encoding="utf-8") and parser.get("metadata", "name", fallback="") == DISTRIBUTION:
        return [line for line in parser["options"]["install_requires"].splitlines() if line and not line.startswith("#")]
    try:
        return importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []


# runs in a process of its own: a driver that hangs, or an instruction that the processor lacks, ends only that one
_LOOK = """
import json, sys
import tensorflow as tf
gpus = tf.config.list_physical_devices("GPU")
details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
print(json.dumps({
    "cuda_build": tf.test.is_built_with_cuda(),
    "gpus": [[d.get("device_name", "GPU"), d.get("compute_capability")] for d in details],
    "tpus": len(tf.config.list_physical_devices("TPU")),
}))
"""


def devices(timeout_seconds):
    """Returns Findings about the devices that TensorFlow sees, and why it sees no GPU."""
    try:
        ended = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=timeout_seconds,
                               env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return [Finding("bad", "devices", f"TensorFlow did not respond within {timeout_seconds:.0f} s: a driver may hang; "
                                          "set CUDA_VISIBLE_DEVICES=-1 to run without the GPU")]
    try:
        seen = json.loads(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        lines = ended.stderr.strip().splitlines() or [f"it ended with code {ended.returncode}"]
        return [Finding("bad", "devices", f"TensorFlow cannot be imported: {lines[-1][:200]}")]
    found = [Finding("ok", "processor", f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}"
                                        " cores")]
    if seen["tpus"]:
        found.append(Finding("ok", "TPU", f"{seen['tpus']} cores: --strategy tpu"))
    for name, capability in seen["gpus"]:
        found.append(Finding("ok", "GPU", f"{name}, {gpu_units(capability)}"))
    if not seen["gpus"]:
        found.append(Finding("note", "GPU", f"none is used: {why_no_gpu(seen['cuda_build'], ended.stderr, nvidia_smi())}"))
    return found


def nvidia_smi():
    """Returns "absent", "failing" or "working": the state of the NVIDIA driver."""
    if shutil.which("nvidia-smi"):
        return "working" if "GPU" in _runs("nvidia-smi", "-L") else "failing"
    return "failing" if pathlib.Path("/proc/driver/nvidia/version").exists() else "absent"


def why_no_gpu(cuda_build, log, driver, environment=os.environ):
    """Returns the most likely reason why TensorFlow sees no GPU, and the remedy.

    cuda_build: whether this TensorFlow was built with CUDA.
    log:        what TensorFlow wrote to its error stream.
    driver:     as `nvidia_smi` returns it.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if driver == "absent":
        return "there is no NVIDIA driver on this machine"
    if driver == "failing":
        return "NVIDIA's driver is installed but does not respond: run `nvidia-smi`, and reboot after a driver update"
    if visible is not None and visible.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={visible!r} hides all GPUs"
    if not cuda_build:
        return "this TensorFlow was built without CUDA" + \
            (": use WSL2 on Windows" if sys.platform == "win32" else ": pip install -c constraints.txt -e '.[gpu]'")
    if "Cannot dlopen" in log or "could not open" in log.lower() or "Could not find cuda drivers" in log:
        return "the CUDA libraries are missing or have the wrong version: pip install -c constraints.txt -e '.[gpu]'"
    lines = [line for line in log.splitlines() if "cuda" in line.lower()]
    return lines[-1].split("] ")[-1][:200] if lines else "TensorFlow gives no reason"


def gpu_units(capability):
    """Describes the matrix units of a GPU with this compute capability."""
    if not capability:
        return "compute capability unknown"
    version = ".".join(map(str, capability))
    if tuple(capability) >= (8, 0):
        return f"compute capability {version}: matrix units for bfloat16 and float16"
    if tuple(capability) >= (7, 0):
        return f"compute capability {version}: matrix units for float16 (--dtype mixed_float16)"
    return f"compute capability {version}: no matrix units"


def processor_flags(path="/proc/cpuinfo"):
    """Returns the feature flags of the processor.

    Raises:
        OSError: the system does not provide them.
    """
    text = pathlib.Path(path).read_text(errors="replace")
    lines = [line.partition(":")[2] for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return set(lines[0].split()) if lines else set()


def bfloat16_instructions(flags):
    """Returns the bfloat16 instructions that `--dtype auto` relies on: "AMX", "AVX-512 BF16", or None."""
    return next((name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")) if flag in flags), None)


def matrix_units(path="/proc/cpuinfo"):
    """Returns the Finding about matrix units for bfloat16 in the processor."""
    try:
        flags = processor_flags(path)
    except OSError:
        return Finding("note", "matrix units", "unknown on this system")
    found = bfloat16_instructions(flags)
    if found:
        return Finding("ok", "matrix units", f"{found}: --dtype auto can choose bfloat16")
    if "bf16" in flags:
        return Finding("ok", "matrix units", "Arm's bfloat16 instructions, which are untested: --dtype auto chooses float32")
    return Finding("ok", "matrix units", "the processor has none: --dtype auto chooses float32")


def data_sets(path=None):
    """Returns the Finding about the folder of prepared data sets: `path`, or else the default of TFDS."""
    try:
        return folder("data sets", paths.expanded(path or Data().data_dir, paths.DATA_DIR_REMEDY))
    except UserError as error:
        return Finding("bad", "data sets", str(error))


def folder(what, path):
    """Returns the Finding about a folder: whether it is writable, its contents and its size."""
    path = pathlib.Path(path)
    nearest = next((parent for parent in (path, *path.absolute().parents) if parent.exists()), None)
    if nearest is None or not nearest.is_dir():
        return Finding("bad", what, f"{path} is blocked by a file" if nearest else f"{path} cannot be created")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("bad", what, f"{path} is not writable: change its owner, or choose another folder")
    if nearest != path:
        return Finding("ok", what, f"{path} will be created")
    holds = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    size = sum(file.stat().st_size for parent, _, names in os.walk(path) for name in names
               if (file := pathlib.Path(parent, name)).is_file() and not file.is_symlink())
    shown = ", ".join(holds[:6]) + (f" and {len(holds) - 6} more" if len(holds) > 6 else "")
    return Finding("ok", what, f"{path}, {size / 1e9:.2f} GB" + (f": {shown}" if holds else ""))


def room(path):
    """Returns the Finding about the free disk space for runs."""
    path = pathlib.Path(path).absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    return Finding("ok" if free > ROOM else "note", "free disk", f"{free / 1e9:.1f} GB" +
                   ("" if free > ROOM else f": `python -m apps runs prune --keep 1 --runs {shlex.quote(str(path))}` frees space"))


def tensorboard():
    """Returns the Finding about the program `tensorboard`."""
    try:
        importlib.import_module("tensorboard.main")
        return Finding("ok", "tensorboard", "installed")
    except Exception as error:  # a missing pkg_resources is the usual one
        return Finding("bad", "tensorboard", f"cannot be imported ({error}): pip install 'setuptools<81'")


def ports(wanted=PORTS):
    """Returns Findings about the ports that the README uses."""
    return [Finding("note", f"port {port}", f"in use (needed for {use}): choose another port for it") if _answers(port) else
            Finding("ok", f"port {port}", f"free (for {use})") for port, use in wanted.items()]


def containers():
    """Returns the Finding about a container engine; a client without an engine does not count."""
    found = {program: _runs(program, "version") for program in ("docker", "podman") if shutil.which(program)}
    for program, answers in found.items():
        if answers:
            return Finding("ok", "container engine", program)
    why = f"{' and '.join(found)} installed, but no engine responds" if found else "none found"
    return Finding("note", "container engine", f"{why}: TensorFlow Serving needs a container engine")


def _runs(*command):
    """Returns the output of a program, or "" where it fails or hangs."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout if ended.returncode == 0 else ""


def _answers(port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.5)
        return connection.connect_ex(("127.0.0.1", port)) == 0
