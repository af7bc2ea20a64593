"""Whole or not at all: what is left behind when writing fails, is killed, or happens twice at once."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from frcnn_lessons import files
from frcnn_lessons.course import results
from frcnn_lessons.datasets import streets
from frcnn_lessons.files import data_folder, folder_written_whole, user_path, written_whole


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
    (tmp_path / "plain folder").mkdir()
    with folder_written_whole(tmp_path / "b"):
        pass
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == stat.S_IMODE((tmp_path / "plain folder").stat().st_mode)


def test_the_umask_of_the_process_is_left_alone(tmp_path, monkeypatch):
    # It belongs to all threads: a file that another one made meanwhile would be open to everybody.
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was set"))
    with written_whole(tmp_path / "a") as temporary:
        temporary.write_text("")
    with folder_written_whole(tmp_path / "b"):
        pass


def test_a_tilde_is_the_home_folder_and_a_link_stays_a_link(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert user_path("~") == tmp_path
    assert user_path("~/a/b.txt") == tmp_path / "a" / "b.txt"
    assert user_path(Path("~/a")) == tmp_path / "a"
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("~no such user/a") == Path("~no such user/a")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert user_path("~/link") == tmp_path / "link"
    monkeypatch.chdir(tmp_path / "real")
    with written_whole("~/new/a.txt") as temporary:
        temporary.write_text("here")
    with folder_written_whole("~/set"):
        pass
    monkeypatch.setenv("FRCNN_LESSONS_DATA", "~/data")
    assert data_folder() == tmp_path / "data"
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "real", "set"]
    assert os.listdir(tmp_path / "real") == []


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
    assert data_folder() == platformdirs.user_cache_path("frcnn-lessons", appauthor=False)
    if sys.platform == "linux":
        assert data_folder() == tmp_path / "frcnn-lessons"


def a_file(tmp_path):
    (tmp_path / "data").write_text("no folder")
    return tmp_path / "data"


def below_a_file(tmp_path):
    return a_file(tmp_path) / "below"


def read_only(tmp_path):
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("only a plain user on a POSIX system is kept out by rights")
    (tmp_path / "data").mkdir(mode=0o500)
    return tmp_path / "data"


def closed(tmp_path):
    folder = read_only(tmp_path)
    folder.chmod(0)
    return folder


def on_a_system_that_makes_no_folder(_):
    if not Path("/proc/self").is_dir():
        pytest.skip("only Linux has /proc, in which nobody can make anything")
    return Path("/proc/nothing")


@pytest.mark.parametrize("place", [a_file, below_a_file, read_only, closed, on_a_system_that_makes_no_folder])
def test_a_course_folder_that_cannot_be_written_names_the_setting(place, tmp_path, monkeypatch):
    folder = place(tmp_path)
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(folder))
    monkeypatch.setattr(streets.dataset, "write", lambda *_: pytest.fail("seconds of drawing, for nothing"))
    for write in (streets.prepare, lambda: results.record(results.Result("R-CNN", 0.5, 1.0, 1.0, 0.5, 300, "–"))):
        with pytest.raises(OSError, match="set the environment variable FRCNN_LESSONS_DATA to a folder") as refusal:
            write()
        assert str(refusal.value).startswith(f"{folder}: ")
        assert type(refusal.value) is type(refusal.value.__cause__)


def test_elsewhere_the_error_is_the_systems_own(tmp_path, monkeypatch):
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path / "data"))
    with pytest.raises(FileExistsError) as refusal, written_whole(a_file(tmp_path) / "a.txt"):
        pass
    assert "FRCNN" in str(refusal.value)
    (tmp_path / "mine").write_text("")
    with pytest.raises(FileExistsError) as refusal, written_whole(tmp_path / "mine" / "a.txt"):
        pass
    assert "FRCNN" not in str(refusal.value)
