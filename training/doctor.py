"""Says what this machine has for the suite, and what is missing: `python -m apps doctor`."""
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
from training.errors import UserError
from training.paths import Expanding, IsPath, Path

DISTRIBUTION = "tensorflow-suite"
PORTS = {6006: "TensorBoard", 8500: "TensorFlow Serving, gRPC", 8501: "TensorFlow Serving, REST"}
ROOM = 5e9
"""bytes of free disk below which a long training may end in a full disk"""


class Finding(NamedTuple):
    """One line: `state` is ok, note (works, but look) or bad (the suite cannot work)."""

    state: str
    what: str
    text: str


@dataclasses.dataclass(frozen=True)
class Doctor(Expanding):
    """Says what this machine has for the suite, and what is missing. Exit code 2 where something essential is."""

    data_dir: str | None = None
    """folder of prepared TFDS data sets (default: TFDS's own, ~/tensorflow_datasets)"""
    manual_dir: Annotated[str | None, IsPath()] = None
    """folder of data sets that are fetched by hand"""
    runs: Path = "runs"
    """folder that takes the runs"""
    saved_models: Path = "saved_models"
    """folder that takes the exports"""
    timeout_seconds: float = 120.0
    """how long TensorFlow may take to answer"""
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
        print("\nThe lines that begin with bad must be mended first.")
        return 2
    return 0


def python():
    """Returns the Finding about the Python version."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("ok", "Python", version)
    return Finding("bad", "Python", f"{version}: the suite needs 3.11, 3.12 or 3.13")


def packages():
    """Returns a finding for every package that the suite asks for."""
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
                     Finding("note", requirement.name, f"{version} is outside of what was tested: {requirement.specifier}"))
    return found


def requirements():
    """Returns the suite's requirements, as text: from the clone where there is one, else from the installed package."""
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
    """Returns what TensorFlow computes on, and why no GPU where it sees none."""
    try:
        ended = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, timeout=timeout_seconds,
                               env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return [Finding("bad", "devices", f"TensorFlow gave no answer within {timeout_seconds:.0f} seconds: is a driver hanging? "
                                          "CUDA_VISIBLE_DEVICES=-1 leaves the GPU out")]
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
    """Returns "absent", "failing" or "working": what NVIDIA's driver says of itself."""
    if shutil.which("nvidia-smi"):
        return "working" if "GPU" in _runs("nvidia-smi", "-L") else "failing"
    return "failing" if pathlib.Path("/proc/driver/nvidia/version").exists() else "absent"


