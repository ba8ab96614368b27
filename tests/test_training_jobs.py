"""Training on several machines by the files of `deploy`: against schemas where there are any, and started on this machine.

The ordinary suite runs their commands with a stand-in for Python. With `-m every_system` they train: two workers, of which one
is killed while it trains and one while it tests, and which are started again as Kubernetes or Slurm would do it.
"""
import contextlib
import json
import os
import re
import signal
import sys
import time

import h5py
import pytest

from tests import cluster_stand_in
from tests.test_deploy import by_kind, documents
from training import forms
from training.app import App
from training.engine import strategies

RUN = "/data/runs/detection/multi_worker"
PODS = ["job", "train_job"]


@pytest.fixture
def deploy(repository):
    return repository / "deploy"


def job(deploy):
    """Returns (pod's labels, container, number of workers, pod's specification) of the plain Job."""
    spec = by_kind(deploy / "kubernetes" / "training_job.yaml")["Job"]["spec"]
    pod = spec["template"]["spec"]
    container, = pod["containers"]
    return {}, container, spec["completions"], pod


def train_job(deploy):
    """Returns the same of the TrainJob, put into its runtime as Trainer does it."""
    objects = by_kind(deploy / "kubeflow" / "train_job.yaml")
    replicated, = objects["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"]
    pod, trainer = replicated["template"]["spec"]["template"]["spec"], objects["TrainJob"]["spec"]["trainer"]
    container, = pod["containers"]
    merged = container | {"command": trainer["command"], "env": container["env"] + trainer["env"]}
    return {"jobset.sigs.k8s.io/jobset-name": objects["TrainJob"]["metadata"]["name"]}, merged, trainer["numNodes"], pod


def command(kind, deploy):
    """Returns the command by which each worker is started."""
    if kind in PODS:
        return globals()[kind](deploy)[1]["command"]
    if kind == "tfjob":
        spec = documents(deploy / "kubeflow" / "tfjob.yaml")[0]["spec"]
        return spec["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["command"]
    text = (deploy / "slurm" / "train.sbatch").read_text()
    return re.search(r"srun --kill-on-bad-exit=1 (.+); then", text)[1].split()


def test_kubernetes_objects_against_the_schemas(deploy):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="it is in the extra `test`")
    objects = documents(deploy / "kubernetes" / "training_claim.yaml") + documents(deploy / "kubernetes" / "training_job.yaml")
    assert [each["kind"] for each in objects] == ["PersistentVolumeClaim", "Service", "Job"]
    # the Job that Trainer makes of the runtime, whose own kinds have no schema in any package
    runtime = by_kind(deploy / "kubeflow" / "train_job.yaml")["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"][0]
    objects.append({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "detection-node-0"},
                    "spec": runtime["template"]["spec"]})
    for version in ("1.30", kubernetes_validate.latest_version()):
        for each in objects:
            kubernetes_validate.validate(each, version, strict=True)


def closed(required, **properties):
    """Returns the JSON schema of an object that has these properties and no other."""
    return {"type": "object", "required": required.split(), "properties": properties, "additionalProperties": False}


WORD, COUNT, ANY = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 1}, {"type": "object"}
NAMED = closed("name", name={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}, labels=ANY)
TRAINER = {
    "TrainingRuntime": closed("mlPolicy template", mlPolicy=closed("", numNodes=COUNT, torch=ANY, mpi=ANY), podGroupPolicy=ANY, template=closed(
        "spec", metadata=ANY, spec=closed(
            "replicatedJobs", network=ANY, successPolicy=ANY, startupPolicy=ANY, failurePolicy=closed(
                "", maxRestarts=COUNT, rules={"type": "array"}, restartStrategy={"enum": ["Recreate", "BlockingRecreate"]}),
            replicatedJobs={"type": "array", "minItems": 1, "items": closed(
                "name template", name=WORD, replicas=COUNT, template=closed("metadata spec", metadata=ANY, spec=ANY))}))),
    "TrainJob": closed("runtimeRef", runtimeRef=closed("name", name=WORD, apiGroup={"const": "trainer.kubeflow.org"}, kind={
        "enum": ["TrainingRuntime", "ClusterTrainingRuntime"]}), suspend={"type": "boolean"}, trainer=closed(
            "", image=WORD, numNodes=COUNT, command={"type": "array", "items": WORD}, args={"type": "array", "items": WORD},
            env={"type": "array", "items": closed("name", name=WORD, value={"type": "string"}, valueFrom=ANY)}, resourcesPerNode=ANY)),
}
"""the specifications of trainer.kubeflow.org/v1alpha1, as far as these files use them; fields are named as in its Go types"""


