"""The files of deploy against schemas where there are any, and against what the rest of the repository says."""
import json
import re

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,  # noqa: F401 (the pool must know it)
)
from tensorflow_serving.config import model_server_config_pb2

from training.serving import export

yaml = pytest.importorskip("yaml", reason="PyYAML comes with kubernetes-validate, in the extra `test`")

# what `tensorflow_model_server --help` of release 2.20.0 lists, as far as anything here could want it
_SERVER_FLAGS = set("""
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms enable_batching
    batching_parameters_file enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds
    model_name model_base_path num_load_threads num_unload_threads max_num_load_retries file_system_poll_wait_seconds
    tensorflow_session_parallelism tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism ssl_config_file
    grpc_channel_arguments grpc_max_threads enable_model_warmup monitoring_config_file enable_grpc_healthcheck_service
""".split())


@pytest.fixture
def deploy(repository):
    return repository / "deploy"


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def by_kind(path):
    return {document["kind"]: document for document in documents(path)}


def check_flags(arguments):
    for argument in arguments:
        name = re.fullmatch(r"--([a-z_]+)=\S+", argument).group(1)
        assert name in _SERVER_FLAGS, argument


def check_settings_files(arguments, folder="/models"):
    """The three files that an export writes are the ones that the server is given."""
    given = {name: value for name, value in (argument[2:].split("=") for argument in arguments)}
    assert given["model_config_file"] == f"{folder}/models.config"
    assert given["batching_parameters_file"] == f"{folder}/batching.config" and given["enable_batching"] == "true"
    assert given["monitoring_config_file"] == f"{folder}/monitoring.config"


def test_kubernetes_objects_against_the_schemas(deploy):
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="it is in the extra `test`")
    validate = kubernetes_validate.validate
    objects = documents(deploy / "kubernetes" / "deployment.yaml")
    assert [each["kind"] for each in objects] == [
        "PersistentVolumeClaim", "Deployment", "Service", "HorizontalPodAutoscaler"]
    for version in ("1.30", kubernetes_validate.latest_version()):
        for each in objects:
            validate(each, version, strict=True)
    # the pods inside the objects that have no schema
    job = documents(deploy / "kubeflow" / "tfjob.yaml")[0]["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    validate({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "worker"}, "template": job},
             "1.30", strict=True)
    model = documents(deploy / "kserve" / "inference_service.yaml")[0]["spec"]["predictor"]["model"]
    pod = {"containers": [{"name": "kserve-container", "resources": model["resources"]}]}
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}, "1.30", strict=True)


def test_the_schema_check_can_fail(deploy):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    deployment = by_kind(deploy / "kubernetes" / "deployment.yaml")["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.30", strict=True)


def test_kubernetes_objects_fit_together(deploy):
    objects = by_kind(deploy / "kubernetes" / "deployment.yaml")
    deployment, service, scaler = (objects[kind] for kind in ("Deployment", "Service", "HorizontalPodAutoscaler"))
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"], "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert scaler["spec"]["minReplicas"] >= 2 and "replicas" not in deployment["spec"]
    container, = pod["spec"]["containers"]
    assert container["image"] == f"tensorflow/serving:{export.SERVER_VERSION}"
    check_flags(container["args"])
    check_settings_files(container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--port={ports['grpc']}" in container["args"] and f"--rest_api_port={ports['rest']}" in container["args"]
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports)
    assert container["readinessProbe"]["httpGet"] == {"path": "/v1/models/detection", "port": "rest"}
    assert {"cpu", "memory"} <= set(container["resources"]["limits"]) & set(container["resources"]["requests"])
    mount, = container["volumeMounts"]
    volume, = pod["spec"]["volumes"]
    assert mount["mountPath"] == "/models" and mount["readOnly"] and mount["name"] == volume["name"]
    assert volume["persistentVolumeClaim"]["claimName"] == objects["PersistentVolumeClaim"]["metadata"]["name"]


def test_compose(deploy):
    """There is no schema of compose files in a package: what we rely on is checked by hand."""
    composed, = documents(deploy / "compose.yaml")
    service, = composed["services"].values()
    assert service["image"] == f"tensorflow/serving:{export.SERVER_VERSION}"
    assert service["volumes"] == ["../saved_models:/models:ro"]
    check_flags(service["command"])
    check_settings_files(service["command"])
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["healthcheck"]["test"][:3] == ["CMD", "bash", "-c"]
    assert "/v1/models/detection" in service["healthcheck"]["test"][3]


