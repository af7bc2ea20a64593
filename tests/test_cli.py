"""The command as a student, a teacher and a CI machine call it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from jupyter_client.blocking import BlockingKernelClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

from frcnn_lessons.course import cli
from frcnn_lessons.course.lint import normalise

SCRIPT = Path(sys.executable).with_name("frcnn-lessons")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with three small lessons, of which 01 fails."""
    (tmp_path / "notebooks").mkdir()
    for name, source in [("00_start", "print('hello')"), ("01_broken", "1 / 0"), ("02_end", "6 * 7")]:
        notebook = new_notebook(cells=[new_code_cell(source)])
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
    monkeypatch.setattr(cli, "CHECKOUT", tmp_path)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(cli.app, list(arguments))


def good_lesson() -> NotebookNode:
    """The smallest lesson in good order."""
    goals = "You will be able to add.\n**Time** 1 minutes." + 100 * " word"
    prose = f"# A start\n{goals}\n## What you should remember\nThe sum."
    output = new_output("stream", text="2\n")
    code = new_code_cell("print(1 + 1)", id="print", execution_count=1, outputs=[output])
    return normalise(new_notebook(cells=[new_markdown_cell(prose, id="title"), code]))


@pytest.mark.slow
def test_run_goes_on_after_a_failure_and_reports_it(checkout):
    result = call("run")
    assert result.exit_code == 1
    assert "01_broken.ipynb, code cell 1: ZeroDivisionError: division by zero" in result.output
    summary = json.loads((checkout / "build" / "summary.json").read_text())
    assert [bool(lesson["failure"]) for lesson in summary["lessons"]] == [False, True, False]
    assert all(lesson["seconds"] > 0 and lesson["peak_mb"] > 20 for lesson in summary["lessons"])
    copies = sorted(path.name for path in (checkout / "build" / "run").iterdir())
    assert copies == ["00_start.ipynb", "01_broken.ipynb", "02_end.ipynb"]
    last = nbformat.read(checkout / "build" / "run" / "02_end.ipynb", 4)
    assert last.cells[0].outputs[0].data["text/plain"] == "42"


