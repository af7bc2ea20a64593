"""What all tests share."""

import importlib.util
import os
from pathlib import Path

import hypothesis
import jaxtyping
import matplotlib.pyplot  # also lists all fonts on a new machine, which would say so in a notebook
import pytest

# `lessons.PATIENT_THREADS`, before torch is loaded; the kernels in which pytest runs the notebooks inherit it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Two processes of one thread each are quicker than one of two threads; two of two would be far slower than either.
# (`lessons.thread_limits`; the package must not be imported here, before its checker of shapes is in place.)
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = "1"

# No deadline: a busy laptop is no bug. In CI the same examples every time; elsewhere new ones.
hypothesis.settings.register_profile("course", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("course")

collect_ignore_glob = ["benchmarks/[!t]*.py"]  # scripts that `benchmarks/test_speed.py` runs
if importlib.util.find_spec("fastapi") is None:  # the extra `serve`; `test_environment.py` says that it is missing
    collect_ignore_glob.append("test_service_*.py")

ROOT = Path(__file__).resolve().parents[1]


# What plain `pytest` leaves out: it takes as long again, and a busy machine can make a speed limit fail.
LATER = ("threads", "benchmark", "sliders")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help=f"run what is marked {' or '.join(LATER)} as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the longer lessons, and all that is off the path, as slow.

    And leave out what is for later unless it is asked for (--all, -m threads).
    """
    for item in items:
        off_the_path = item.path.parent.name == "extras"
        if item.path.suffix == ".ipynb" and (off_the_path or item.path.name[:2] not in ("00", "01")):
            item.add_marker("slow")
    left_out = set() if config.option.all else {name for name in LATER if name not in config.option.markexpr}
    later = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    config.hook.pytest_deselected(items=later)
    items[:] = [item for item in items if item not in later]


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Real photographs and published known answers that lie beside the checkout but are no part of the course."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (real photographs and published cases), which is not part of the course")
    return folder


@pytest.fixture
def unchecked():
    """Switch the tests' shape checker off, to see what a user without it sees."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def check_refusal():
    """Check what a reader says of a bad file: one sentence with the words wanted, the file and a remedy."""

    def check(message: str, words: list[str], root: Path) -> None:
        assert [word for word in words if word not in message] == [], message
        assert str(root) in message
        assert "; " in message, "the message says no remedy"
        assert len(message.splitlines()) == 1

    return check


@pytest.fixture
def without_a_window():
    """Draw into memory, with matplotlib's own defaults, and leave neither figures nor settings behind."""
    with matplotlib.rc_context():
        matplotlib.pyplot.switch_backend("agg")
        yield
        matplotlib.pyplot.close("all")


@pytest.fixture(scope="module")
def one_thread():
    """Tensors of a few numbers are slower on two threads, ten times so on a busy machine."""
    import torch  # here, so that `OMP_WAIT_POLICY` is set before it is loaded

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
