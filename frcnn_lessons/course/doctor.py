"""Can the course run here? What is installed, what is missing, and what to do about it.

`check` looks at Python, the machine and every dependency and returns a `Report` to print; `report.ready` is the answer
in one word. The list of dependencies and their versions comes from the package's own metadata (so from
pyproject.toml). It starts without any of them: each is imported in another process, so that one that crashes Python on
import is a line of the report and not the end of it. Only `packaging`, which reads versions, is needed here; without it
the report has that one line.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

PACKAGE = "frcnn-lessons"
# The others are imported by the name that they are installed by.
IMPORT_NAMES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn"}
OPENCV_PACKAGES = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")

LEAST_MEMORY = 2 * 2**30  # bytes; the lessons are made for 3 GB
# In bytes. An installation takes 6.1 GB on Linux, where PyTorch brings all of CUDA, and less elsewhere.
LEAST_DISK, LEAST_DISK_TO_INSTALL = 2**30, 7 * 2**30

INSTALL = 'run "uv sync" in the course folder (with conda or pip: pip install -e ".[lessons]")'
SAME_MAKE = (
    "torch and torchvision are not of one make: install both from the same place "
    '("uv sync --reinstall-package torch --reinstall-package torchvision", '
    'or "pip install --force-reinstall torch torchvision")'
)
NMS = "import torch, torchvision; torchvision.ops.nms(torch.tensor([[0., 0., 1., 1.]]), torch.ones(1), 0.5)"
GPU = """
import torch
if torch.cuda.is_available():
    answer = torch.cuda.get_device_name(0)
elif torch.backends.mps.is_available():
    answer = "Apple (mps)"
else:
    answer = "none (none is needed)"
"""

# Runs in another process. Reads {name: code} and writes one marked line for each, as soon as it is known.
PROBE = """
import json, sys
for name, code in json.loads(sys.argv[1]).items():
    space, error = {}, ""
    try:
        exec(code, space)
    except BaseException as problem:
        error = f"{type(problem).__name__}: {problem}".partition("\\n")[0]
    print("\\nprobe " + json.dumps([name, str(space.get("answer", "")), error]), flush=True)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: what was looked at.
        value: what was found: a version, a size, an error.
        remedy: what to do about it; empty when all is well.
        stops: the course cannot run like this. A remedy with `stops=False` is advice.
    """

    name: str
    value: str
    remedy: str = ""
    stops: bool = False


@dataclass(frozen=True)
class Report:
    """All findings; print it to read it."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether the course can run."""
        return not any(finding.stops for finding in self.findings)

    def __str__(self) -> str:
        width = max(len(finding.name) for finding in self.findings)
        lines = []
        for finding in self.findings:
            mark = "STOP" if finding.stops else "note" if finding.remedy else "ok"
            lines.append(f"{mark:5}{finding.name:{width}}  {finding.value}")
            if finding.remedy:
                lines.append(f"{'':5}{'':{width}}  -> {finding.remedy}")
        lines.append("The course can run." if self.ready else "The course cannot run yet: see STOP above.")
        return "\n".join(lines)


