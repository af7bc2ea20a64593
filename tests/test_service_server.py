"""The service starts with a sentence or not at all, and ends in order. Lesson 13."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
import torch
from typer.testing import CliRunner

from frcnn_lessons.course.cli import app
from frcnn_lessons.detectors import Description, build_detector, save_detector
from frcnn_lessons.rpn import RPNSettings
from frcnn_lessons.service import server
from helpers.serving import encoded, picture

COMMAND = [sys.executable, "-m", "frcnn_lessons.course.cli", "serve"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A detector with random weights, and 100 anchors an image to be busy with."""
    path = tmp_path_factory.mktemp("model") / "model.pth"
    settings = RPNSettings(sizes=(16, 32), ratios=(1.0,), after_nms=(100, 20))
    description = Description("faster", "mini", ("a", "b"), 120, 200, rpn=settings)
    save_detector(path, build_detector(description, torch.Generator().manual_seed(0)))
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process there at once")
def test_sigterm_finishes_what_runs_and_exits_with_0(checkpoint):
    process = subprocess.Popen(
        [*COMMAND, str(checkpoint), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        with concurrent.futures.ThreadPoolExecutor(9) as pool:
            data = encoded(picture(1500, 1000))
            httpx.post(f"{address}/tag", files={"file": data}, timeout=60).raise_for_status()  # it is up
            asked = [pool.submit(httpx.post, f"{address}/tag", files={"file": data}, timeout=60) for _ in range(8)]
            while httpx.get(f"{address}/health").json()["waiting"] == 0 and not all(one.done() for one in asked):
                time.sleep(0.002)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
            finished = [one for one in asked if one.exception() is None and one.result().status_code == 200]
        assert finished, "nothing that ran was finished"
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")
    finally:
        process.kill()
        process.communicate()


def refused(*arguments) -> str:
    """What the command says when it does not start."""
    done = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    assert done.exit_code == 1, done.output
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_a_port_in_use_is_a_sentence(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(checkpoint, "--port", port)
    assert said.startswith(f"cannot listen on 127.0.0.1:{port} (")
    assert said.endswith("; choose another --port or --host\n")


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no checkpoint"])
def test_no_checkpoint_is_a_sentence(tmp_path, content):
    path = tmp_path / "model.pth"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in refused(path, "--port", 0)


@pytest.mark.parametrize("host", ["", "a" * 140, "ä" * 70, "a\0b"])
def test_what_is_no_name_of_a_machine_is_refused(host):
    with pytest.raises(OSError, match=rf"^cannot listen on {host}:0 \(.+\); choose another --port or --host$"):
        server.listen(host, 0)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0 .*; choose another"):
        server.listen("192.0.2.1", 0)
