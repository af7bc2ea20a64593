"""pyproject.toml, environment.yml, the README and .ci/run say the same, and what they ask for can be installed."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("pins", ROOT / ".ci" / "pins.py")
pins = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pins)
PYPROJECT = ROOT / "pyproject.toml"
PROJECT = tomllib.loads(PYPROJECT.read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
PIP_SECTION = next(entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict))

OPEN = "pip install uv && uv run frcnn-lessons lab"
TEST = "pip install uv && uv run --all-extras pytest"
CHECKS = ("uv run ruff check", "uv run ruff format --check", "uv run --all-extras mypy", "uv run lint-imports")

UV = os.environ.get("UV") or shutil.which("uv")  # "uv run" sets UV


def test_conda_gets_the_same_range_of_python():
    python = next(entry for entry in CONDA["dependencies"] if str(entry).startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert CONDA["channels"] == ["conda-forge"]


def test_conda_gets_the_students_package_in_the_pinned_versions_and_nothing_twice():
    # Packages from both conda and pip are the mix that breaks torchvision.
    assert PIP_SECTION == ["-c constraints.txt", "-e .[lessons,test]"]
    others = [str(entry).split()[0] for entry in CONDA["dependencies"] if not isinstance(entry, dict)]
    assert others == ["python", "pip"]


def test_uv_installs_the_same_extras_without_being_asked():
    group = tomllib.loads(PYPROJECT.read_text())["dependency-groups"]["dev"]
    assert group == ["frcnn-lessons[lessons,test]"]


@pytest.mark.parametrize("extra", PROJECT["optional-dependencies"])
def test_an_extra_is_installed_so_that_its_tests_run(extra):
    # README's command asks for all extras: in CI a missing one is a failure, at home its tests are left out.
    names = {Requirement(line).name for line in PROJECT["optional-dependencies"][extra]}
    missing = {name for name in names if not list(importlib.metadata.distributions(name=name))}
    if missing and not os.environ.get("CI"):
        pytest.skip(f"the extra {extra} is not installed")
    assert missing == set()


def test_the_pins_of_pyproject_are_those_of_the_list():
    text = PYPROJECT.read_text()
    assert text == pins.with_pins(text, (ROOT / "constraints.txt").read_text()), "run: uv run --no-project .ci/pins.py"


def test_every_dependency_is_pinned_to_one_version_within_its_bounds():
    pinned = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]]
    here = {line.name: line.specifier for line in pinned if not line.marker or line.marker.evaluate()}
    for line in [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]:
        wanted = Requirement(line)
        (pin,) = here[wanted.name]
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), line


def test_the_readme_shows_both_commands_on_its_first_screen_each_on_a_line_of_its_own():
    first_screen = (ROOT / "README.md").read_text().splitlines()[:60]
    assert OPEN in first_screen
    assert TEST in first_screen


def test_ci_runs_the_readmes_test_command_and_the_checks_before_it():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    steps = [lines.index(step) for step in (*CHECKS, TEST, 'uv run pytest -n 0 -m "threads or benchmark"')]
    assert steps == sorted(steps)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_readme_names_the_python_versions_and_the_conda_file():
    readme = (ROOT / "README.md").read_text()
    assert "3.11" in readme
    assert "3.13" in readme
    assert "environment.yml" in readme


def test_the_readmes_install_cell_does_nothing_where_the_course_is_installed(tmp_path):
    cell = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(cell)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def resolve(requirements: list[str], python: str, *options: str) -> str:
    """Try to find versions that fit together, without installing; return "resolved", "conflict" or "offline".

    Raises:
        AssertionError: uv failed for another reason; the message holds its words.
    """
    assert UV, "uv is not installed"
    command = [UV, "pip", "compile", "--quiet", "--python-version", python, *options, "-"]
    done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, cwd=ROOT)
    if done.returncode == 0:
        return "resolved"
    # A lost connection also ends in "no solution" when uv was told to stay offline; that is no conflict.
    offline = ("error sending request", "dns error", "Could not connect", "Failed to fetch", "network was disabled")
    if any(words in done.stderr for words in offline):
        return "offline"
    assert "No solution found" in done.stderr, done.stderr
    return "conflict"


needs_uv = pytest.mark.skipif(not UV, reason="uv is not installed, so nothing can be resolved")


@needs_uv
@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_pip_section_resolves(python):
    outcome = resolve(PIP_SECTION, python)
    if outcome == "offline":
        pytest.skip("no package index can be reached")
    assert outcome == "resolved"


@pytest.mark.slow
@needs_uv
def test_a_conflict_is_told_from_a_lost_connection():
    # A skip must never hide a conflict: the test above would be worth nothing.
    if resolve(["iniconfig"], "3.11") == "offline":
        pytest.skip("no package index can be reached")
    assert resolve(["iniconfig>=2", "iniconfig<2"], "3.11") == "conflict"
    assert resolve(["iniconfig"], "3.11", "--no-cache", "--default-index", "http://127.0.0.1:9/simple") == "offline"
