"""Stands in for Kubernetes and Slurm: starts what the files of `deploy` say, on this machine, at other addresses and paths."""
import os
import pathlib
import re
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

SRUN = """#!{python}
import os, subprocess, sys, time
options = [word for word in sys.argv[1:] if word.startswith("--") and sys.argv.index(word) < sys.argv.index("sh")]
assert options == ["--kill-on-bad-exit=1"], options
command = sys.argv[1 + len(options):]
tasks = [subprocess.Popen(command, env=os.environ | {{"SLURM_PROCID": str(rank)}}) for rank in range({tasks})]
for rank, task in enumerate(tasks):
    with open(f"{folder}/task-{{rank}}", "w") as file:
        file.write(str(task.pid))
while any(task.poll() is None for task in tasks) and not any(task.poll() for task in tasks):
    time.sleep(0.1)
for task in tasks:  # as srun ends a step of which one task has failed
    if task.poll() is None and any(other.poll() for other in tasks):
        task.terminate()
        try:
            task.wait(30)
        except subprocess.TimeoutExpired:
            task.kill()
sys.exit(max(code if code >= 0 else 128 - code for code in (task.wait() for task in tasks)))
"""


def environment(container, labels, index):
    """Returns a container's environment as the kubelet makes it: $(NAME) is the value of a variable that stands above it."""
    found = {}
    for variable in container["env"]:
        value = variable.get("value")
        if value is None:
            value = labels[re.fullmatch(r"metadata\.labels\['(.+)'\]", variable["valueFrom"]["fieldRef"]["fieldPath"])[1]]
        found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
    return found | {"JOB_COMPLETION_INDEX": str(index)}  # which the controller adds to an Indexed Job's containers


def free_ports(first=20000, step=10, count=2):
    """Returns a multiple of `step` from which on so many ports are free."""
    for port in range(first + os.getpid() % 500 * step, 60000, step):
        try:
            for number in range(port, port + count):
                with socket.socket() as one:
                    one.bind(("0.0.0.0", number))
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


def start(command, log, path=(), **variables):
    """Starts a process in the folder of the clone, with `path` before all other programs; it appends to the file `log`."""
    path = [str(folder) for folder in path] + [os.path.dirname(sys.executable), os.environ["PATH"]]
    settings = {"PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    clean = {name: value for name, value in os.environ.items() if name != "TF_CONFIG" and not name.startswith("SLURM")}
    with open(log, "a") as file:
        return subprocess.Popen(command, cwd=ROOT, env=clean | settings | variables, stdout=file, stderr=subprocess.STDOUT)


def slurm(folder, tasks=2):
    """Writes stand-ins of srun and scontrol into a folder, and returns what Slurm would tell a job of so many tasks on one node."""
    for name, text in {"srun": SRUN.format(python=sys.executable, folder=folder, tasks=tasks),
                       "scontrol": f'#!/bin/sh\necho "$@" >> {folder}/scontrol.log\n'}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    job = (free_ports(first=8888 + 1000) - 8888) // 10  # by which strategies chooses the port
    return {"SLURM_JOB_ID": str(job), "SLURM_STEP_NUM_TASKS": str(tasks), "SLURM_STEP_NODELIST": "127.0.0.1",
            "SLURM_STEP_TASKS_PER_NODE": str(tasks)}