def test_trainer_objects(deploy):
    jsonschema = pytest.importorskip("jsonschema", reason="it comes with kubernetes-validate, in the extra `test`")
    objects = by_kind(deploy / "kubeflow" / "train_job.yaml")
    assert list(objects) == list(TRAINER)
    for kind, found in objects.items():
        jsonschema.validate(found, closed("apiVersion kind metadata spec", apiVersion={"const": "trainer.kubeflow.org/v1alpha1"},
                                          kind={"const": kind}, metadata=NAMED, spec=TRAINER[kind]))
    runtime, used = objects["TrainingRuntime"], objects["TrainJob"]["spec"]
    assert used["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": runtime["metadata"]["name"]}
    replicated, = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert replicated["name"] == "node" and replicated["template"]["spec"]["template"]["spec"]["containers"][0]["name"] == "node"
    assert replicated["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    # one failed pod must fail its Job, for the JobSet to start all of them again
    assert replicated["template"]["spec"]["backoffLimit"] == 0
    assert replicated["template"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    used["trainer"]["numNode"] = 2
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(used, TRAINER["TrainJob"])


def test_the_job_and_its_service_fit_together(deploy):
    objects = by_kind(deploy / "kubernetes" / "training_job.yaml")
    service, found = objects["Service"], objects["Job"]
    name, pod = found["metadata"]["name"], found["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert found["spec"]["completionMode"] == "Indexed" and found["spec"]["completions"] == found["spec"]["parallelism"]
    assert pod["restartPolicy"] == "OnFailure" and found["spec"]["backoffLimit"] >= 20
    claim, = documents(deploy / "kubernetes" / "training_claim.yaml")
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


PYTHON = """#!{python}
import json, os, sys
with open("{log}", "a") as file:
    file.write(json.dumps([sys.argv[1:], os.environ.get("TF_CONFIG")]) + "\\n")
sys.exit({code})
"""


@pytest.fixture
def programs(tmp_path):
    """A folder for programs that are found before all others, with a `python` that only notes how it was called."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def write(code=0):
        (folder / "python").write_text(PYTHON.format(python=sys.executable, log=tmp_path / "calls", code=code))
        (folder / "python").chmod(0o755)
        return folder

    return write


def calls(tmp_path):
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def parsed(arguments):
    assert arguments[:2] == ["-m", "apps.detection"]
    return forms.parse(App("detection").systems, arguments[2:], program="", description="").config


@pytest.mark.parametrize("kind", [*PODS, "tfjob", "slurm"])
def test_a_worker_starts_a_run_goes_on_with_it_and_leaves_a_finished_one_alone(kind, deploy, tmp_path, programs):
    words = [word.replace("/data", str(tmp_path)) for word in command(kind, deploy)]
    words = [str(tmp_path / word) if word.startswith("runs/") else word for word in words]

    def run():
        return cluster_stand_in.start(words, tmp_path / "log", path=[programs()]).wait(20)

    assert run() == 0
    folder = tmp_path / "runs" / "detection" / "multi_worker"
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    assert run() == 0
    first, again = (parsed(arguments) for arguments, _ in calls(tmp_path))
    assert first.strategy == "multi_worker" and not first.resume and again.resume
    assert (first.name, first.runs) == (again.name, again.runs) == ("multi_worker", str(tmp_path / "runs"))
    if kind != "slurm":
        assert first.saved_models == str(tmp_path / "saved_models") and first.data_dir == str(tmp_path / "tensorflow_datasets")
    (folder / "results.json").touch()
    assert run() == 0 and len(calls(tmp_path)) == 2
    assert "is already finished" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kind, host", [("job", "detection-{}.detection"), ("train_job", "detection-node-0-{}.detection")])
def test_every_pod_makes_the_same_cluster_of_its_index(kind, host, deploy, tmp_path, programs):
    labels, container, count, pod = globals()[kind](deploy)
    assert {variable["name"]: variable.get("value") for variable in container["env"]}["WORKERS"] == str(count) == "2"
    for workers in (count, 12):
        (tmp_path / "calls").unlink(missing_ok=True)
        for index in (0, workers - 1):
            variables = cluster_stand_in.environment(container, labels, index) | {"WORKERS": str(workers)}
            assert cluster_stand_in.start(container["command"], tmp_path / "log", path=[programs()], **variables).wait(20) == 0
        given = [settings for _, settings in calls(tmp_path)]
        assert [strategies._cluster(text) for text in given] == [("worker", index, workers) for index in (0, workers - 1)]
        addresses = [f"{host.format(index)}:{container['ports'][0]['containerPort']}" for index in range(workers)]
        assert all(json.loads(text)["cluster"] == {"worker": addresses} for text in given)
    mount, = container["volumeMounts"]
    volume, = pod["volumes"]
    assert mount["mountPath"] == "/data" and mount["name"] == volume["name"]


def test_tf_config_of_the_operator_is_kept(deploy, tmp_path, programs):
    assert cluster_stand_in.start(command("tfjob", deploy), tmp_path / "log", path=[programs()], TF_CONFIG="{}").wait(20) == 0
    assert calls(tmp_path)[0][1] == "{}"


def test_the_batch_script_queues_again_after_a_loss(deploy, tmp_path, programs):
    text = (deploy / "slurm" / "train.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.+))?$", text, re.M))
    assert options["nodes"] == "2" and options["ntasks-per-node"] == "1" and options["signal"] == "TERM@120"
    assert {"requeue", "open-mode"} <= set(options)
    (tmp_path / "train.sbatch").write_text(text.replace("runs/detection", str(tmp_path / "runs" / "detection")))
    folder = programs(code=2)
    told, asked = cluster_stand_in.slurm(folder), folder / "scontrol.log"

    def run(**variables):
        return cluster_stand_in.start(["bash", tmp_path / "train.sbatch"], tmp_path / "log", path=[folder], **told, **variables).wait(30)

    assert run() == 1 and asked.read_text() == f"requeue {told['SLURM_JOB_ID']}\n"
    assert run(SLURM_RESTART_COUNT="20") == 1 and asked.read_text().count("\n") == 1
    programs(code=0)
    assert run() == 0 and asked.read_text().count("\n") == 1


TINY = ["--model", "softmax", "--batch-size", "16", "--epochs", "6", "--steps-per-call", "1", "--checkpoint-every", "7"]
KILLS = [("checkpoints/epoch-00001-step-*.npz", 1), ("last.weights.h5", 0)]
"""once this file of the run is there, that worker is killed: the second one in training, then the first one in testing"""


class Cluster:
    """Two workers that are started as the files say, and again when one of them fails, as their system would do it.

    kind:   "job" starts the failed one again, "train_job" and "slurm" all of them
    folder: takes the place of /data
    data:   folder of prepared data sets
    """

    def __init__(self, kind, deploy, folder, data):
        self.kind, self.folder, self.codes = kind, folder, []
        self.run = folder / "runs" / "classification" / "multi_worker"  # worker.sh takes the application from the path
        flags = ["--saved-models", str(folder / "saved_models"), "--data-dir", str(data)]
        if kind == "slurm":
            self.told = cluster_stand_in.slurm(folder)
            script = (deploy / "slurm" / "train.sbatch").read_text()
            self.script = folder / "train.sbatch"
            self.script.write_text(script.replace("runs/detection/multi_worker", " ".join([str(self.run), *flags, *TINY])))
            self.parts = 1
        else:
            self.pod, self.port, self.parts = globals()[kind](deploy), cluster_stand_in.free_ports(), 2
            given = self.pod[1]["command"]
            self.command = [*given[:given.index(RUN)], str(self.run), *flags, *TINY]
        self.processes = [self.start(index) for index in range(self.parts)]

    def start(self, index):
        log = self.folder / f"log-{index}"
        if self.kind == "slurm":
            return cluster_stand_in.start(["bash", self.script], log, path=[self.folder], **self.told,
                                          SLURM_RESTART_COUNT=str(len(self.codes)))
        labels, container, _, _ = self.pod
        variables = cluster_stand_in.environment(container, labels, index) | {"ADDRESS": f"127.0.0.1:{self.port // 10}%d"}
        return cluster_stand_in.start(self.command, log, **variables)

    def kill(self, worker):
        pid = int((self.folder / f"task-{worker}").read_text()) if self.kind == "slurm" else self.processes[worker].pid
        os.kill(pid, signal.SIGKILL)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def finish(self, kills=(), seconds=400):
        """Waits until all workers are through."""
        kills, deadline = list(kills), time.monotonic() + seconds
        while any(process.poll() != 0 for process in self.processes):
            assert time.monotonic() < deadline, self.logs()
            if kills and list(self.run.glob(kills[0][0])):
                self.kill(kills.pop(0)[1])
            failed = [index for index, process in enumerate(self.processes) if process.poll()]
            self.codes += [self.processes[index].returncode for index in failed]
            if failed and self.kind == "train_job":
                self.end()
                failed = range(self.parts)
            for index in failed:
                self.processes[index] = self.start(index)
            time.sleep(0.05)
        assert not kills, "the training was through before all kills"
        return json.loads((self.run / "results.json").read_text())

    def logs(self):
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("log-*")))


@contextlib.contextmanager
def cluster(*arguments):
    """Yields a Cluster none of whose processes outlives the test."""
    found = Cluster(*arguments)
    try:
        yield found
    finally:
        found.end()


def weights(run):
    """Returns the last weights of a run by name."""
    found = {}
    with h5py.File(run / "last.weights.h5") as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.fixture(scope="module")
def unbroken(repository, tmp_path_factory):
    """Returns (results and last weights of a training without a loss, the folder of its data sets)."""
    folder = tmp_path_factory.mktemp("unbroken")
    with cluster("job", repository / "deploy", folder, folder / "tensorflow_datasets") as found:
        return found.finish(), weights(found.run), folder / "tensorflow_datasets"


@pytest.mark.every_system
@pytest.mark.parametrize("kind", [*PODS, "slurm"])
def test_lost_workers_cost_nothing(kind, deploy, tmp_path, unbroken):
    expected, last, data = unbroken
    with cluster(kind, deploy, tmp_path, data) as found:
        results = found.finish(KILLS)
        assert len(found.codes) >= (4 if kind == "job" else 2) and "continuing after step" in found.logs(), found.codes
        if kind == "job":
            assert 2 in found.codes and "another worker was lost" in found.logs()
    assert results["replicas"] == expected["replicas"] == 2
    assert results["metrics"] == expected["metrics"]
    ended = weights(found.run)
    assert list(ended) == list(last) and all((ended[name] == last[name]).all() for name in last)
