"""Several replicas must train as one would: in one process with two logical CPUs, and as two processes on loopback."""
import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import cluster_stand_in
from tests.training import small_models
from training import UserError
from training.app import App
from training.data.pipelines import shuffled
from training.engine import loop, strategies

SCRIPT = pathlib.Path(__file__).with_name("train_small.py")
BATCH = 32


@pytest.fixture(scope="module")
def mirrored():
    return strategies.make("mirrored")


def trained(strategy=None, steps=20, validation=None, model=small_models.classifier, preprocess=small_models.plain,
            **settings):
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        made = model(**settings)
    train = shuffled(small_models.examples(), preprocess, BATCH, seed=0)
    history = loop.fit(made, train, validation, epochs=9, limit_steps=steps, strategy=strategy, steps_per_call=7)
    return made, history


def differences(model, other):
    return [np.max(np.abs(a - b)) for a, b in zip(model.get_weights(), other.get_weights(), strict=True)]


def counted():
    model = small_models.CountedLoss()
    model.compile(keras.optimizers.SGD(0.5))
    return model


@pytest.mark.parametrize("settings", [
    dict(norm="frozen", dropout=0), dict(norm="synchronized", dropout=0), dict(model=counted)],
    ids=["frozen", "synchronized", "counted"])
def test_two_replicas_are_as_good_as_one(mirrored, settings):
    one, history = trained(**settings)
    two, other = trained(mirrored, **settings)
    assert mirrored.num_replicas_in_sync == 2
    assert max(differences(one, two)) < 1e-5
    for name in history.history:
        np.testing.assert_allclose(history.history[name], other.history[name], rtol=1e-5)
    start, _ = trained(steps=1, **settings)
    assert max(differences(one, start)) > 1e-2  # something was learnt at all


def test_loss_over_batch_norm_is_the_mean_of_the_replicas(mirrored):
    settings = dict(norm="plain", dropout=0)
    two, history = trained(mirrored, steps=1, **settings)
    keras.utils.set_random_seed(1)
    model = small_models.classifier(**settings)
    inputs, targets = next(iter(shuffled(small_models.examples(), small_models.plain, BATCH, seed=0)(
        0, 0, tf.distribute.InputContext())))
    losses, gradients, statistics = [], [], []
    before = [v.numpy() for v in model.non_trainable_weights]
    for half in (slice(0, BATCH // 2), slice(BATCH // 2, None)):  # the replicas' shares, by hand on one device
        with tf.GradientTape() as tape:
            outputs = model({"x": inputs["x"][half]}, training=True)
            loss = model.compute_loss(y={"label": targets["label"][half]}, y_pred=outputs)
        losses.append(float(loss))
        gradients.append(tape.gradient(loss, model.trainable_weights))
        statistics.append([v.numpy() for v in model.non_trainable_weights])
        for variable, value in zip(model.non_trainable_weights, before):
            variable.assign(value)
    model.optimizer.apply_gradients([((a + b) / 2, v) for a, b, v in zip(*gradients, model.trainable_weights)])
    np.testing.assert_allclose(history.history["loss"], [np.mean(losses)], rtol=1e-6)
    for variable, other in zip(model.trainable_weights, two.trainable_weights):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), atol=1e-5)
    for a, b, variable in zip(*statistics, two.non_trainable_weights):  # averaged, on every replica
        for own in mirrored.experimental_local_results(variable.value):
            np.testing.assert_allclose(own.numpy(), (a + b) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [33])
def test_validation_counts_every_example_once(mirrored, count):
    validation = small_models.examples(count, seed=5).batch(BATCH)
    for settings in (dict(model=small_models.own_test), dict(norm="frozen", dropout=0)):
        _, one = trained(steps=2, validation=validation, **settings)
        _, two = trained(mirrored, steps=2, validation=validation, **settings)
        for name in one.history:
            np.testing.assert_allclose(one.history[name], two.history[name], rtol=1e-5)


def test_replicas_draw_different_dropout_masks(mirrored):
    with mirrored.scope():
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5)])
    loop._separate_seeds(model, mirrored)
    masks = tf.function(lambda: mirrored.run(lambda: model(tf.ones((2, 64)), training=True)))
    for _ in range(2):
        first, second = mirrored.experimental_local_results(masks())
        assert np.any(first.numpy() != second.numpy())


