"""What the commands of detectors answer when an option is out of range. Lesson 12."""

import pytest
from typer.testing import CliRunner

from frcnn_lessons.course import cli
from helpers.tiny_photographs import write_voc


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("own") / "photographs")


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


@pytest.mark.usefixtures("unchecked")
def test_options_out_of_range_are_sentences(photographs, tmp_path):
    for option, value, words in (
        ("--detector", "yolo", "--detector must be one of faster, fast, rcnn"),
        ("--backbone", "alexnet", "--backbone must be one of"),
        ("--epochs", 0, "--epochs must be an integer from 1"),
        ("--short-side", 0, "--short-side must be an integer from 1"),
        ("--learning-rate", -1, "--learning-rate must be above 0"),
        ("--recipe", "soup", "--recipe must be one of own, voc, tagging"),
        ("--device", "abacus", "--device abacus cannot be used"),
    ):
        result = call("train", photographs, "--out", tmp_path / "out", option, value)
        assert result.exit_code == 1
        assert words in result.output
        assert not (tmp_path / "out").exists()
