"""Distribution strategies (one device, all GPUs of a machine, several machines, or a TPU) and precision."""
import functools
import json
import os
import pathlib

import keras
import tensorflow as tf

from training import doctor
from training.config import UserError, first_line
from training.engine import signals

_EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
"""what srun tells each task, as far as SlurmClusterResolver reads it"""


@functools.lru_cache(maxsize=None)  # TensorFlow aborts when a process makes a second strategy with collectives
def make(name):
    """Returns a `tf.distribute.Strategy`.

    name: default, mirrored, multi_worker or tpu

    Create it before anything else uses TensorFlow's devices, and build models in its `scope()`.

    Raises:
        UserError: this machine or its configuration does not support the strategy.
    """
    if name == "default":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return _mirrored()
    if name == "multi_worker":
        return _multi_worker()
    if name == "tpu":
        return _tpu()
    raise UserError(f"unknown strategy {name!r}: choose default, mirrored, multi_worker or tpu")


def is_chief(strategy):
    """Returns whether this process writes files; always true with a single worker.

    strategy: a `tf.distribute.Strategy`
    """
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if "chief" in resolver.cluster_spec().jobs:
        return resolver.task_type == "chief"
    return resolver.task_type == "worker" and resolver.task_id == 0


def workers(strategy):
    """Returns the number of processes that train together.

    strategy: a `tf.distribute.Strategy`
    """
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or not resolver or not resolver.task_type:
        return 1
    return sum(resolver.cluster_spec().num_tasks(job) for job in resolver.cluster_spec().jobs)


