"""What the doctor finds, on machines that this one is not."""
import re
import socket
import subprocess
import sys

import pytest

from training import doctor


def test_a_sound_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "ports", lambda: [])
    monkeypatch.setattr(doctor, "room", lambda path: doctor.Finding("ok", "free disk", "enough"))
    code = doctor.main(["--data-dir", str(tmp_path), "--runs", str(tmp_path / "r"), "--saved-models", str(tmp_path / "s")])
    shown = capsys.readouterr().out
    assert code == 0 and "bad " not in shown
    assert "ok    tensorflow  " in shown and "cores" in shown and f"{tmp_path / 'r'} will be created" in shown


def test_every_declared_requirement_is_looked_at():
    names = [finding.what for finding in doctor.packages()]
    assert {"tensorflow", "keras", "tensorflow-datasets", "setuptools"} <= set(names) and len(names) == len(set(names))


def test_packages_that_are_missing_or_out_of_range(monkeypatch):
    monkeypatch.setattr(doctor, "requirements", lambda: [
        "surely-not-there>=1", "keras<3", 'keras<3; sys_platform == "none"', "keras>=3", 'pytest<1; extra == "test"'])
    assert [finding.state for finding in doctor.packages()] == ["bad", "note", "ok"]


def test_tensorflow_that_hangs_dies_or_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(doctor, "_LOOK", "import time; time.sleep(60)")
    finding, = doctor.devices(0.5)
    assert finding.state == "bad" and "did not respond within" in finding.text
    monkeypatch.setattr(doctor, "_LOOK", "import os; os.abort()")
    assert doctor.devices(60)[0].text.startswith("TensorFlow cannot be imported: ")
    monkeypatch.setattr(doctor, "_LOOK", "import nothing_of_this_name")
    assert "No module named 'nothing_of_this_name'" in doctor.devices(60)[0].text


def test_devices_that_tensorflow_sees(monkeypatch):
    monkeypatch.setattr(doctor, "_LOOK", "print('{\"cuda_build\": true, \"gpus\": [[\"A100\", [8, 0]]], \"tpus\": 0}')")
    found = {finding.what: finding for finding in doctor.devices(60)}
    assert found["GPU"] == ("ok", "GPU", "A100, compute capability 8.0: matrix units for bfloat16 and float16")
    monkeypatch.setattr(doctor, "_LOOK", "print('{\"cuda_build\": true, \"gpus\": [], \"tpus\": 8}')")
    found = {finding.what: finding for finding in doctor.devices(60)}
    assert found["GPU"].state == "note" and found["TPU"].text.startswith("8 cores")


@pytest.mark.parametrize("cuda_build, log, driver, environment, words", [
    (True, "", "absent", {}, "no NVIDIA driver"),
    (True, "", "failing", {}, "does not respond"),
    (True, "", "working", {"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES='-1' hides all GPUs"),
    (True, "", "working", {"CUDA_VISIBLE_DEVICES": ""}, "hides all GPUs"),
    (False, "", "working", {"CUDA_VISIBLE_DEVICES": "0"}, "without CUDA"),
    (True, "W0000 gpu_device.cc:2342] Cannot dlopen some GPU libraries.", "working", {}, r"libraries are missing .*\[gpu\]"),
    (True, "E cuda_executor.cc:1] failed call to cuInit: CUDA_ERROR_UNKNOWN", "working", {}, "cuInit: CUDA_ERROR_UNKNOWN"),
    (True, "", "working", {}, "gives no reason"),
])
def test_why_no_gpu(cuda_build, log, driver, environment, words):
    assert re.search(words, doctor.why_no_gpu(cuda_build, log, driver, environment))


def test_gpu_units():
    assert "bfloat16" not in doctor.gpu_units([7, 5]) and "float16" in doctor.gpu_units([7, 5])
    assert "no matrix units" in doctor.gpu_units([6, 1]) and "unknown" in doctor.gpu_units(None)


@pytest.mark.parametrize("flags, words", [("fpu amx_bf16 amx_tile", "AMX: --dtype auto can choose bfloat16"),
                                          ("fpu avx512_bf16", "AVX-512 BF16: --dtype auto can choose bfloat16"),
                                          ("fp asimd bf16", "chooses float32"), ("fpu", "has none"), (None, "has none")])
def test_matrix_units(tmp_path, flags, words):
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\n" + (f"flags\t\t: {flags}\n" if flags else ""))
    assert words in doctor.matrix_units(path).text


def test_matrix_units_on_another_system(tmp_path):
    assert doctor.matrix_units(tmp_path / "none").state == "note"


def test_folders(tmp_path):
    (tmp_path / "data" / "digits").mkdir(parents=True)
    (tmp_path / "data" / "digits" / "x").write_bytes(b"x" * 20_000_000)
    assert doctor.folder("data", tmp_path / "data") == ("ok", "data", f"{tmp_path / 'data'}, 0.02 GB: digits")
    assert doctor.folder("data", tmp_path / "none" / "deep").text.endswith("will be created")
    (tmp_path / "file").write_text("x")
    assert doctor.folder("data", tmp_path / "file").state == "bad"
    assert doctor.folder("data", tmp_path / "file" / "under").state == "bad"


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert doctor.folder("data", tmp_path).state == "bad"


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert doctor.ports({port: "it"})[0] == ("note", f"port {port}", "in use (needed for it): choose another port for it")
    assert doctor.ports({port: "it"})[0].state == "ok"


def test_a_little_room_is_told(tmp_path, monkeypatch):
    assert doctor.room(tmp_path / "not" / "there").what == "free disk"
    monkeypatch.setattr(doctor, "ROOM", float("inf"))
    assert doctor.room(tmp_path).state == "note" and "prune" in doctor.room(tmp_path).text


def test_tensorboard_that_cannot_be_imported(monkeypatch):
    assert doctor.tensorboard().state == "ok"
    monkeypatch.setitem(sys.modules, "tensorboard.main", None)
    assert doctor.tensorboard().state == "bad"


def test_a_container_client_without_an_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "none found" in doctor.containers().text
    program = tmp_path / "docker"
    for code, state in ((1, "note"), (0, "ok")):
        program.write_text(f"#!/bin/sh\necho version\nexit {code}\n")
        program.chmod(0o755)
        assert doctor.containers().state == state


def test_the_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "nvidia-smi"
    for text, code, said in (("GPU 0: A100", 0, "working"), ("no devices were found", 6, "failing")):
        program.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        program.chmod(0o755)
        assert doctor.nvidia_smi() == said


def test_an_essential_lack_ends_with_code_2(tmp_path):
    (tmp_path / "runs").write_text("a file in the way")
    ended = subprocess.run([sys.executable, "-c", "import sys\nfrom training import doctor\n"
                            "doctor.devices = lambda timeout: []\nsys.exit(doctor.main(sys.argv[1:]))",
                            "--runs", str(tmp_path / "runs")], capture_output=True, text=True, timeout=60,
                           cwd=tmp_path.parents[0], env={"PYTHONPATH": str(doctor.pathlib.Path(doctor.__file__).parents[1]),
                                                         "PATH": ""})
    assert ended.returncode == 2 and "bad   runs" in ended.stdout and "Fix the problems" in ended.stdout, ended.stderr
