"""Two processes (gloo, on the CPU) learn what one does; one that dies ends the run. Lesson 12."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from frcnn_lessons.checkpoints import read_checkpoint
from frcnn_lessons.course import cli, train_command
from frcnn_lessons.course.runs import RunError
from frcnn_lessons.datasets.voc import write_annotation
from frcnn_lessons.detectors import load_detector
from helpers.tiny_photographs import write_voc
from helpers.two_processes import gradients

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parent / "helpers" / "two_processes.py"


def two(*arguments, **environment):
    """Run the program of `helpers.two_processes` in two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PROGRAM]
    paths = os.pathsep.join([str(PROGRAM.parents[1]), *sys.path])
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_average_to_the_gradient_of_one(tmp_path):
    done = two("gradients", tmp_path / "two.pth")
    assert done.returncode == 0, done.stderr
    of_two, of_one = torch.load(tmp_path / "two.pth", weights_only=True), gradients()
    assert of_two.keys() == of_one.keys()
    assert not any(name.startswith("backbone.stages.0") for name in of_one)
    for name, gradient in of_one.items():
        assert torch.allclose(of_two[name], gradient, rtol=1e-4, atol=1e-7), name
    assert float(of_one["backbone.stages.1.0.weight"].norm()) > 1e-4


@pytest.fixture
def photographs(tmp_path):
    """Five images to train on, so one batch has an image for one process only; one of them shows nothing."""
    folder = write_voc(tmp_path / "photographs", train=5)
    write_annotation(folder / "Annotations" / "001.xml", "001.jpg", (96, 64), [])
    return folder


def test_the_command_in_two_processes_writes_once_and_goes_on_after_a_kill(photographs, tmp_path):
    out = tmp_path / "out"
    options = ["train", photographs, "--out", out, "--backbone", "mini", "--short-side", 64, "--epochs", 2]
    killed = two(*options, KILL="1")
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    content = read_checkpoint(out / "training.0-2.pth")
    assert content["epoch"] == 2  # learned, and not yet measured
    shutil.copytree(out, tmp_path / "alone")
    done = two(*options, "--resume")
    assert done.returncode == 0, done.stderr
    assert load_detector(out / "best.pth").classes == ("blue", "red")
    history = json.loads((out / "history.json").read_text())
    assert len(history["validation"]["AP50"]) == 2
    assert len(history["steps"]["total"]) == 2 * 3
    assert [line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("epoch")] == ["epoch 2"]
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]

    options[options.index(out)] = tmp_path / "alone"  # one process can finish what two began
    result = CliRunner().invoke(cli.app, [*map(str, options), "--resume"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "alone" / "Epoch.2.pth").exists()


def test_what_several_processes_cannot_share_is_refused(photographs, tmp_path, monkeypatch):
    done = two("train", photographs, "--out", tmp_path / "out", "--detector", "rcnn")
    assert done.returncode != 0
    assert "rcnn is trained by one process: start it without torchrun" in done.stderr
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    with pytest.raises(RunError, match="--batch-size 2 is less than one image for each of 4 processes"):
        train_command._check_processes(train_command.complete({}, None))
