"""`frcnn-lessons train` as a stranger calls it, on photographs of their own. Lesson 12."""

import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from frcnn_lessons import recipes
from frcnn_lessons.checkpoints import read_checkpoint
from frcnn_lessons.course import cli, runs, train_command
from frcnn_lessons.course.train_command import complete, describe_detector, resized_boxes, scaled_rate
from frcnn_lessons.datasets import ResizeShortSide, VOCDataset
from frcnn_lessons.datasets.own_data import open_data
from frcnn_lessons.detectors import load_detector
from helpers.tiny_photographs import write_voc

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = ("--backbone", "mini", "--short-side", "64", "--epochs", "2")
PARTS = {"Epoch.1.pth", "Epoch.2.pth", "best.pth", "history.json", "losses.png", "run.json", "training.0-2.pth"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("own") / "photographs")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path / "data"))


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def train(data, out, *more):
    return call("train", data, "--out", out, *TINY, *more)


def same_weights(a: Path, b: Path) -> bool:
    one, other = (read_checkpoint(path, {"model"})["model"] for path in (a, b))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def trained(photographs, tmp_path_factory):
    """A whole run of two epochs."""
    out = tmp_path_factory.mktemp("run") / "out"
    result = train(photographs, out)
    assert result.exit_code == 0, result.output
    return out


# --- train --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_leaves_a_detector_and_all_that_belongs_to_it(trained):
    assert {path.name for path in trained.iterdir()} == PARTS
    detector = load_detector(trained / "best.pth")
    assert detector.classes == ("blue", "red")
    assert detector.short_side == 64
    assert detector.about["detector"] == "faster"
    assert detector.about["training_images"] == 6
    history = json.loads((trained / "history.json").read_text())
    assert len(history["steps"]["total"]) == 6  # twice two batches of wide photographs and one of upright ones
    scores = history["validation"]["AP50"]
    assert len(scores) == len(history["train"]["total"]) == 2
    best = 1 + int(np.argmax(scores))
    assert detector.about["ap50"] == scores[best - 1]
    assert same_weights(trained / "best.pth", trained / f"Epoch.{best}.pth")
    assert Image.open(trained / "losses.png").size > (300, 200)
    assert load_detector(trained / "training.0-2.pth").classes == detector.classes, "a checkpoint describes itself, too"


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["fast", "rcnn", "sppnet", "faster-four-step", "torchvision"])
def test_each_detector_is_trained_and_loaded(photographs, tmp_path, detector):
    result = train(photographs, tmp_path / "out", "--detector", detector, "--epochs", 1)
    assert result.exit_code == 0, result.output
    loaded = load_detector(tmp_path / "out" / "best.pth")
    assert loaded.about["detector"] == detector
    assert 0 <= loaded.about["ap50"] <= 1
    assert json.loads((tmp_path / "out" / "run.json").read_text())["options"]["detector"] == detector
    result = train(photographs, tmp_path / "out", "--detector", detector, "--epochs", 1, "--resume")
    assert "is finished" in result.output


