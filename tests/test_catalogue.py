"""`python -m apps`: the catalogue, and the way to runs and doctor."""
import dataclasses
import os
import subprocess
import sys

import pytest

from apps import __main__ as command
from tests import help_page
from training import cli, config, doctor, forms

APPS = command.catalogue()
TASKS = list(APPS)


def test_every_system_stands_in_the_catalogue_with_its_command(capsys):
    command.main([])
    shown = capsys.readouterr().out
    for task, app in APPS.items():
        assert f"{task}: {app.doc.splitlines()[0]}" in shown
        for number, (model, kind) in enumerate(app.systems.items()):
            text = f"{', '.join(kind.ID) or 'baseline'}: {config.title(kind)}"
            line, = [line for line in shown.splitlines() if line.endswith(f"  {text}")]
            assert line.split("  ")[1] == f"python -m apps.{task}" + (f" --model {model}" if number else "")
    assert all(f"  {verb}" in shown for verb in cli.VERBS)


def test_the_commands_of_the_catalogue_are_accepted():
    for app in APPS.values():
        for model in app.systems:
            parsed = forms.parse(app.systems, ["--model", model], program="", description="")
            assert parsed.config == app.config(model) and parsed.given == {"model"}


@pytest.mark.parametrize("task, model", [(task, model) for task, app in APPS.items() for model in app.systems])
def test_help_shows_the_values_of_every_system(task, model, capsys):
    kind = APPS[task].systems[model]
    dataset = ([name for each in kind.__mro__ for name in vars(each).get("DATASETS", {})] or [kind.dataset])[0]
    with pytest.raises(SystemExit) as ended:
        forms.parse(APPS[task].systems, ["--model", model, "--dataset", dataset, "--help"], program="", description="")
    assert ended.value.code == 0
    shown = help_page.defaults(capsys.readouterr().out)
    for name, value in dataclasses.asdict(kind.of(dataset=dataset)).items():
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert shown.get(config.flag(name), "").replace(" ", "") == text.replace(" ", ""), name


@pytest.mark.parametrize("word", ["nothing", TASKS[0]])
def test_another_word_is_refused_in_one_sentence(word, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([word])
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and "runs or doctor" in shown.err and not shown.out
    assert ("python -m apps." + (word if word in TASKS else "TASK")) in shown.err


def test_runs_and_doctor_are_reached(capsys, tmp_path, monkeypatch):
    command.main(["runs", "list", "--runs", str(tmp_path)])
    assert f"no runs in {tmp_path} yet" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "devices", lambda timeout: [doctor.Finding("bad", "devices", "none")])
    with pytest.raises(SystemExit) as ended:
        command.main(["doctor"])
    assert ended.value.code == 2
    assert "bad   devices" in capsys.readouterr().out


def test_a_reader_that_closes_its_pipe_gets_no_traceback(repository):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        ended = subprocess.run([sys.executable, "-m", "apps"], cwd=repository, stdout=pipe, stderr=subprocess.PIPE, timeout=60)
    assert (ended.returncode, ended.stderr) == (141, b"")
