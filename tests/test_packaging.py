"""What is installed is what the code imports, and the README says the commands that are tested."""
import ast
import configparser
import importlib.metadata
import pathlib
import re
import subprocess
import sys

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from training import doctor

ROOT = pathlib.Path(__file__).resolve().parents[1]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

OF_RECORD = {
    "importlib-resources": "tensorflow-datasets imports it and does not ask for it",
    "setuptools": "tensorboard 2.20 imports pkg_resources",
    "tensorflow-text": "tokenisers in the graph, for applications to come",
}
"""Requirements that no file of ours imports, and why they stand there."""


def section(name):
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser[name]


def requirements(text):
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


REQUIRED = requirements(section("options")["install_requires"])
EXTRAS = {name: requirements(text) for name, text in section("options.extras_require").items()}
PINS = {canonicalize_name(name): version for name, version in
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)}


def imported(*folders):
    """Returns {package: its distributions} for all that is imported and is neither Python's own nor ours."""
    homes = importlib.metadata.packages_distributions()
    found = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        scripts = {other.stem for other in path.parent.glob("*.py")} if folders[0] == "tests" else set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) else []
            for top in {module.split(".")[0] for module in modules} - scripts - set(sys.stdlib_module_names):
                if not (ROOT / top).is_dir():
                    found[top] = {canonicalize_name(home) for home in homes.get(top, [top])}
    return found


def names(*lists):
    return {canonicalize_name(requirement.name) for some in lists for requirement in some}


# packaging comes with TensorFlow, keras and much else; only doctor and this test ask it what a version range means
@pytest.mark.parametrize("folders, declared", [(("apps", "layers", "training"), names(REQUIRED)),
                                               (("tests", "benchmarks"), names(REQUIRED, EXTRAS["test"], EXTRAS["peers"]))])
def test_every_import_is_declared(folders, declared):
    assert not [package for package, homes in imported(*folders).items() if not homes & (declared | {"packaging"})]


def test_every_requirement_is_imported_or_has_its_reason():
    unused = names(REQUIRED) - set().union(*imported("apps", "layers", "training").values())
    assert unused == set(OF_RECORD), "drop the requirement, or the reason"


def test_every_requirement_is_pinned_inside_its_range():
    for requirement in [*REQUIRED, *EXTRAS["test"]]:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin and requirement.specifier.contains(pin), f"{requirement} is pinned to {pin}"


def test_tensorflow_and_what_must_follow_its_minor_version():
    minors = {PINS[name].rsplit(".", 1)[0] for name in ("tensorflow", "tensorflow-text", "tensorflow-serving-api")}
    assert minors == {"2.20"}
    text, = [requirement for requirement in REQUIRED if requirement.name == "tensorflow-text"]
    assert not text.marker.evaluate({"sys_platform": "win32"}) and text.marker.evaluate({"sys_platform": "linux"})


def test_all_packages_are_installed():
    sought = section("options.packages.find")["include"].split()
    packages = set(setuptools.find_packages(str(ROOT), include=sought))
    for path in ROOT.glob("**/*.py"):
        parts = path.relative_to(ROOT).parts
        if parts[0] in ("apps", "layers", "training"):
            assert ".".join(parts[:-1]) in packages, f"{path.parent} lacks an __init__.py"
    assert {name.split(".")[0] for name in packages} == {"apps", "layers", "training"}


def test_the_doctor_knows_the_name_and_the_requirements():
    assert section("metadata")["name"] == doctor.DISTRIBUTION
    assert [Requirement(text).name for text in doctor.requirements()] == [requirement.name for requirement in REQUIRED]


def readme_command(program):
    """Returns the parts of the README's line that sets up and runs this program."""
    line, = [line.strip() for line in README.splitlines() if " && " in line and program in line]
    return [part.strip() for part in line.split("&&")]


def test_the_two_lines_of_the_readme():
    assert readme_command("python -m apps.detection") == [
        "python3 -m venv .venv", ".venv/bin/pip install -c constraints.txt -e .", ".venv/bin/python -m apps.detection"]


def test_ci_runs_the_second_line_of_the_readme():
    venv, install, test = readme_command("python -m pytest")
    lines = [line.replace('"$venv"', ".venv").replace('"$python"', "python3") for line in CI.splitlines()]
    assert venv in lines and test in lines
    options = " --quiet --disable-pip-version-check"
    assert install in [line.replace(options, "") for line in lines]


def test_ci_takes_the_pythons_that_are_supported():
    assert section("options")["python_requires"] == ">=3.11,<3.14"
    assert "for version in 3.13 3.12 3.11;" in CI and CI.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in CI
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"]).returncode == 0


def test_the_source_is_tidy():
    ended = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", "."],
                           cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_readme_promises_only_what_is_there():
    assert not re.findall(r"TODO[\w-]*", README)
    for name in re.findall(r"`((?:[\w-]+/)+[\w.-]+\.\w+|[A-Z]+\.md)`", README):
        if not name.startswith(("runs/", "saved_models/<")):
            assert (ROOT / name).exists(), f"the README names {name}"
    from training import cli
    for verb in cli.VERBS:
        assert verb == "train" or f"python -m apps.detection {verb}" in README, f"the README does not show {verb}"


def test_licence_and_citation():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence and "Version 2.0, January 2004" in licence and "END OF TERMS AND CONDITIONS" in licence
    version = section("metadata")["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["runs", "saved_models/detection", "predictions", ".venv"])
def test_git_leaves_out_what_is_made(folder):
    ended = subprocess.run(["git", "check-ignore", "-q", f"{folder}/some/file"], cwd=ROOT)
    if ended.returncode == 128:
        pytest.skip("this is no git clone")
    assert ended.returncode == 0
