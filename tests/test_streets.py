"""What the built-in street scenes promise: the same for all, true to the pixel, no gift to a lazy detector."""

import collections
import csv
import hashlib
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from frcnn_lessons import boxes, metrics, selective_search
from frcnn_lessons.datasets import streets
from frcnn_lessons.datasets.sample import DataError
from frcnn_lessons.datasets.streets import CLASSES, SAMPLE, SPLITS, Scene, render, scenery
from frcnn_lessons.datasets.streets import scenes as drawing
from frcnn_lessons.datasets.streets.pen import Canvas, Pen

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_FOLDER = ROOT / "data" / "streets-sample"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """A hundred scenes for training and the hundred test scenes."""
    return [render("train", index) for index in range(100)] + [render("test", index) for index in range(SPLITS["test"])]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few scenes of each split."""
    folder = tmp_path_factory.mktemp("streets")
    streets.write(folder, {"train": range(5), "val": range(3), "test": range(8)})
    return folder


def iou(one, other) -> float:
    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


# --- the same for everybody ------------------------------------------------------------------------------------


def digest(split: str, index: int) -> str:
    scene = render(split, index)
    boxes = repr([(v.label, v.box, v.visible) for v in scene.vehicles])
    return hashlib.sha256(streets.jpeg(scene) + boxes.encode()).hexdigest()


@pytest.mark.slow
def test_another_process_draws_the_same_bytes_in_whatever_order():
    # Two students compare figures, and CI compares outputs: both need the very same pictures.
    wanted = [("train", 3), ("train", 299), ("val", 0), ("test", 42)]
    code = (
        "import sys, hashlib; from frcnn_lessons.datasets import streets\n"
        "for arg in sys.argv[1:]:\n"
        "    split, index = arg.split(':'); scene = streets.render(split, int(index))\n"
        "    boxes = repr([(v.label, v.box, v.visible) for v in scene.vehicles])\n"
        "    print(hashlib.sha256(streets.jpeg(scene) + boxes.encode()).hexdigest())\n"
    )
    arguments = [f"{split}:{index}" for split, index in reversed(wanted)]
    there = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert there.stdout.split() == [digest(split, index) for split, index in reversed(wanted)]


def test_no_two_scenes_are_the_same(scenes):
    # A test image that is also a training image would make every score of the course a lie.
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


@pytest.mark.parametrize(("split", "index"), [("train", 300), ("train", -1), ("training", 0)])
def test_a_scene_that_does_not_exist_is_refused(split, index):
    with pytest.raises(DataError, match=r"train 0\.\.299, val 0\.\.59, test 0\.\.99"):
        render(split, index)


# --- what is in them -------------------------------------------------------------------------------------------


def test_sizes_differ_and_stay_quick_to_train_on(scenes):
    shapes = [scene.image.shape for scene in scenes]
    assert all(128 <= min(h, w) <= 192 and max(h, w) <= 256 for h, w, _ in shapes)
    upright = np.mean([h > w for h, w, _ in shapes])
    assert 0.1 < upright < 0.45
    assert len(set(shapes)) > 100


def test_classes_are_balanced_and_some_images_are_empty(scenes):
    labels = collections.Counter(v.label for scene in scenes for v in scene.vehicles)
    assert set(labels) == {1, 2, 3}
    assert min(labels.values()) > 0.6 * max(labels.values())
    counts = [len(scene.vehicles) for scene in scenes]
    assert max(counts) <= 4
    assert 1.5 < np.mean(counts) < 2.1
    assert 0.03 < np.mean([count == 0 for count in counts]) < 0.15
    assert {v.facing for scene in scenes for v in scene.vehicles} == {"Left", "Right"}


def test_heights_go_from_an_eighth_to_seven_tenths_of_the_image(scenes):
    # One scale would let a single anchor do; the course needs several.
    vehicles = [(v, scene.image.shape[0]) for scene in scenes for v in scene.vehicles]
    whole = [v.silhouette.any(axis=1).sum() / height for v, height in vehicles if not v.truncated]
    assert min(whole) >= 0.12
    shares = [(v.box[3] - v.box[1]) / height for v, height in vehicles]
    assert max(shares) <= 0.8, "a little more than 0.69 where the camera is tilted"
    assert np.quantile(shares, 0.1) < 0.18
    assert np.quantile(shares, 0.95) > 0.45


def test_some_are_cut_some_are_hidden_and_a_few_are_difficult(scenes):
    vehicles = [v for scene in scenes for v in scene.vehicles]
    assert 0.3 < np.mean([v.truncated for v in vehicles]) < 0.55
    assert 0.2 < np.mean([v.occluded for v in vehicles]) < 0.6
    assert 0.01 < np.mean([v.difficult for v in vehicles]) < 0.12
    assert all(v.visible >= 0.1 for v in vehicles), "what nobody can see must not be asked for"
    assert not [scene.image_id for scene in scenes if scene.vehicles and all(v.difficult for v in scene.vehicles)]


def test_lesson_00_shows_what_it_tells_to_look_for(monkeypatch):
    # A bus behind a lamp post, a truck that leaves the picture, two vehicles one behind the other, a dotted box.
    nine = [render("val", index) for index in streets.FIRST_LOOK]
    vehicles = [v for scene in nine for v in scene.vehicles]
    assert any(v.difficult for v in vehicles)
    assert any(v.truncated and CLASSES[v.label - 1] == "truck" for v in vehicles)
    assert any((far.silhouette & near.seen).any() for scene in nine for far in scene.vehicles for near in scene.vehicles
               if far is not near)  # fmt: skip
    post = scenery.lamp_post

    def elsewhere(_, rng):
        post(Pen(Canvas(np.zeros((4, 4, 3), np.uint8), (1, 1, 1), (0, 0, 0)), 0, 0, 1), rng)  # same random numbers

    monkeypatch.setattr(scenery, "lamp_post", elsewhere)
    pairs = zip(vehicles, [v for index in streets.FIRST_LOOK for v in render("val", index).vehicles], strict=True)
    gained = [now.visible - v.visible for v, now in pairs if CLASSES[v.label - 1] == "bus"]
    assert 0.02 < max(gained) < 0.3, "without lamp posts more of a bus is seen"


# --- the truth, to the pixel -----------------------------------------------------------------------------------


def test_a_box_is_as_tight_as_a_search_of_every_visible_pixel_says(scenes):
    for vehicle in [v for scene in scenes[:12] for v in scene.vehicles]:
        height, width = vehicle.silhouette.shape
        inside = [(x, y) for y in range(height) for x in range(width) if vehicle.silhouette[y, x]]
        seen = [(x, y) for x, y in inside if vehicle.seen[y, x]]
        xs, ys = zip(*seen, strict=True)
        assert vehicle.box == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        assert vehicle.visible == pytest.approx(len(seen) / len(inside))


def test_no_corner_stays_empty_when_the_camera_is_tilted(monkeypatch):
    blank, canvases = (255, 0, 255), []

    def blank_canvas(picture, *rest):
        picture[:] = blank
        canvases.append(Canvas(picture, *rest))
        return canvases[-1]

    monkeypatch.setattr(drawing, "Canvas", blank_canvas)
    for index in range(40):
        render("val", index)
        assert not (canvases[-1].picture == blank).all(axis=2).any()
    tilts = np.rad2deg([canvas.tilt for canvas in canvases])
    assert tilts.min() < -3
    assert tilts.max() > 3


def test_the_silhouette_is_where_the_vehicle_was_painted(monkeypatch):
    # Draw the scene twice, the second time with invisible ink for the vehicles: the pictures differ exactly where a
    # vehicle is seen (and in its shadow). Sensor noise and foreground are the same in both.
    for index in range(6):
        scene = render("test", index)
        if not scene.vehicles:
            continue
        with monkeypatch.context() as patch:
            drawn = drawing._draw_vehicle

            def unseen(rng, canvas, *rest, drawn=drawn):
                before = canvas.picture.copy()
                vehicles = drawn(rng, canvas, *rest)
                canvas.picture[:] = before
                return vehicles

            patch.setattr(drawing, "_draw_vehicle", unseen)
            bare = render("test", index)
        changed = np.abs(scene.image.astype(int) - bare.image.astype(int)).max(axis=2) > 0
        seen = np.any([v.seen for v in scene.vehicles], axis=0)
        assert changed[seen].mean() > 0.97
        for vehicle in scene.vehicles:  # the shadow reaches a little beyond the vehicle
            x1, y1, x2, y2 = replace(vehicle, seen=vehicle.silhouette).box
            reach = (y2 - y1) // 3
            changed[max(0, y1 - reach) : y2 + reach, max(0, x1 - reach) : x2 + reach] = False
        assert not changed.any()


def test_flags_agree_with_the_pixels(scenes):
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for vehicle in scene.vehicles:
            x1, y1, x2, y2 = vehicle.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            assert not (vehicle.seen & ~vehicle.silhouette).any()
            if vehicle.truncated:
                edge = vehicle.silhouette.copy()
                edge[1:-1, 1:-1] = False
                assert edge.any(), "cut by the border means that it touches the border"
            assert vehicle.difficult == (vehicle.visible < 0.35 or min(x2 - x1, y2 - y1) < 14)


def test_extreme_points_lie_on_what_is_seen_and_span_the_box(scenes):
    # Open Images makes its boxes from these four clicks.
    for vehicle in [v for scene in scenes for v in scene.vehicles]:
        top, left, bottom, right = vehicle.extreme_points
        xs, ys = zip(top, left, bottom, right, strict=True)
        assert (min(xs), min(ys), max(xs), max(ys)) == vehicle.box
        for x, y, dx, dy in ((*top, 0, 0), (*left, 0, 0), (*bottom, 0, -1), (*right, -1, 0)):
            assert vehicle.seen[int(y) + dy, int(x) + dx]


# --- no gift to a lazy detector --------------------------------------------------------------------------------


def test_no_single_colour_threshold_finds_the_vehicles(scenes):
    # 12 hues x 3 saturations x 3 brightnesses, and 8 bands of grey: even the best rule must miss most vehicles.
    rules = [((15 * h, s, v), (15 * h + 15, 255, 255)) for h in range(12) for s in (50, 90, 130) for v in (30, 90, 150)]
    rules += [((0, 0, 32 * v), (180, 60, 32 * v + 32)) for v in range(8)]
    found = np.zeros(len(rules))
    total = 0
    for scene in scenes[::2]:
        hsv = cv2.cvtColor(cv2.GaussianBlur(scene.image, (3, 3), 0), cv2.COLOR_RGB2HSV)
        truth = [v.box for v in scene.vehicles if not v.difficult]
        total += len(truth)
        for k, (low, high) in enumerate(rules):
            _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.inRange(hsv, low, high))
            blobs = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:].tolist() if area >= 60]
            found[k] += sum(any(iou(blob, box) >= 0.5 for blob in blobs) for box in truth)
    assert found.max() / total < 0.2


def test_no_single_box_finds_the_vehicles(scenes):
    # The best of 1,500 boxes, the same in every image (relative to its size): vehicles must not always stand there.
    truth = [
        np.array(v.box) / np.tile(scene.image.shape[1::-1], 2)
        for scene in scenes
        for v in scene.vehicles
        if not v.difficult
    ]
    best = 0.0
    for w in (0.25, 0.4, 0.55, 0.7, 0.85, 1.0):
        for h in (0.15, 0.25, 0.35, 0.5, 0.65):
            for cx in np.linspace(0.2, 0.8, 7):
                for cy in np.linspace(0.45, 0.85, 7):
                    box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
                    best = max(best, float(np.mean([iou(box, other) >= 0.5 for other in truth])))
    assert best < 0.25


@pytest.fixture(scope="module")
def targets(scenes: list[Scene]) -> list[dict[str, torch.Tensor]]:
    """Of the hundred test scenes."""
    return [
        {
            "boxes": torch.tensor([v.box for v in scene.vehicles], dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([v.label for v in scene.vehicles], dtype=torch.long),
            "difficult": torch.tensor([v.difficult for v in scene.vehicles], dtype=torch.bool),
        }
        for scene in scenes[100:]
    ]


@pytest.fixture(scope="module")
def look_up(scenes: list[Scene]) -> dict[str, list[torch.Tensor]]:
    """300 boxes for each test scene, taken from the training scenes (relative to their size) without a look at it."""
    train = [render("train", index) for index in range(SPLITS["train"])]
    scale = [torch.tensor(scene.image.shape[1::-1]).repeat(2) for scene in (*train, *scenes[100:])]
    places = torch.cat(
        [torch.tensor([v.box]) / s for scene, s in zip(train, scale, strict=False) for v in scene.vehicles]
    )
    rng = np.random.default_rng(0)
    covers = boxes.iou(places, places) >= 0.5
    chosen: list[int] = []
    missing = torch.ones(len(places), dtype=torch.bool)
    while missing.any():  # the box that covers most of what none has covered yet
        chosen.append(int((covers & missing).sum(dim=1).argmax()))
        missing &= ~covers[chosen[-1]]
    chosen += [k for k in rng.permutation(len(places)).tolist() if k not in chosen]
    return {
        "greedy": [places[chosen[:300]] * s for s in scale[300:]],
        "random": [places[rng.permutation(len(places))[:300]] * s for s in scale[300:]],
    }


def searched(scenes: list[Scene], settings: selective_search.SearchSettings) -> list[torch.Tensor]:
    """What selective search proposes for the test scenes as they are stored."""
    stored = [
        cv2.imdecode(np.frombuffer(streets.jpeg(scene), np.uint8), cv2.IMREAD_COLOR_RGB) for scene in scenes[100:]
    ]
    images = [torch.from_numpy(pixels).permute(2, 0, 1) / 255 for pixels in stored]
    return [selective_search.proposals(image, settings) for image in images]


@pytest.mark.slow
def test_usual_places_find_less_than_one_run_of_selective_search(scenes, targets, look_up):
    # Were it otherwise, nobody would need proposals: it would do to look where vehicles used to be.
    single = searched(scenes, selective_search.SINGLE)
    for way, usual in look_up.items():
        for threshold in (0.5, 0.7):
            looked_up, found = (metrics.proposal_recall(p, targets, (50, 100), threshold) for p in (usual, single))
            assert (looked_up < found).all(), f"{way}, IoU {threshold}: {looked_up} against {found}"


@pytest.mark.slow
def test_usual_places_fit_worse_than_many_runs_of_selective_search(scenes, targets, look_up):
    fast = searched(scenes, selective_search.FAST)
    for way, usual in look_up.items():
        assert metrics.proposal_recall(usual, targets, (300,), 0.7) < metrics.proposal_recall(
            fast, targets, (300,), 0.7
        )
        assert metrics.average_recall(usual, targets, (300,)) < metrics.average_recall(fast, targets, (300,)), way


# --- on disk ---------------------------------------------------------------------------------------------------


def test_the_voc_folder_holds_what_voc_readers_expect(written):
    listed = {p.stem: p.read_text().split() for p in (written / "ImageSets" / "Main").iterdir()}
    assert {split: len(names) for split, names in listed.items()} == {"train": 5, "val": 3, "test": 8, "trainval": 8}
    assert listed["trainval"] == listed["train"] + listed["val"]
    for split in SPLITS:
        for name in listed[split]:
            scene = render(split, int(name.split("_")[1]))
            root = ElementTree.parse(written / "Annotations" / f"{name}.xml").getroot()
            assert root.findtext("filename") == f"{name}.jpg"
            image = cv2.imread(str(written / "JPEGImages" / f"{name}.jpg"))
            assert image.shape == tuple(int(root.findtext(f"size/{tag}")) for tag in ("height", "width", "depth"))
            assert np.abs(image[..., ::-1].astype(int) - scene.image).mean() < 8
            objects = root.findall("object")
            assert len(objects) == len(scene.vehicles)
            for entry, vehicle in zip(objects, scene.vehicles, strict=True):
                assert entry.findtext("name") == CLASSES[vehicle.label - 1]
                xmin, ymin, xmax, ymax = (int(entry.findtext(f"bndbox/{t}")) for t in ("xmin", "ymin", "xmax", "ymax"))
                assert (xmin - 1, ymin - 1, xmax, ymax) == vehicle.box  # 1-based and inclusive on disk
                flags = [entry.findtext(tag) == "1" for tag in ("truncated", "occluded", "difficult")]
                assert flags == [vehicle.truncated, vehicle.occluded, vehicle.difficult]
                assert entry.findtext("pose") == vehicle.facing


def test_the_open_images_table_says_the_same_as_the_voc_folder(written):
    with (written / "df.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    # fmt: off
    assert header == [  # Open Images' order, written out once more
        "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax",
        "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside",
        "XClick1X", "XClick2X", "XClick3X", "XClick4X", "XClick1Y", "XClick2Y", "XClick3Y", "XClick4Y",
    ]
    # fmt: on
    by_image = collections.defaultdict(list)
    for row in rows:
        by_image[row[0]].append(dict(zip(header, row, strict=True)))
    for path in (written / "Annotations").iterdir():
        split, index = path.stem.split("_")
        scene = render(split, int(index))
        height, width = scene.image.shape[:2]
        assert len(by_image[path.stem]) == len(scene.vehicles)
        for row, vehicle in zip(by_image[path.stem], scene.vehicles, strict=True):
            assert row["LabelName"].lower() == CLASSES[vehicle.label - 1]
            box = [
                float(row["XMin"]) * width,
                float(row["YMin"]) * height,
                float(row["XMax"]) * width,
                float(row["YMax"]) * height,
            ]
            np.testing.assert_allclose(box, vehicle.box, atol=1e-4)
            clicks = [(float(row[f"XClick{k}X"]) * width, float(row[f"XClick{k}Y"]) * height) for k in (1, 2, 3, 4)]
            np.testing.assert_allclose(clicks, vehicle.extreme_points, atol=1e-4)
            assert (row["IsOccluded"], row["IsTruncated"]) == (str(int(vehicle.occluded)), str(int(vehicle.truncated)))
            if vehicle.visible < 0.35:  # the column nearest to `difficult`
                assert row["IsOccluded"] == "1"


def test_the_committed_sample_is_what_the_generator_draws_today(tmp_path):
    streets.write(tmp_path, SAMPLE)
    fresh = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    stored = sorted(p.relative_to(SAMPLE_FOLDER) for p in SAMPLE_FOLDER.rglob("*") if p.is_file())
    assert stored == fresh
    assert sum(map(len, SAMPLE.values())) == 24
    assert sum((SAMPLE_FOLDER / name).stat().st_size for name in stored) < 1_000_000
    for name in stored:
        if name.suffix == ".jpg":  # another CPU may round differently
            one, other = (cv2.imread(str(folder / name)).astype(int) for folder in (SAMPLE_FOLDER, tmp_path))
            assert np.abs(one - other).mean() < 1.0, name
        else:
            assert (SAMPLE_FOLDER / name).read_text() == (tmp_path / name).read_text(), name


def test_the_sample_has_an_example_of_everything():
    drawn = [render(split, index) for split, indices in SAMPLE.items() for index in indices]
    vehicles = [v for scene in drawn for v in scene.vehicles]
    assert {v.label for v in vehicles} == {1, 2, 3}
    assert any(not scene.vehicles for scene in drawn)
    assert any(v.difficult for v in vehicles)
    assert any(v.truncated for v in vehicles)
    assert any(scene.image.shape[0] > scene.image.shape[1] for scene in drawn)


# --- made once, whole ------------------------------------------------------------------------------------------

FEWER = (
    "import sys, time; from frcnn_lessons.datasets import streets\n"
    "streets.SPLITS.update(train=6, val=2, test=2)\n"  # ten images instead of 460: the same path, sooner
)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        monkeypatch.setitem(SPLITS, split, count)


def is_whole(folder: Path) -> bool:
    return len(list((folder / "JPEGImages").iterdir())) == 10 and (folder / "df.csv").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("few")
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill -9")
def test_a_kill_in_the_middle_leaves_no_half_folder_and_the_next_call_succeeds(tmp_path):
    code = FEWER + (
        "from frcnn_lessons.datasets.streets import dataset\n"
        "draw = dataset.render\n"
        "def slowly(split, index):\n"
        "    if (split, index) == ('train', 4):\n"
        "        print('half-way', flush=True); time.sleep(600)\n"
        "    return draw(split, index)\n"
        "dataset.render = slowly\n"
        "streets.prepare(sys.argv[1])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout.readline() == "half-way\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "streets").exists()
    assert is_whole(streets.prepare(tmp_path))


@pytest.mark.slow
def test_two_kernels_that_start_at_once_both_succeed(tmp_path):
    code = FEWER + "print(streets.prepare(sys.argv[1]))\n"
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    answers = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers == [f"{tmp_path / 'streets'}\n"] * 2
    assert is_whole(tmp_path / "streets")
    assert [p.name for p in tmp_path.iterdir()] == ["streets"], "the slower one tidies up"


@pytest.mark.usefixtures("few")
def test_a_set_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    folder = streets.prepare(tmp_path)
    monkeypatch.setattr(streets, "render", None)  # would fail if it were called
    assert streets.prepare(tmp_path) == folder


@pytest.mark.usefixtures("few")
def test_a_set_made_by_an_older_generator_is_replaced(tmp_path):
    folder = streets.prepare(tmp_path)
    (folder / "fingerprint.txt").write_text("of another version")
    (folder / "left over.txt").touch()
    assert is_whole(streets.prepare(tmp_path))
    assert not (folder / "left over.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["streets"]


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path, monkeypatch):
    # Somebody's own photographs may lie there: never delete them.
    (tmp_path / "streets").mkdir()
    (tmp_path / "streets" / "mine.jpg").touch()
    monkeypatch.setenv("FRCNN_LESSONS_DATA", str(tmp_path))
    for root in (tmp_path, None):  # None: the data folder of the course
        with pytest.raises(DataError, match="was not made by the course"):
            streets.prepare(root)
    assert (tmp_path / "streets" / "mine.jpg").exists()