def why_no_gpu(cuda_build, log, driver, environment=os.environ):
    """Returns the likeliest reason why TensorFlow sees no GPU, and the remedy.

    cuda_build: whether this TensorFlow was built with CUDA.
    log:        what TensorFlow wrote to its error stream.
    driver:     as `nvidia_smi` says.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if driver == "absent":
        return "there is no NVIDIA driver on this machine"
    if driver == "failing":
        return "NVIDIA's driver is installed but does not answer; see `nvidia-smi`, and reboot after an update"
    if visible is not None and visible.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={visible!r} hides it"
    if not cuda_build:
        return "this TensorFlow was built without CUDA" + \
            (": on Windows use WSL2" if sys.platform == "win32" else ": pip install -c constraints.txt -e '.[gpu]'")
    if "Cannot dlopen" in log or "could not open" in log.lower() or "Could not find cuda drivers" in log:
        return "CUDA's libraries are missing or of another version: pip install -c constraints.txt -e '.[gpu]'"
    lines = [line for line in log.splitlines() if "cuda" in line.lower()]
    return lines[-1].split("] ")[-1][:200] if lines else "TensorFlow does not say why"


def gpu_units(capability):
    """Returns what a GPU of this compute capability multiplies matrices fast in."""
    if not capability:
        return "compute capability unknown"
    version = ".".join(map(str, capability))
    if tuple(capability) >= (8, 0):
        return f"compute capability {version}: matrix units for bfloat16 and float16"
    if tuple(capability) >= (7, 0):
        return f"compute capability {version}: matrix units for float16 (--dtype mixed_float16)"
    return f"compute capability {version}: no matrix units"


def processor_flags(path="/proc/cpuinfo"):
    """Returns the names of what the processor can do.

    Raises:
        OSError: the system does not tell.
    """
    text = pathlib.Path(path).read_text(errors="replace")
    lines = [line.partition(":")[2] for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return set(lines[0].split()) if lines else set()


def bfloat16_instructions(flags):
    """Returns what `--dtype auto` takes bfloat16 for on a processor: "AMX", "AVX-512 BF16", or None."""
    return next((name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")) if flag in flags), None)


def matrix_units(path="/proc/cpuinfo"):
    """Returns whether the processor multiplies matrices in bfloat16 in hardware."""
    try:
        flags = processor_flags(path)
    except OSError:
        return Finding("note", "matrix units", "cannot tell on this system")
    found = bfloat16_instructions(flags)
    if found:
        return Finding("ok", "matrix units", f"{found}: --dtype auto takes bfloat16")
    if "bf16" in flags:
        return Finding("ok", "matrix units", "Arm's bfloat16 instructions, not tried here: --dtype auto takes float32")
    return Finding("ok", "matrix units", "the processor has none: --dtype auto takes float32 on it")


def data_sets(path=None):
    """Returns the Finding about the folder of prepared data sets: `path`, or the one that TFDS takes."""
    path = path or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        return folder("data sets", paths.expanded(path, paths.DATA_DIR_REMEDY))
    except UserError as error:
        return Finding("bad", "data sets", str(error))


def folder(what, path):
    """Returns whether a folder can be written, what it holds and how large it is."""
    path = pathlib.Path(path)
    nearest = next((parent for parent in (path, *path.absolute().parents) if parent.exists()), None)
    if nearest is None or not nearest.is_dir():
        return Finding("bad", what, f"{path} is in the way of a folder" if nearest else f"{path} cannot be made")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding("bad", what, f"{path} cannot be written: change its owner, or choose another folder")
    if nearest != path:
        return Finding("ok", what, f"{path} will be made")
    holds = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    size = sum(file.stat().st_size for parent, _, names in os.walk(path) for name in names
               if (file := pathlib.Path(parent, name)).is_file() and not file.is_symlink())
    shown = ", ".join(holds[:6]) + (f" and {len(holds) - 6} more" if len(holds) > 6 else "")
    return Finding("ok", what, f"{path}, {size / 1e9:.2f} GB" + (f": {shown}" if holds else ""))


def room(path):
    """Returns the free disk where runs go."""
    path = pathlib.Path(path).absolute()
    nearest = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    return Finding("ok" if free > ROOM else "note", "free disk", f"{free / 1e9:.1f} GB" +
                   ("" if free > ROOM else f": `python -m apps runs prune --keep 1 --runs {shlex.quote(str(path))}` makes room"))


def tensorboard():
    """Returns the Finding about the program `tensorboard`."""
    try:
        importlib.import_module("tensorboard.main")
        return Finding("ok", "tensorboard", "can be started")
    except Exception as error:  # a missing pkg_resources is the usual one
        return Finding("bad", "tensorboard", f"cannot be imported ({error}): pip install 'setuptools<81'")


def ports(wanted=PORTS):
    """Returns whether anything answers on the ports that the README names."""
    return [Finding("note", f"port {port}", f"in use ({use}): choose another one for it") if _answers(port) else
            Finding("ok", f"port {port}", f"free ({use})") for port, use in wanted.items()]


def containers():
    """Returns whether a container engine answers; a client alone is none."""
    found = {program: _runs(program, "version") for program in ("docker", "podman") if shutil.which(program)}
    for program, answers in found.items():
        if answers:
            return Finding("ok", "container engine", program)
    why = f"{' and '.join(found)} installed, but no engine answers" if found else "none found"
    return Finding("note", "container engine", f"{why}: TensorFlow Serving needs one")


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