# A hidden layer of 4,096 would make files of 300 MB.
SMALL_HEAD = """
from dataclasses import replace
from frcnn_lessons.course import cli, train_command
recipe = train_command.RECIPES["tagging"]
train_command.RECIPES["tagging"] = replace(recipe, head=replace(recipe.head, hidden=32))
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--recipe", "tagging"), ("--augment",)])
def test_a_killed_training_ends_with_the_same_weights(photographs, tmp_path, monkeypatch, more):
    tagging = recipes.TAGGING
    monkeypatch.setitem(train_command.RECIPES, "tagging", replace(tagging, head=replace(tagging.head, hidden=32)))
    assert train(photographs, tmp_path / "whole", *more).exit_code == 0
    program = SMALL_HEAD + "cli.main()"
    command = [sys.executable, "-c", program, "train", photographs, "--out", tmp_path / "killed"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*map(str, command), *TINY, *more], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        state = tmp_path / "killed" / "Epoch.1.pth"
        while not state.exists():
            assert process.poll() is None, "it ended before the kill"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "Epoch.2.pth").exists(), "it was killed too late"
    result = train(photographs, tmp_path / "killed", *more, "--resume")
    assert result.exit_code == 0, result.output
    for name in ("Epoch.1.pth", "Epoch.2.pth", "best.pth", "training.0-2.pth"):
        assert same_weights(tmp_path / "killed" / name, tmp_path / "whole" / name)
    histories = [json.loads((tmp_path / run / "history.json").read_text()) for run in ("killed", "whole")]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_a_finished_training_can_be_made_longer(photographs, trained, tmp_path):
    out = tmp_path / "out"
    for path in trained.iterdir():
        out.mkdir(exist_ok=True)
        (out / path.name).write_bytes(path.read_bytes())
    finished = call("train", photographs, "--out", out, "--resume")
    assert finished.exit_code == 0
    assert "is finished; more epochs: --epochs" in finished.output
    fewer = call("train", photographs, "--out", out, "--resume", "--epochs", 1)
    assert fewer.exit_code == 1
    assert "has done 2 epochs already" in fewer.output

    longer = call("train", photographs, "--out", out, "--resume", "--epochs", 3)
    assert longer.exit_code == 0, longer.output
    assert (out / "training.2-3.pth").exists()
    assert not (out / "training.0-2.pth").exists()
    before, after = (json.loads((folder / "history.json").read_text()) for folder in (trained, out))
    assert after["train"]["total"][:2] == before["train"]["total"]
    assert after["steps"]["total"][:6] == before["steps"]["total"]
    assert len(after["validation"]["AP50"]) == 3
    assert len(after["steps"]["total"]) == 9
    assert "is finished" in call("train", photographs, "--out", out, "--resume").output, "it remembers the three"


@pytest.mark.slow
def test_ctrl_c_leaves_a_whole_checkpoint_and_says_how_to_go_on(photographs, tmp_path, monkeypatch):
    predict, calls = train_command.predict, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(train_command, "predict", interrupted)
    result = train(photographs, tmp_path / "out")
    assert result.exit_code == 130
    assert "is whole, and --resume goes on after its last epoch" in result.output
    content = read_checkpoint(tmp_path / "out" / "training.0-2.pth")
    assert (content["epoch"], content["measured"]) == (2, False)
    assert train(photographs, tmp_path / "out", "--resume").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == PARTS


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_stays_whole(photographs, tmp_path):
    command = [sys.executable, "-m", "frcnn_lessons.course.cli", "train", photographs, "--out", tmp_path / "out", *TINY]

    def little_room():  # no file may grow beyond 100 kB, whichever disk it is on
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [str(one) for one in command], preexec_fn=little_room, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "training.0-2" in last
    assert last.endswith("; make room, then go on with --resume")
    assert "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run.json"]


def test_weights_that_cannot_be_fetched_are_a_sentence_and_leave_the_folder_free(photographs, tmp_path, monkeypatch):
    def offline(_):
        raise ConnectionError("could not download vgg16.pth; use efficientnet_lite0()")

    monkeypatch.setattr("frcnn_lessons.backbones.vgg16", offline)
    for _ in range(2):
        result = call("train", photographs, "--out", tmp_path / "out", "--backbone", "vgg16", "--short-side", 64)
        assert result.exit_code == 1
        assert result.stderr == "could not download vgg16.pth; use efficientnet_lite0()\n"


def test_a_folder_in_use_is_left_alone(photographs, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").write_text("Dear")
    for more in ((), ("--resume",)):
        result = train(photographs, tmp_path / "letters", *more)
        assert result.exit_code == 1
        assert "holds something else (mother.txt); name another folder" in result.output
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mother.txt"]
    result = train(photographs, tmp_path / "letters" / "mother.txt")
    assert "is a file" in result.output


@pytest.mark.parametrize("text", ["", "3", "[]", '{"options": 3, "data": {}}', '{"options": {"a": 1}, "data": {}}'])
def test_what_a_run_remembers_may_be_damaged(photographs, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(text)
    result = train(photographs, tmp_path / "out", "--resume")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "run.json" in result.stderr
    assert "name another --out" in result.stderr


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"steps": [], "train": {}, "validation": {}}'])
def test_a_history_may_be_damaged(tmp_path, text):
    (tmp_path / "history.json").write_text(text)
    with pytest.raises(runs.RunError, match=r"history\.json is damaged.*; name another --out"):
        runs.history_until(tmp_path, 1, 3)


@pytest.mark.slow
def test_a_finished_training_is_finished_without_its_best_detector_too(photographs, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "out")
    (tmp_path / "out" / "best.pth").unlink()  # put somewhere else, for instance
    result = train(photographs, tmp_path / "out", "--resume")
    assert "is finished" in result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == PARTS - {"best.pth"}


def test_losses_are_drawn_only_where_the_packages_of_the_lessons_are_installed(tmp_path, monkeypatch):
    said = []
    setting = train_command.Setting(tmp_path, torch.device("cpu"), 0, said.append)
    train_command._write_history(setting, {"steps": {"total": [2.0, 1.0]}})
    assert {path.name for path in tmp_path.iterdir()} == {"history.json", "losses.png"}
    assert said == []
    monkeypatch.delitem(sys.modules, "frcnn_lessons.plots")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    train_command._write_history(setting, {"steps": {"total": [2.0, 1.0]}}, ".more")
    assert {path.name for path in tmp_path.iterdir()} == {"history.json", "losses.png", "history.more.json"}
    assert said == ["losses.more.png is not drawn, as ipywidgets is not installed; history.more.json is written"]


@pytest.mark.slow
def test_other_options_and_other_data_are_refused(photographs, trained, tmp_path):
    assert "holds a training already; go on with --resume" in train(photographs, trained).output
    result = call("train", photographs, "--out", trained, "--resume", "--batch-size", 4)
    assert result.exit_code == 1
    assert "--batch-size was 2 and is 4" in result.output

    other = write_voc(tmp_path / "other", train=5)
    result = call("train", other, "--out", trained, "--resume")
    assert result.exit_code == 1
    assert "the data changed since the training" in result.output
    assert "train was 6 images with 12 objects" in result.output

    moved = write_voc(tmp_path / "moved")
    path = moved / "Annotations" / "001.xml"
    text = path.read_text()
    x1 = text.split("<xmin>")[1].split("<")[0]
    path.write_text(text.replace(f"<xmin>{x1}<", f"<xmin>{int(x1) + 1}<", 1))
    assert "the data changed since the training" in call("train", moved, "--out", trained, "--resume").output
    result = call("train", photographs, "--out", trained, "--resume", "--exif", "ignore")
    assert "exif was refuse and is ignore" in result.output


def test_how_data_are_read_is_an_option(tmp_path, monkeypatch):
    data = write_voc(tmp_path / "photographs", train=4, val=0)
    shutil.rmtree(data / "ImageSets")
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    path = data / "JPEGImages" / "001.jpg"
    Image.open(path).save(path, exif=turned)
    Image.new("RGB", (64, 64)).save(data / "JPEGImages" / "empty.jpg")
    box = re.compile(r"<xmin>.*?</ymax>", re.DOTALL)
    for name, corners in (("000", (0, 0, 9, 9)), ("002", (4, 5, 300, 9))):
        path = data / "Annotations" / f"{name}.xml"
        tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
        path.write_text(box.sub("".join(f"<{tag}>{side}</{tag}>" for tag, side in tags), path.read_text(), count=1))
    seen = {}
    monkeypatch.setattr(train_command, "run", lambda data, *_: seen.update(data=data))
    refused = train(data, tmp_path / "out")
    assert refused.exit_code == 1
    assert "3 defects" in refused.output
    options = ("--bad-boxes", "clip", "--exif", "apply", "--zero-based", "--background")
    done = train(data, tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert "cut at the border of their image: 1, left out: 0" in done.output
    found = {s.image_id: s.boxes.tolist() for part in seen["data"].splits.values() for s in part}
    assert sorted(found) == ["000", "001", "002", "003", "empty"]
    assert (found["000"][0], found["empty"]) == ([0, 0, 9, 9], [])
    assert found["002"][0] == [4, 5, 80, 9]


@pytest.mark.slow
def test_bad_data_stop_the_run_before_it_begins_or_are_left_out(tmp_path):
    data = write_voc(tmp_path / "photographs")
    images, annotations = data / "JPEGImages", data / "Annotations"
    whole = (images / "001.jpg").read_bytes()
    (images / "001.jpg").write_bytes(whole[: len(whole) // 2])
    text = (annotations / "002.xml").read_text()
    x1, x2 = (text.split(f"<{tag}>")[1].split("<")[0] for tag in ("xmin", "xmax"))
    (annotations / "002.xml").write_text(text.replace(f"<xmax>{x2}<", f"<xmax>{x1}<", 1))
    Image.open(images / "003.jpg").convert("L").save(images / "003.jpg")  # grey, which is no defect
    (annotations / "007.xml").write_text("<annotation>")

    refused = train(data, tmp_path / "out")
    assert refused.exit_code == 1
    for name in ("001.jpg", "002.xml", "007.xml"):
        assert name in refused.output
    assert "003" not in refused.output
    assert "3 defects; mend them, or leave out the images that have them (--skip-bad" in refused.output
    assert not (tmp_path / "out").exists()

    left_out = train(data, tmp_path / "out", "--skip-bad", "--epochs", 1, "--workers", 1)
    assert left_out.exit_code == 0, left_out.output
    assert "4 train, 1 val images; left out: 3, see above" in left_out.output
    assert "4 images with 8 objects" in (tmp_path / "out" / "run.json").read_text()
    assert call("evaluate", tmp_path / "out" / "best.pth", data).exit_code == 1
    assert call("evaluate", tmp_path / "out" / "best.pth", data, "--skip-bad").exit_code == 0


def test_data_of_no_known_kind_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none"):
        result = train(path, tmp_path / "out")
        assert result.exit_code == 1
        assert str(path) in result.output


def test_a_class_without_objects_is_said_or_refused(photographs):
    data = replace(open_data(photographs), classes=("blue", "red", "green"))
    assert train_command.check_classes(data, "faster") == ["green"]
    with pytest.raises(runs.RunError, match="no training image holds an object of the class green"):
        train_command.check_classes(data, "rcnn")


@pytest.mark.slow
def test_varied_images_are_learned_otherwise(photographs, trained, tmp_path):
    assert train(photographs, tmp_path / "out", "--augment").exit_code == 0
    assert not same_weights(tmp_path / "out" / "Epoch.2.pth", trained / "Epoch.2.pth")


def test_images_are_varied_only_where_proposals_are_made_of_the_varied_image(photographs, tmp_path):
    result = train(photographs, tmp_path / "out", "--detector", "fast", "--augment")
    assert result.exit_code == 1
    assert "--augment goes with --detector faster or torchvision: fast needs" in result.output


# --- what a recipe and the data say -------------------------------------------------------------------------------


def test_options_come_from_the_call_the_run_or_the_recipe():
    options = complete({"epochs": 3, "backbone": None}, None)
    assert options.detector == "faster"
    assert options.epochs == 3
    assert options.learning_rate == recipes.OWN_DATA.training.learning_rate
    assert not options.augment
    options = complete({"recipe": "voc", "epochs": None}, None)
    assert (options.augment, options.epochs) == (True, recipes.VOC.training.epochs)
    assert options.long_side == 667
    again = complete({"epochs": None, "seed": 5}, train_command.asdict(options))
    assert again == replace(options, seed=5)
    assert complete({"backbone": "mini"}, None).pretrained is False
    assert complete({"short_side": 600}, None).long_side == 1000
    tagging = complete({"recipe": "tagging"}, None)
    assert (tagging.detector, tagging.backbone, tagging.short_side, tagging.long_side) == (
        "torchvision",
        "resnet50",
        400,
        600,
    )


def test_the_learning_rate_grows_with_the_batch():
    assert scaled_rate(recipes.TAGGING, 2) == 0.001
    assert scaled_rate(recipes.TAGGING, 16) == pytest.approx(0.008)
    assert scaled_rate(recipes.OWN_DATA, 8) == pytest.approx(2 * recipes.OWN_DATA.training.learning_rate)


def test_anchors_are_chosen_for_the_images_as_the_detector_sees_them(photographs):
    images = VOCDataset(photographs, "train", ("blue", "red"))
    boxes = resized_boxes(images, 64, 107)
    images.transform = ResizeShortSide(64, 107)
    assert torch.allclose(boxes, torch.cat([sample.boxes.as_subclass(torch.Tensor) for sample in images]), atol=1e-3)


@pytest.mark.parametrize(("short", "largest"), [(None, 400), (600, 600), (200, 200)])
def test_anchors_of_a_recipe_grow_with_the_images(photographs, short, largest):
    data = open_data(photographs)
    description = describe_detector(complete({"recipe": "voc", "short_side": short}, None), data)
    assert (description.rpn.sizes[-1], description.rpn.ratios) == (largest, recipes.VOC.rpn.ratios)


@pytest.mark.slow
def test_what_was_trained_is_evaluated_and_detects(photographs, trained, tmp_path):
    result = call("evaluate", trained / "best.pth", photographs)
    assert result.exit_code == 0, result.output
    assert "COCO's twelve" in result.output
    result = call(
        "detect", trained / "best.pth", photographs / "JPEGImages", "--threshold", 0, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(found) == 8
    for one in found:
        for thing in one["objects"]:
            x1, y1, x2, y2 = thing["box"]
            assert 0 <= x1 < x2 <= one["width"]
            assert 0 <= y1 < y2 <= one["height"]
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes((trained / "best.pth").read_bytes()[:-1000])
    result = call("detect", damaged, photographs, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "damaged" in result.output


def test_what_is_no_number_is_null_in_json(tmp_path):
    runs.write_json(tmp_path / "a.json", {"ap": [math.nan, 0.5], "n": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"ap": [None, 0.5], "n": 1}
    (tmp_path / "a.json").write_text('{"ap"')
    with pytest.raises(runs.RunError, match=r"a\.json is damaged"):
        runs.read_json(tmp_path / "a.json")
