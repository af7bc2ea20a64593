"""What the doctor promises: it runs where nothing else does, finds what is broken, and says what to do."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from frcnn_lessons.course import doctor
from frcnn_lessons.course.doctor import Finding, Report

GIGABYTE = 2**30


@pytest.fixture
def shadow(tmp_path, monkeypatch):
    """A function that puts a module of our own in front of an installed one, for the processes that we start."""

    def put(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    return put


def run_doctor() -> subprocess.CompletedProcess:
    """Run the command as a user does."""
    script = Path(sys.executable).with_name("frcnn-lessons")
    return subprocess.run([script, "doctor"], capture_output=True, text=True)


@pytest.mark.slow
def test_this_machine_is_ready_and_every_dependency_is_listed():
    # The tests run here, so the course does; a doctor who says otherwise is wrong.
    done = run_doctor()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("The course can run.\n")
    for name in doctor.dependencies(importlib.metadata.requires("frcnn-lessons")):
        assert f"ok   {name}" in done.stdout


@pytest.mark.slow
def test_the_doctor_runs_without_torch(shadow):
    shadow("torch", "raise ModuleNotFoundError('No module named torch')")
    done = run_doctor()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "STOP torch " in done.stdout
    assert re.search(r"GPU +unknown", done.stdout)
    assert "ok   numpy" in done.stdout
    assert "The course cannot run yet" in done.stdout


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("raise ImportError('no module')", "ImportError: no module"),
        ("raise OSError('libGL.so.1: cannot open shared object file')", "OSError: libGL.so.1"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import os; os.abort()", "Python stopped while importing it"),
    ],
)
def test_a_dependency_that_fails_on_import_is_one_line_and_the_others_are_still_seen(shadow, code, shown):
    # A missing system library ends in OSError and a wrong build in a crash: neither may end the doctor.
    shadow("cv2", code)
    answers = doctor.probe({"opencv-python-headless": "import cv2", "tqdm": "import tqdm"})
    finding = doctor.dependency("opencv-python-headless", "4.10", answers["opencv-python-headless"][1])
    assert finding.stops
    assert shown in finding.value
    assert answers["tqdm"] == ("", "")


def test_torch_and_torchvision_of_different_make_are_named_with_the_cure():
    # torchvision's own words when it meets a torch that it was not built for; on import, or when it is first used.
    error = "RuntimeError: operator torchvision::nms does not exist"
    for finding in (doctor.dependency("torchvision", "0.22", error), doctor.operators(error)):
        assert finding.stops
        assert "install both from the same place" in finding.remedy
    assert not doctor.operators("").stops


@pytest.mark.parametrize(
    ("version", "fits"),
    [((3, 10, 14), False), ((3, 11, 0), True), ((3, 13, 9), True), ((3, 14, 0), False), ((4, 0, 0), False)],
)
@pytest.mark.parametrize("required", [">=3.11,<3.14", "<3.14, >=3.11"])
def test_python_outside_the_range_stops(version, fits, required):
    finding = doctor.python(version, required)
    assert finding.stops is not fits
    assert bool(finding.remedy) is not fits


def test_too_little_memory_or_disk_stops_and_little_free_memory_is_advice():
    assert doctor.memory(GIGABYTE, GIGABYTE).stops
    assert not doctor.memory(8 * GIGABYTE, GIGABYTE).stops
    assert "close other programs" in doctor.memory(8 * GIGABYTE, GIGABYTE).remedy
    assert doctor.memory(8 * GIGABYTE, 4 * GIGABYTE) == Finding("memory", "8.0 GB, 4.0 GB of it free")
    assert not doctor.memory(None, None).stops, "psutil has a line of its own"


def test_the_disk_must_hold_what_is_not_there_yet():
    # What has been installed needs no room a second time; a fresh installation takes 6.1 GB on Linux.
    assert doctor.disk(GIGABYTE // 2, installed=True).remedy == "make room: 1 GB is needed"
    assert not doctor.disk(2 * GIGABYTE, installed=True).stops
    finding = doctor.disk(6 * GIGABYTE, installed=False)
    assert finding.stops
    assert "7 GB" in finding.remedy
    assert not doctor.disk(8 * GIGABYTE, installed=False).stops


def test_a_dependency_that_is_not_installed_stops_with_the_command():
    assert doctor.version_of("no-such-package") == ""
    finding = doctor.dependency("no-such-package", "", "ModuleNotFoundError: ...")
    assert finding.stops
    assert finding.value == "not installed"
    assert "uv sync" in finding.remedy


def test_two_opencv_packages_are_pointed_out():
    # They write to the same folder: the last one installed wins, and pip check stays silent.
    assert doctor.opencv({"opencv-python-headless"}) == []
    (finding,) = doctor.opencv({"opencv-python-headless", "opencv-python"})
    assert not finding.stops
    assert "pip uninstall -y opencv-python opencv-python-headless" in finding.remedy


def test_requirements_are_read_in_every_spelling_and_only_those_of_this_machine():
    lines = [
        "torch>=2.7",
        "scikit-image (>=0.25)",
        "a.b[c]>=1 ; python_version > '3'",
        "numpy",
        "ruff>=0.9; extra == 'test'",
        "old>=1; python_version < '3'",
        "both>=1; sys_platform == 'nowhere' or extra == 'test'",
    ]
    found = doctor.dependencies(lines)
    assert {name: str(versions) for name, versions in found.items()} == {
        "torch": ">=2.7",
        "scikit-image": ">=0.25",
        "a.b": ">=1",
        "numpy": "",
    }


@pytest.mark.parametrize(
    ("required", "version", "fits"),
    [
        (">=2.7", "1.0", False),
        (">=2.7", "2.7", True),
        (">=2.7", "2.10.0", True),  # 10 is more than 7, though "1" comes before "7"
        (">=2.7", "2.7.1+cpu", True),
        (">=2.7", "2.7.0rc1", False),
        (">=2.7", "2.9.0.dev20250901+cu128", True),  # a nightly build
        ("<3", "2.99", True),
        ("<3", "3.0", False),
        (">=2,!=2.3.1", "2.3.1", False),
        (">=2,!=2.3.1", "2.3.2", True),
        ("~=1.4", "1.9", True),
        ("~=1.4", "2.0", False),
        ("~=1.4", "1.3", False),
        ("", "0.0.1", True),
        ("", "1.0b2", True),
    ],
)
def test_a_version_out_of_its_bounds_stops_and_says_which_are_needed(required, version, fits):
    (versions,) = doctor.dependencies([f"torch{required}"]).values()
    finding = doctor.dependency("torch", version, "", versions)
    assert finding.stops is not fits
    assert finding.value == version
    if not fits:
        assert finding.remedy.startswith(f'the course needs torch{versions}: run "uv sync"')


def test_an_excluded_python_is_refused():
    assert doctor.python((3, 12, 1), ">=3.11,!=3.12.1").stops
    assert not doctor.python((3, 12, 2), ">=3.11,!=3.12.1").stops
    assert not doctor.python((3, 12, 2), "").stops


def test_without_packaging_the_report_is_one_line(shadow):
    shadow("packaging", "raise ModuleNotFoundError('No module named packaging')")
    done = run_doctor()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("STOP packaging  ")
    assert "ModuleNotFoundError: No module named packaging" in done.stdout
    assert "The course cannot run yet" in done.stdout


@pytest.mark.slow
def test_a_probe_goes_on_after_a_crash_and_a_hang():
    # Chatter of a library on stdout must not be taken for an answer.
    answers = doctor.probe(
        {
            "talks": "print('probe me'.title(), end=''); answer = 7",
            "crashes": "import os; os.abort()",
            "raises": "1 / 0",
            "hangs": "import time; time.sleep(60)",
            "last": "pass",
        },
        timeout=3,
    )
    assert answers["talks"] == ("7", "")
    assert "Python stopped" in answers["crashes"][1]
    assert answers["raises"] == ("", "ZeroDivisionError: division by zero")
    assert answers["hangs"] == ("", "took longer than 3 s")
    assert answers["last"] == ("", "")


def test_the_report_marks_what_stops_and_what_is_advice():
    report = Report((Finding("a", "1"), Finding("bb", "2", "do this"), Finding("c", "3", "do that", stops=True)))
    assert str(report).splitlines() == [
        "ok   a   1",
        "note bb  2",
        "         -> do this",
        "STOP c   3",
        "         -> do that",
        "The course cannot run yet: see STOP above.",
    ]
    assert not report.ready
    assert Report(report.findings[:2]).ready
