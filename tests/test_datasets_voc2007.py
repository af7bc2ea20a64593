"""What the download of VOC 2007 promises: all of it or nothing, whatever happens on the way. Lesson 12."""

import hashlib
import http.server
import shutil
import tarfile
import threading

import pytest
from torchvision.datasets import utils, voc
from typer.testing import CliRunner

from frcnn_lessons.course.cli import app
from frcnn_lessons.datasets import DataError, VOCDataset, open_data
from frcnn_lessons.datasets.voc2007 import ARCHIVES, fetch_voc2007
from test_voc import CAR, add_image, image_set


class Server(http.server.ThreadingHTTPServer):
    """A server of VOC's two archives that may break off."""

    def __init__(self, folder):
        self.folder, self.asked, self.cut = folder, [], False
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.start()

    def do_GET(self):
        content = self.start()
        self.server.asked.append(self.path)
        self.wfile.write(content[: len(content) // 2] if self.server.cut else content)

    def start(self):
        content = (self.server.folder / self.path[1:]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """VOC 2007 with an image in each archive, on a server of this machine."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    server = Server(folder)
    for key, name in (("2007", "trainval"), ("2007-test", "test")):
        root = tmp_path / "made" / "VOCdevkit" / "VOC2007"
        add_image(root, name, [CAR])
        image_set(root, name, name)
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            archive.add(root.parent, "VOCdevkit")
        shutil.rmtree(root.parent)
        entry = {
            "url": f"http://127.0.0.1:{server.server_port}/{name}.tar",
            "filename": f"{name}.tar",
            "md5": hashlib.md5((folder / f"{name}.tar").read_bytes()).hexdigest(),
            "base_dir": "VOCdevkit/VOC2007",
        }
        monkeypatch.setitem(voc.DATASET_YEAR_DICT, key, entry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_both_archives_are_fetched_once_and_read(server, tmp_path):
    folder = fetch_voc2007(tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["VOCdevkit"]  # no archives, nothing unfinished
    assert VOCDataset(folder, "test").ids == ("test",)
    assert set(open_data(folder).splits) == {"train", "val", "test"}
    assert fetch_voc2007(tmp_path / "to") == folder
    assert server.asked[-1] == "/test.tar"
    assert "/trainval.tar" not in server.asked[server.asked.index("/test.tar") :]  # nothing a second time


def test_half_an_archive_is_never_taken_for_a_whole_one(server, tmp_path):
    server.cut = True
    with pytest.raises(DataError, match=r"cannot be fetched.*run the command again"):
        fetch_voc2007(tmp_path / "to")
    assert not (tmp_path / "to" / "VOCdevkit").exists()
    server.cut = False
    assert VOCDataset(fetch_voc2007(tmp_path / "to"), "test").ids == ("test",)


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_run_leaves_nothing_that_looks_whole_and_the_next_goes_on(server, tmp_path, monkeypatch, at):
    unpack, calls = utils.extract_archive, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == at:
            broken = tmp_path / "to" / ".VOCdevkit-unfinished" / "VOCdevkit" / "VOC2007" / "Annotations" / "half.xml"
            broken.parent.mkdir(parents=True, exist_ok=True)
            broken.write_text("<anno")
            raise KeyboardInterrupt
        return unpack(*arguments)

    monkeypatch.setattr(utils, "extract_archive", interrupted)
    stopped = CliRunner().invoke(app, ["data", "voc2007", "--to", str(tmp_path / "to")])
    assert (stopped.exit_code, "run the command again" in stopped.output) == (130, True)
    assert not (tmp_path / "to" / "VOCdevkit").exists()
    asked = len(server.asked)
    folder = fetch_voc2007(tmp_path / "to")
    assert not (folder / "Annotations" / "half.xml").exists()
    assert set(server.asked[asked:]) == ({"/test.tar"} if at == 1 else set())  # what was whole is not fetched again
    assert VOCDataset(folder, None).ids == ("test", "trainval")


def test_the_archives_are_those_that_voc_published():
    entries = [voc.DATASET_YEAR_DICT[key] for key in ARCHIVES.values()]
    assert {entry["filename"]: entry["md5"] for entry in entries} == {
        "VOCtrainval_06-Nov-2007.tar": "c52e279531787c972589f7e41ab4ae64",
        "VOCtest_06-Nov-2007.tar": "b6e924de25625d8de591ea690078ad9f",
    }
    # What is fetched by hand has the name that torchvision looks for, and both unpack into one folder.
    assert [entry["url"].rpartition("/")[2] for entry in entries] == [entry["filename"] for entry in entries]
    assert {entry["base_dir"] for entry in entries} == {"VOCdevkit/VOC2007"}


def test_without_a_network_the_steps_by_hand_are_said_and_work(server, tmp_path, monkeypatch):
    for key in ("2007", "2007-test"):
        entry = voc.DATASET_YEAR_DICT[key]
        monkeypatch.setitem(voc.DATASET_YEAR_DICT, key, entry | {"url": f"http://127.0.0.1:1/{entry['filename']}"})
    failed = CliRunner().invoke(app, ["data", "voc2007", "--to", str(tmp_path / "to")])
    work = tmp_path / "to" / ".VOCdevkit-unfinished"
    assert failed.exit_code == 1
    for words in ("cannot be fetched", str(work), "http://127.0.0.1:1/test.tar", "http://127.0.0.1:1/trainval.tar"):
        assert words in failed.output
    for path in server.folder.iterdir():
        shutil.copy(path, work)
    done = CliRunner().invoke(app, ["data", "voc2007", "--to", str(tmp_path / "to")])
    assert (done.exit_code, server.asked) == (0, [])


def test_a_folder_in_the_way_stays(server, tmp_path):
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="in the way"):
        fetch_voc2007(tmp_path)
    assert (tmp_path / "VOCdevkit" / "mine.txt").read_text() == "mine"
    assert server.asked == []


def test_a_place_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    failed = CliRunner().invoke(app, ["data", "voc2007", "--to", str(tmp_path / "file")])
    assert failed.exit_code == 1
    assert "name another folder with --to" in failed.output
