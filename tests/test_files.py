"""Whole or not at all: what is left behind when writing fails, is killed, or happens twice at once."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from frcnn_lessons import files
from frcnn_lessons.files import data_folder, folder_written_whole, written_whole


def test_a_file_appears_with_all_that_was_written_and_nothing_beside_it(tmp_path):
    with written_whole(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("all of it")
        assert not (tmp_path / "new" / "a.txt").exists()
        assert temporary.suffix == ".txt", "writers that choose the format by the ending need it"
    assert (tmp_path / "new" / "a.txt").read_text() == "all of it"
    assert os.listdir(tmp_path / "new") == ["a.txt"]


def test_an_error_while_writing_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_others_may_read_it_as_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with written_whole(tmp_path / "a") as temporary:
        temporary.write_text("")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_appears_whole(tmp_path):
    with folder_written_whole(tmp_path / "set") as temporary:
        (temporary / "a").write_text("1")
        assert not (tmp_path / "set").exists()
    assert os.listdir(tmp_path) == ["set"]
    assert (tmp_path / "set" / "a").read_text() == "1"


def test_an_error_while_filling_leaves_no_folder(tmp_path):
    with pytest.raises(RuntimeError), folder_written_whole(tmp_path / "set") as temporary:
        (temporary / "a").write_text("1")
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_of_two_processes_the_first_folder_stays(tmp_path):
    with folder_written_whole(tmp_path / "set") as slow:
        (slow / "who").write_text("slow")
        with folder_written_whole(tmp_path / "set") as quick:
            (quick / "who").write_text("quick")
    assert (tmp_path / "set" / "who").read_text() == "quick"
    assert os.listdir(tmp_path) == ["set"]


def test_a_file_in_the_place_of_the_folder_is_no_reason_to_be_silent(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(OSError), folder_written_whole(tmp_path / "set"):
        pass
    assert (tmp_path / "set").read_text() == "mine"


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal\n"
        "from frcnn_lessons.files import written_whole\n"
        f"with written_whole({str(path)!r}) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode != 0
    assert path.read_text() == "old"


def test_data_goes_where_the_environment_says_else_to_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path / "elsewhere"))
    assert data_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("FRCNN_LESSONS_DATA")
    assert data_folder() == Path(__file__).resolve().parents[1] / "data"


def test_an_installed_package_without_a_checkout_uses_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("FRCNN_LESSONS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(files, "CHECKOUT", tmp_path / "site-packages")
    assert data_folder() == tmp_path / "frcnn-lessons"