@pytest.mark.slow
@pytest.mark.usefixtures("checkout")
def test_run_takes_numbers_and_ends_well():
    result = call("run", "00", "2", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["lesson", "00_start", "02_end"]
    assert "FAILED" not in result.output


@pytest.mark.slow
def test_run_survives_a_damaged_file(checkout):
    (checkout / "notebooks" / "00_start.ipynb").write_text("{")
    result = call("run", "00", "02")
    assert result.exit_code == 1
    assert "00_start.ipynb is not a notebook" in result.output
    assert (checkout / "build" / "run" / "02_end.ipynb").is_file()


@pytest.mark.slow
def test_build_stores_outputs_and_leaves_a_failing_lesson_alone(checkout):
    broken = (checkout / "notebooks" / "01_broken.ipynb").read_bytes()
    result = call("build")
    assert result.exit_code == 1
    assert "01_broken.ipynb, code cell 1" in result.output
    assert (checkout / "notebooks" / "01_broken.ipynb").read_bytes() == broken
    stored = nbformat.read(checkout / "notebooks" / "00_start.ipynb", 4)
    assert stored.cells[0].outputs[0].text == "hello\n"
    assert call("build", "00", "02").exit_code == 0


def test_lint_names_the_lesson_and_all_that_is_wrong_with_it_and_runs_nothing(checkout):
    before = (checkout / "notebooks" / "00_start.ipynb").read_bytes()
    (checkout / "notebooks" / "02_end.ipynb").write_text("{")
    result = call("lint", "00", "02")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "00_start.ipynb: the first cell is no title" in lines
    assert "00_start.ipynb: execution counts are [None]: run it in order from a fresh kernel" in lines
    assert lines[-1].startswith("02_end.ipynb is not a notebook of format 4")
    assert (checkout / "notebooks" / "00_start.ipynb").read_bytes() == before


def test_lint_says_when_all_is_well_and_sees_what_reading_a_notebook_would_mend(checkout):
    path = checkout / "notebooks" / "00_start.ipynb"
    nbformat.write(good_lesson(), path)
    result = call("lint", "0")
    assert (result.exit_code, result.output) == (0, "in good order\n"), result.output
    path.write_text(path.read_text().replace('"id": "print"', '"id": "title"'))
    result = call("lint", "0")
    assert (result.exit_code, result.output) == (1, "00_start.ipynb: two cells have the same id\n")


@pytest.mark.parametrize("command", ["run", "build", "lint"])
def test_an_unknown_lesson_is_refused_before_anything_runs(checkout, command):
    result = call(command, "00", "11")
    assert result.exit_code == 1
    assert "there is no lesson 11; there are 00, 01, 02" in result.output
    assert not (checkout / "build").exists()


@pytest.mark.parametrize("command", ["run", "build", "lint", "lab"])
def test_without_a_checkout_the_remedy_is_named(tmp_path, monkeypatch, command):
    # What someone sees who installed the package from a wheel.
    monkeypatch.setattr(cli, "CHECKOUT", tmp_path)
    result = call(command)
    assert result.exit_code == 1
    assert "clone the repository" in result.output


def test_help_and_doctor_need_no_heavy_import():
    # Where torch or Jupyter is broken, the doctor must still start.
    code = (
        "import sys; from frcnn_lessons.course import cli, doctor\n"
        "print({'torch', 'numpy', 'jupyterlab', 'nbclient', 'tqdm', 'psutil'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"


def test_a_name_that_the_terminal_cannot_show_is_shown_by_its_numbers(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["frcnn-lessons", "data", "check", "日\udce4"])
    with pytest.raises(SystemExit):
        cli.main()
    assert b"\\u65e5\\udce4: there is no such file or folder" in terminal.buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("nbclient", ["lint", "00"], "lessons"),
        ("jupyterlab", ["lab"], "lessons"),
        ("fastapi", ["serve"], "serve"),
    ],
)
def test_where_an_extra_is_missing_it_is_named(module, arguments, extra):
    code = f"import sys; sys.modules[{module!r}] = None; from frcnn_lessons.course import cli; cli.main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"{module} is not installed")
    assert f"[{extra}]" in done.stderr


def ask(url: str, token: str, method: str = "GET") -> dict:
    """Send a request to a Jupyter server and return its answer."""
    body = b"{}" if method == "POST" else None
    request = urllib.request.Request(url, data=body, method=method, headers={"Authorization": f"token {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or "{}")


def wait_for(question, seconds: float = 60):
    """Ask until there is an answer that is not empty."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if answer := question():
                return answer
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.3)
    pytest.fail(f"no answer within {seconds} s")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_lab_serves_the_lessons_with_a_kernel_that_starts_and_stops_when_told(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}/api"
    token = "a-token-of-this-test"
    command = [SCRIPT, "lab", "--", "--no-browser", f"--port={port}", f"--IdentityProvider.token={token}"]
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ) | own)
    try:
        wait_for(lambda: server.poll() is not None or ask(f"{base}/status", token))
        assert server.poll() is None, (tmp_path / "log").read_text()
        assert "python3" in ask(f"{base}/kernelspecs", token)["kernelspecs"]
        names = {entry["name"] for entry in ask(f"{base}/contents", token)["content"]}
        assert names == {path.name for path in (cli.CHECKOUT / "notebooks").iterdir() if not path.name.startswith(".")}
        kernel = ask(f"{base}/kernels", token, "POST")["id"]
        # Ready means that the course can be imported in it, so talk to it.
        client = BlockingKernelClient(connection_file=str(tmp_path / "runtime" / f"kernel-{kernel}.json"))
        client.load_connection_file()
        client.start_channels(hb=False)
        assert client.execute("import frcnn_lessons", reply=True, timeout=60)["content"]["status"] == "ok"
        client.stop_channels()
        if (cli.CHECKOUT / "notebooks" / "00_start_here.ipynb").is_file():
            assert "/lab/tree/00_start_here.ipynb" in (tmp_path / "log").read_text()
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