def test_what_cannot_be_divided_is_refused(mirrored):
    with mirrored.scope():
        model = small_models.classifier()
    train = shuffled(small_models.examples(100), small_models.plain, 9, seed=0)
    with pytest.raises(UserError, match="9 must be a multiple of the 2 replicas"):
        loop.fit(model, train, epochs=1, strategy=mirrored)
    train = shuffled(small_models.examples(100), small_models.plain, 8, seed=0)
    with pytest.raises(UserError, match="one device only"):
        loop.fit(model, train, epochs=1, strategy=mirrored, xla=True)


def test_tpu_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(UserError, match="finds no TPU"):
        strategies.make("tpu")


@pytest.mark.parametrize("text, sentence", [
    (None, "needs the environment variable TF_CONFIG"),
    ("{", "cannot be read"),
    ('{"cluster": {"worker": ["a:1"]}}', "cannot be read"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "does not list"),
    ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "different HOST:PORT"),
    ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "HOST:PORT"),
    ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "only a chief and workers"),
])
def test_bad_cluster_is_refused_in_one_sentence(monkeypatch, text, sentence):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=sentence):
        strategies.make("multi_worker")


def slurm(monkeypatch, **variables):
    """Sets the variables of a Slurm step, and nothing else that names workers."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.mark.parametrize("hosts, tasks, rank, addresses", [
    ("n[9-11]", "1(x3)", 1, ["n9:8888", "n10:8888", "n11:8888"]),  # in Slurm's order, which is not that of the letters
    ("b,a", "2,1", 2, ["b:8888", "b:8889", "a:8888"]),
    ("gpu[01-02],login", "1(x3)", 0, ["gpu01:8888", "gpu02:8888", "login:8888"]),
])
def test_slurm_says_who_trains_together(monkeypatch, hosts, tasks, rank, addresses):
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    slurm(monkeypatch, PROCID=str(rank), STEP_NUM_TASKS=str(len(addresses)), STEP_NODELIST=hosts, STEP_TASKS_PER_NODE=tasks)
    resolver = strategies._slurm_step()
    assert resolver.cluster_spec().as_dict() == {"worker": addresses}
    assert (resolver.task_type, resolver.task_id) == ("worker", rank)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible  # Slurm has chosen the GPUs
    monkeypatch.setenv("SLURM_JOB_ID", "12007")  # another job may have a node's first port
    assert strategies._slurm_step().cluster_spec().task_address("worker", 0) == addresses[0].replace("8888", "8958")


STEP = dict(PROCID="1", STEP_NUM_TASKS="2", STEP_NODELIST="n[1-2]", STEP_TASKS_PER_NODE="1(x2)")


@pytest.mark.parametrize("variables, sentence", [
    (dict(JOB_ID="7", PROCID="0"), "SLURM_STEP_NUM_TASKS is not set: start every worker with srun"),
    (STEP | dict(STEP_NUM_TASKS="3"), "cannot be read .*Requested 3 tasks but only 2.*SLURM_STEP_NUM_TASKS=3"),
    (STEP | dict(STEP_NODELIST="n[1-2"), "cannot be read .*SLURM_STEP_NODELIST=n.1-2"),
    (STEP | dict(STEP_TASKS_PER_NODE="many"), "cannot be read .*many"),
    (STEP | dict(STEP_NUM_TASKS="two"), "cannot be read .*two"),
    (STEP | dict(PROCID="2"), "SLURM_PROCID is 2, but SLURM_STEP_NUM_TASKS is 2"),
    (STEP | dict(PROCID="-1"), "SLURM_PROCID is -1"),
    (STEP | dict(STEP_NODELIST="n1,n1"), "cannot be read"),
])
def test_slurm_variables_that_say_nothing_or_contradict(monkeypatch, variables, sentence):
    slurm(monkeypatch, **variables)
    with pytest.raises(UserError, match=sentence):
        strategies.make("multi_worker")


def test_slurm_and_tf_config_that_contradict(monkeypatch):
    def config(index, workers=2):
        return json.dumps({"cluster": {"worker": [f"n{number}:1" for number in range(workers)]},
                           "task": {"type": "worker", "index": index}})

    slurm(monkeypatch, **STEP)
    assert strategies._cluster(config(1)) == ("worker", 1, 2)
    for text in (config(0), config(1, workers=3)):  # such as one that the batch script sets for all tasks alike
        with pytest.raises(UserError, match="according to Slurm it is task 1 of 2: unset TF_CONFIG"):
            strategies._cluster(text)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")  # a shell in a job says nothing of the cluster
    assert strategies._cluster(config(0)) == ("worker", 0, 2)


def test_tasks_in_another_order_than_the_nodes_are_refused(monkeypatch):
    slurm(monkeypatch, **STEP)
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    with pytest.raises(UserError, match="runs task 1 on n1, .* should be on n2: .*--distribution=block"):
        strategies.make("multi_worker")


def test_automatic_precision_depends_on_the_hardware_and_on_the_system(monkeypatch, capsys, request):
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))

    def chosen(model, **given):
        policy = strategies.set_precision(App("classification").config(model, **given))
        assert keras.config.dtype_policy().name == policy
        return policy

    assert chosen("resnet", dtype="mixed_float16") == "mixed_float16"
    monkeypatch.setattr(strategies, "_bfloat16_units", lambda: None)
    assert chosen("resnet") == "float32"
    monkeypatch.setattr(strategies, "_bfloat16_units", lambda: "it is so")
    assert chosen("resnet") == "mixed_bfloat16"
    assert "it is so" in capsys.readouterr().out
    assert chosen("lenet5") == "float32"
    assert "does not speed up" in capsys.readouterr().out


def start_workers(folder, slurm=False, **arguments):
    """Starts two workers on free ports of this machine, told of each other by TF_CONFIG or as by Slurm's srun."""
    told = cluster_stand_in.slurm(folder) if slurm else {}
    port = cluster_stand_in.free_ports()
    addresses = [f"127.0.0.1:{port + index}" for index in range(2)]
    processes = []
    for index in range(2):
        settings = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        own = {"SLURM_PROCID": str(index)} if slurm else {"TF_CONFIG": json.dumps(settings)}
        processes.append(subprocess.Popen(
            [sys.executable, SCRIPT, folder, json.dumps({"strategy": "multi_worker", "batch_size": BATCH} | arguments)],
            env=os.environ | told | own | {"CUDA_VISIBLE_DEVICES": ""}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    return processes


def finish(processes, seconds=240):
    """Returns the workers' outputs; none outlives the test."""
    try:
        return [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("by, codes, kept", [
    pytest.param(signal.SIGTERM, [143, 143], 8, id="SIGTERM"),
    pytest.param(signal.SIGKILL, [2, -signal.SIGKILL], 4, id="SIGKILL", marks=pytest.mark.every_system)])
def test_two_processes_are_as_good_as_one(tmp_path, by, codes, kept):
    """Even when one of them gets a signal on the way, which stops both, and Slurm starts both again."""
    settings = dict(norm="frozen", dropout=0)
    arguments = dict(settings=settings, epochs=9, limit_steps=20, validation=33, steps_per_call=4, checkpoint_every=kept)
    processes = start_workers(tmp_path, terminate=7, by=by, **arguments)
    outputs = finish(processes)
    assert [process.returncode for process in processes] == codes, outputs
    if by == signal.SIGKILL:
        assert outputs[0].endswith("error: the connection to another worker was lost: restart all workers with --resume\n")
    assert not list(tmp_path.glob("final*"))
    processes = start_workers(tmp_path, slurm=True, **arguments)
    outputs = finish(processes)
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert f"continuing after step {kept} of 20" in outputs[0]
    assert "epoch 1/1" in outputs[0] and "epoch 1/1" not in outputs[1]  # only the first one speaks
    validation = small_models.examples(33, seed=5).batch(BATCH)
    one, history = trained(preprocess=small_models.jitter, validation=validation, **settings)
    for worker in range(2):
        with np.load(tmp_path / f"final-{worker}.npz") as final:
            for mine, theirs in zip(small_models.variables(one), final.values(), strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-5)
        other = json.loads((tmp_path / f"history-{worker}.json").read_text())
        for name, values in history.history.items():
            np.testing.assert_allclose(values, other[name], rtol=1e-5)
    assert (tmp_path / "best.weights.h5").exists()