def check(folder: Path | None = None) -> Report:
    """Look at everything. Takes as long as importing every dependency once: a few seconds.

    Args:
        folder: where the course will write; its disk is measured. The current folder by default.
    """
    try:
        import packaging.requirements  # noqa: F401
    except ImportError as error:
        return Report((dependency("packaging", version_of("packaging"), f"{type(error).__name__}: {error}"),))
    try:
        metadata = importlib.metadata.metadata(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return Report((python(sys.version_info[:3], ""), Finding(PACKAGE, "not installed", INSTALL, stops=True)))
    required = dependencies(metadata.get_all("Requires-Dist") or [])
    modules = {name: IMPORT_NAMES.get(name, name.replace("-", "_")) for name in required}
    probes = {name: f"import {module}" for name, module in modules.items()}
    answers = probe(probes | {"torchvision.ops.nms": NMS, "GPU": GPU})
    return Report(
        (
            python(sys.version_info[:3], metadata["Requires-Python"]),
            Finding("system", f"{platform.system()} {platform.machine()}"),
            Finding("cores", str(os.cpu_count())),
            memory(*memory_sizes()),
            disk(shutil.disk_usage(folder or Path.cwd()).free, installed=bool(version_of("torch"))),
            Finding("GPU", answers["GPU"][0] or "unknown (torch does not import)"),
            Finding(PACKAGE, metadata["Version"]),
            *(dependency(name, version_of(name), answers[name][1], versions) for name, versions in required.items()),
            operators(answers["torchvision.ops.nms"][1]),
            *opencv({name for name in OPENCV_PACKAGES if version_of(name)}),
        )
    )


def python(version: tuple[int, int, int], required: str) -> Finding:
    """Judge a Python version by the package's own range, e.g. ">=3.11,<3.14"; an empty range allows all."""
    from packaging.specifiers import SpecifierSet

    text = ".".join(map(str, version))
    if not SpecifierSet(required).contains(text):
        remedy = f"the course needs Python {required}: uv fetches one by itself (uv run frcnn-lessons lab)"
        return Finding("Python", text, remedy, stops=True)
    return Finding("Python", text)


def memory(total: int | None, available: int | None) -> Finding:
    """Judge the machine's memory, in bytes; None when it could not be measured."""
    if total is None or available is None:
        return Finding("memory", "unknown (psutil does not import)")
    value = f"{total / 2**30:.1f} GB, {available / 2**30:.1f} GB of it free"
    if total < LEAST_MEMORY:
        return Finding("memory", value, "2 GB are the least that the first lessons run in; 4 GB are enough", stops=True)
    if available < LEAST_MEMORY:
        return Finding("memory", value, "close other programs before the lessons that train a detector")
    return Finding("memory", value)


def memory_sizes() -> tuple[int | None, int | None]:
    """Return total and available memory in bytes, None where psutil is missing or broken."""
    try:
        import psutil
    except (ImportError, OSError):
        return None, None
    sizes = psutil.virtual_memory()
    return sizes.total, sizes.available


def disk(free: int, installed: bool) -> Finding:
    """Judge the free disk space, in bytes; once PyTorch is installed, only what the course writes needs room."""
    value = f"{free / 2**30:.1f} GB free"
    if installed and free < LEAST_DISK:
        return Finding("disk", value, "make room: 1 GB is needed", stops=True)
    if not installed and free < LEAST_DISK_TO_INSTALL:
        return Finding("disk", value, "make room: 7 GB are needed, most of it for PyTorch", stops=True)
    return Finding("disk", value)


def dependencies(requirements: Sequence[str]) -> dict[str, "SpecifierSet"]:
    """Return what the package needs to run on this machine and in which versions, from its metadata.

    What only notebooks need (the extra `lessons`) counts; left out are other extras, other systems and other Pythons.

    Example:
        >>> dependencies(["torch>=2.7", "scikit-image (>=0.25)", "pytest>=8 ; extra == 'test'"])
        {'torch': <SpecifierSet('>=2.7')>, 'scikit-image': <SpecifierSet('>=0.25')>}
    """
    from packaging.requirements import Requirement

    parsed, course = map(Requirement, requirements), {"extra": "lessons"}
    return {line.name: line.specifier for line in parsed if not line.marker or line.marker.evaluate(course)}


def dependency(name: str, version: str, error: str, required: "SpecifierSet | None" = None) -> Finding:
    """Judge one dependency.

    Args:
        name: the name that it is installed by.
        version: the installed one, "" when there is none. A pre-release counts, as in PyTorch's nightly builds.
        error: what went wrong when it was imported, "" if nothing did.
        required: the versions that the course runs with; None allows all.
    """
    if not version:
        return Finding(name, "not installed", INSTALL, stops=True)
    if error:
        remedy = SAME_MAKE if "torchvision::nms" in error else f"it does not import: {INSTALL}"
        return Finding(name, f"{version}, {error}", remedy, stops=True)
    if required is not None and not required.contains(version, prereleases=True):
        return Finding(name, version, f"the course needs {name}{required}: {INSTALL}", stops=True)
    return Finding(name, version)


def operators(error: str) -> Finding:
    """Judge whether torchvision's compiled part works with this torch, by the error of its `nms` ("" if none)."""
    if error:
        return Finding("torchvision.ops.nms", error, SAME_MAKE, stops=True)
    return Finding("torchvision.ops.nms", "runs")


def opencv(installed: set[str]) -> list[Finding]:
    """Advise when two OpenCV packages are installed: they share one folder, and the last one wins in silence."""
    if len(installed) < 2:
        return []
    names = " ".join(sorted(installed))
    remedy = f'keep one: "pip uninstall -y {names}" and then {INSTALL}'
    return [Finding("OpenCV", f"{len(installed)} packages overwrite each other: {names}", remedy)]


def version_of(name: str) -> str:
    """Return the installed version of a package, "" when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def probe(codes: Mapping[str, str], timeout: float = 180) -> dict[str, tuple[str, str]]:
    """Run pieces of Python one after another in another process, and go on after one that kills it.

    Args:
        codes: the pieces by name. One may set `answer`.
        timeout: seconds for one process; the piece that was running then has failed. Generous, because the first
            import of torch from a slow disk takes half a minute.

    Returns:
        For each name its answer and its error, "" where there is none.
    """
    results: dict[str, tuple[str, str]] = {}
    while len(results) < len(codes):
        left = {name: code for name, code in codes.items() if name not in results}
        command = [sys.executable, "-c", PROBE, json.dumps(left)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
            output, end = done.stdout, f"Python stopped while importing it (exit status {done.returncode})"
        except subprocess.TimeoutExpired as error:
            output, end = _text(error.stdout), f"took longer than {timeout:g} s"
        for line in output.splitlines():
            if line.startswith("probe "):
                name, answer, problem = json.loads(line.removeprefix("probe "))
                results[name] = answer, problem
        if stuck := next((name for name in left if name not in results), None):
            results[stuck] = "", end
    return results


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