def test_kserve(deploy):
    """No schema of KServe's own objects is at hand: this checks the fields it requires and the names we use."""
    service, = documents(deploy / "kserve" / "inference_service.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    assert set(predictor) <= {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout", "model"}
    assert predictor["minReplicas"] <= predictor["maxReplicas"]
    model = predictor["model"]
    assert set(model) <= {
        "modelFormat", "runtimeVersion", "protocolVersion", "storageUri", "resources", "runtime", "args"}
    assert model["modelFormat"] == {"name": "tensorflow", "version": "2"}
    assert model["runtimeVersion"] == export.SERVER_VERSION
    # what TensorFlow Serving calls the model is the name of the service
    assert model["storageUri"] == f"pvc://saved-models/{service['metadata']['name']}"


def test_tfjob(deploy):
    """No schema of TFJob is at hand: this checks the fields that it requires, and that our flags and TF_CONFIG fit."""
    from training.engine import strategies

    job, = documents(deploy / "kubeflow" / "tfjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert set(job["spec"]) <= {"runPolicy", "successPolicy", "enableDynamicWorker", "tfReplicaSpecs"}
    assert job["spec"]["runPolicy"]["cleanPodPolicy"] in ("Running", "All", "None")
    (kind, worker), = job["spec"]["tfReplicaSpecs"].items()
    assert kind == "Worker" and worker["replicas"] >= 2 and worker["restartPolicy"] == "OnFailure"
    container, = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"
    assert {"name": "tfjob-port", "containerPort": 2222} in container["ports"]
    assert container["command"][:2] == ["sh", "deploy/worker.sh"]  # test_training_jobs.py runs it
    # as the operator writes it for two workers
    hosts = [f"detection-worker-{index}.default.svc:2222" for index in range(worker["replicas"])]
    given = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": 1}, "environment": "cloud"}
    assert strategies._cluster(json.dumps(given)) == ("worker", 1, worker["replicas"])


def server_message(name):
    """Returns a class for one of the server's messages that tensorflow-serving-api does not ship.

    Fields and numbers are those of session_bundle_config.proto and monitoring_config.proto of the server's 2.20.0.
    """
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"bool": field.TYPE_BOOL, "string": field.TYPE_STRING, "int64": field.TYPE_INT64}

    def message(file, name, fields):
        made = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            label = field.LABEL_REPEATED if kind.startswith("repeated ") else field.LABEL_OPTIONAL
            kind = kind.removeprefix("repeated ")
            added = made.field.add(name=field_name, number=number, label=label)
            if kind in kinds:
                added.type = kinds[kind]
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, kind

    file = descriptor_pb2.FileDescriptorProto(
        name="server.proto", package="tensorflow.serving", syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"])
    wrapped = ".google.protobuf.{}Value".format
    message(file, "BatchingParameters", [
        ("max_batch_size", 1, wrapped("Int64")), ("batch_timeout_micros", 2, wrapped("Int64")),
        ("max_enqueued_batches", 3, wrapped("Int64")), ("num_batch_threads", 4, wrapped("Int64")),
        ("thread_pool_name", 5, wrapped("String")), ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"), ("enable_large_batch_splitting", 8, wrapped("Bool")),
        ("max_execution_batch_size", 9, wrapped("Int64"))])
    message(file, "PrometheusConfig", [("enable", 1, "bool"), ("path", 2, "string")])
    message(file, "MonitoringConfig", [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))


def test_server_settings_against_the_protocol_buffers(tmp_path, deploy):
    export.configure(tmp_path / "detection")
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((tmp_path / "models.config").read_text(), config)
    model, = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("detection", "/models/detection", "tensorflow")
    batching = server_message("BatchingParameters")()
    text_format.Parse((tmp_path / "batching.config").read_text(), batching)
    assert batching.enable_large_batch_splitting.value and batching.max_batch_size.value == 32
    assert batching.num_batch_threads.value >= 1
    monitoring = server_message("MonitoringConfig")()
    text_format.Parse((tmp_path / "monitoring.config").read_text(), monitoring)
    assert monitoring.prometheus_config.enable
    pod = by_kind(deploy / "kubernetes" / "deployment.yaml")["Deployment"]["spec"]["template"]
    assert monitoring.prometheus_config.path == pod["metadata"]["annotations"]["prometheus.io/path"]
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batchsize { value: 1 }", server_message("BatchingParameters")())


def test_readme_names_files_that_exist(deploy, repository):
    for folder in (deploy, repository / "saved_models"):
        text = (folder / "README.md").read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / target).exists(), target
    assert f"tensorflow/serving:{export.SERVER_VERSION}" in (deploy / "README.md").read_text()