def global_sum(x):
    """Sums over the replicas; call it in a training step. With one replica `x` is returned as it is, and XLA compiles it.

    x: tensor, or a list of tensors that are summed separately

    Keras adds up the replicas' gradients. A loss that is normalized by a count is therefore correct on any number of replicas
    if each replica divides its own sum by the count over all replicas: `sum(losses) / global_sum(count)`. Divide a plain mean
    over a replica's examples by the number of replicas instead (as `keras.Model.compute_loss` does).
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return x
    return replica.all_reduce("SUM", x)


def all_rows(variables):
    """Returns the values of each Keras variable on all replicas as (replicas, *shape); call it in replica context.

    variables: list of Keras variables

    Variables of one type share a collective operation: one per variable would take longer to trace than a small network to
    train.
    """
    replica = tf.distribute.get_replica_context()
    tensors = [tf.convert_to_tensor(variable.value) for variable in variables]
    rows = [None] * len(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # in the same order on every worker
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = tf.concat([tf.reshape(tensors[place], [1, -1]) for place in places], axis=1)
        parts = tf.split(replica.all_gather(flat, axis=0), [tensors[place].shape.num_elements() for place in places], axis=1)
        for place, part in zip(places, parts):
            rows[place] = tf.reshape(part, [-1, *tensors[place].shape])
    return rows


def set_precision(config):
    """Sets the Keras dtype policy for the settings, and returns its name.

    "auto" is bfloat16 if the hardware has matrix units for it and the system runs faster with it (`Config.BFLOAT16`).
    """
    policy = config.dtype
    if policy == "auto":
        reason = _bfloat16_units() if config.BFLOAT16 else None
        policy = "mixed_bfloat16" if reason else "float32"
        if reason:
            print(f"precision: mixed_bfloat16, because {reason} (--dtype float32 turns it off)", flush=True)
        elif config.BFLOAT16:
            print("precision: float32, because this hardware has no matrix units for bfloat16", flush=True)
        else:
            print("precision: float32, because bfloat16 does not speed up a network of this size", flush=True)
    keras.config.set_dtype_policy(policy)
    return policy


def _bfloat16_units():
    """Returns what this machine has that makes bfloat16 fast, in words, or None."""
    if tf.config.list_logical_devices("TPU"):
        return "it is the native precision of TPUs"
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        oldest = min(detail.get("compute_capability") or (0, 0) for detail in details)
        return "the GPU has matrix units for it" if oldest >= (8, 0) else None
    try:
        found = doctor.bfloat16_instructions(doctor.processor_flags())
    except OSError:
        return None
    return found and f"the processor has matrix instructions for it ({found})"


def _mirrored():
    devices = tf.config.list_logical_devices("GPU")
    if not devices:
        devices = tf.config.list_logical_devices("CPU")
        if len(devices) < 2:
            raise UserError("--strategy mirrored needs GPUs, but TensorFlow sees none: check `nvidia-smi` and "
                            "`pip install 'tensorflow[and-cuda]'`, or leave out --strategy")
    return tf.distribute.MirroredStrategy([device.name.removeprefix("/device:") for device in devices])


def _multi_worker():
    text = os.environ.get("TF_CONFIG")
    # a resolver of None makes TensorFlow read TF_CONFIG itself
    resolver = None if text else _slurm_step()
    if text:
        kind, index, count = _cluster(text)
        print(f"{kind} {index} of {count} processes in TF_CONFIG: waiting for the other processes", flush=True)
    else:
        addresses = resolver.cluster_spec().job_tasks("worker")
        print(f"worker {resolver.task_id} of {len(addresses)} processes in Slurm's step, at {addresses[resolver.task_id]}: "
              "waiting for the other processes", flush=True)
    # AUTO is NCCL between GPUs and gRPC rings between CPUs
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO)
    try:
        with signals.ending():
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver, communication_options=options)
    except RuntimeError as error:
        raise UserError("--strategy multi_worker must be set up before TensorFlow is used in the process "
                        f"({first_line(error, 200)})") from None
    except tf.errors.OpError as error:
        raise UserError("--strategy multi_worker cannot start the server of this worker: check its port and the other workers "
                        f"({first_line(error, 200)})") from None


def _cluster(text):
    """Returns (type of this task, its index, processes in all)."""
    try:
        settings = json.loads(text)
        cluster = settings["cluster"]
        kind, index = settings["task"]["type"], int(settings["task"]["index"])
        addresses = [address for job in cluster.values() for address in job]
        known = kind in cluster and 0 <= index < len(cluster[kind])
        written = all(address.rpartition(":")[0] and address.rpartition(":")[2].isdigit() for address in addresses)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"TF_CONFIG cannot be read; it should look like {_EXAMPLE}") from None
    if set(cluster) - {"chief", "worker"} or not addresses:
        raise UserError(f"TF_CONFIG may list only a chief and workers, got {sorted(cluster)}")
    if not known:
        raise UserError(f"TF_CONFIG assigns this process to {kind} {index}, which its cluster does not list")
    if not written or len(set(addresses)) != len(addresses):
        raise UserError(f"TF_CONFIG needs a different HOST:PORT for every worker, got {', '.join(map(str, addresses))}")
    place = index + (len(cluster.get("chief", ())) if kind == "worker" else 0)
    rank, tasks = (os.environ.get(f"SLURM_{name}", "") for name in ("PROCID", "STEP_NUM_TASKS"))
    if tasks not in ("", "1") and (rank, tasks) != (str(place), str(len(addresses))):  # such as one TF_CONFIG for all tasks
        raise UserError(f"according to TF_CONFIG, this is process {place} of {len(addresses)}, but according to Slurm it "
                        f"is task {rank} of {tasks}: unset TF_CONFIG to use Slurm's variables")
    return kind, index, len(addresses)


def _slurm_step():
    """Returns a resolver of the tasks of the Slurm step that this process belongs to."""
    missing = [name for name in _SLURM if not os.environ.get(name)]
    if missing and "SLURM_JOB_ID" in os.environ:
        raise UserError(f"--strategy multi_worker runs in a Slurm job, but {missing[0]} is not set: start every worker with srun")
    if missing:
        raise UserError(f"--strategy multi_worker needs the environment variable TF_CONFIG, such as {_EXAMPLE}, "
                        "or a Slurm job that starts every worker with srun")
    try:
        # It fails without GPUs, and would choose among them although Slurm has done so: one GPU for each task satisfies it
        found = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_port(int(os.environ.get("SLURM_JOB_ID", 0))), gpus_per_node=int(os.environ["SLURM_STEP_NUM_TASKS"]),
            gpus_per_task=1, auto_set_gpu=False)
        # It sorts the hosts as text, n10 before n9, whereas Slurm numbers the tasks in the order of its list
        hosts = list(found._task_configuration)
        addresses = sorted(found.cluster_spec().job_tasks("worker"), key=lambda address: hosts.index(address.rpartition(":")[0]))
        rank = int(os.environ["SLURM_PROCID"])
    except (RuntimeError, ValueError) as error:
        given = ", ".join(f"{name}={os.environ[name]}" for name in _SLURM)
        raise UserError(f"Slurm's variables cannot be read ({first_line(error, 200)}), got {given}: "
                        "set TF_CONFIG instead") from None
    if not 0 <= rank < len(addresses):
        raise UserError(f"SLURM_PROCID is {rank}, but SLURM_STEP_NUM_TASKS is {len(addresses)}: start every worker with srun")
    node, host = os.environ.get("SLURMD_NODENAME"), addresses[rank].rpartition(":")[0]
    if node and node != host:
        raise UserError(f"Slurm runs task {rank} on {node}, but by the order of SLURM_STEP_NODELIST it should be on {host}: "
                        "start the workers with srun --distribution=block")
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": addresses}), task_type="worker", task_id=rank, rpc_layer="grpc",
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))})


def _port(job):
    """Returns the port of a node's first task: the resolver's own, or another for each job, since jobs may share a node."""
    return 8888 + job % 2000 * 10


def _tpu():
    named = any(os.environ.get(name) for name in ("TPU_NAME", "COLAB_TPU_ADDR", "KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS"))
    here = any(pathlib.Path("/dev").glob("accel*")) or any(pathlib.Path("/dev/vfio").glob("[0-9]*"))
    if not named and not here:  # asking the resolver would wait for Google's metadata server
        raise UserError("--strategy tpu finds no TPU: run on a TPU machine, or set the environment variable TPU_NAME")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=None if named else "local")
        if resolver.master():
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # whatever the driver says, a person needs one sentence
        raise UserError(f"--strategy tpu finds no working TPU: {first_line(error, 200)}") from None
