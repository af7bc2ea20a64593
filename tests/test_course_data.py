"""What the commands `frcnn-lessons data` promise; what they call has tests of its own. Lesson 12."""

import errno
import os

import pytest
import typer
from typer.testing import CliRunner

from frcnn_lessons.course.data import app, sentences
from test_datasets_own_data import bad_folder, table


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "defects: 3"),
        (["--bad-boxes", "clip"], "cut at the border of their image: 1, left out: 1"),
        (["--bad-boxes", "drop"], "cut at the border of their image: 0, left out: 2"),
        (["--zero-based"], "defects: 3"),
    ],
)
def test_the_options_reach_the_reader(tmp_path, options, words):
    bad_folder(tmp_path)
    done = run("check", tmp_path, *options)
    assert done.exit_code == 1  # the truncated photograph stays a defect
    assert words in done.output


def test_the_folder_of_images_may_be_named(tmp_path):
    table(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert run("check", tmp_path / "df.csv", "--images", tmp_path / "elsewhere").exit_code == 0


def test_a_page_that_cannot_be_written_is_said(tmp_path):
    table(tmp_path)
    (tmp_path / "file").write_text("")
    done = run("check", tmp_path / "df.csv", "--html", tmp_path / "file" / "page.html")
    assert (done.exit_code, "the page cannot be written" in done.output) == (1, True)


def test_an_option_that_is_unknown_is_refused(tmp_path):
    assert run("check", tmp_path, "--exif", "turn").exit_code == 2


def test_what_the_system_refuses_is_a_sentence(tmp_path):
    done = run("check", tmp_path / (300 * "a"))
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert done.output.endswith("File name too long\n")


@pytest.mark.parametrize(
    ("number", "end"), [(errno.ENOSPC, "; make room, then go on with --resume"), (errno.EACCES, "Permission denied")]
)
def test_an_error_of_the_system_names_its_file_and_what_to_do(number, end, capsys):
    with pytest.raises(typer.Exit) as caught, sentences():
        raise OSError(number, os.strerror(number), "a/b.pth")
    assert caught.value.exit_code == 1
    message = capsys.readouterr().err.strip()
    assert message.startswith("a/b.pth: ")
    assert message.endswith(end)
