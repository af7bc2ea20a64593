"""What the commands of detectors answer when an option or the system is in the way. Lesson 12."""

import errno
import os

import pytest
import typer
from typer.testing import CliRunner

from frcnn_lessons.course import cli, detector_commands
from helpers.tiny_photographs import write_voc


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("own") / "photographs")


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


@pytest.mark.usefixtures("unchecked")
def test_options_out_of_range_are_sentences(photographs, tmp_path):
    for option, value, words in (
        ("--detector", "yolo", "detector must be one of faster, fast, rcnn"),
        ("--backbone", "alexnet", "backbone must be one of"),
        ("--epochs", 0, "epochs must be an integer from 1"),
        ("--short-side", 0, "short_side must be an integer from 1"),
        ("--learning-rate", -1, "learning_rate must be above 0"),
        ("--recipe", "soup", "recipe must be one of own, tagging"),
        ("--device", "abacus", "--device abacus cannot be used"),
    ):
        result = call("train", photographs, "--out", tmp_path / "out", option, value)
        assert result.exit_code == 1
        assert words in result.output
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "end"), [(errno.ENOSPC, "; make room, then go on with --resume"), (errno.EACCES, "Permission denied")]
)
def test_an_error_of_the_system_names_its_file_and_what_to_do(number, end, capsys):
    with pytest.raises(typer.Exit) as caught, detector_commands.sentences():
        raise OSError(number, os.strerror(number), "a/b.pth")
    assert caught.value.exit_code == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("a/b.pth: ")
    assert message.endswith(end)
