"""What the reader of Open Images tables promises: a `Sample` as from VOC, bad tables refused in one sentence."""

import csv
import gzip
import inspect
import pickle
import shutil
import tracemalloc
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image
from torch.utils.data import DataLoader, Subset

from frcnn_lessons.datasets import OPEN_IMAGES_COLUMNS, AnnotatedObject, DataError, OpenImagesDataset, collate
from frcnn_lessons.datasets.open_images import write_table
from frcnn_lessons.datasets.reading import AnnotatedImages

SIZE = (30, 40)  # high, wide
BUS = AnnotatedObject("Bus", (0.0, 3.0, 20.0, 15.0))
CROWD = AnnotatedObject("Truck", (10.0, 15.0, 40.0, 30.0), truncated=True, group=True)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def photograph(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """A table of three boxes: image `a` with a bus and a crowd of trucks (lines 2 and 3), `b` with a bus (line 4)."""
    for name in ("a", "b"):
        photograph(tmp_path / "images" / f"{name}.jpg")
    write_table(tmp_path / "df.csv", [("a", SIZE, [BUS, CROWD]), ("b", SIZE, [BUS])])
    return tmp_path


def read(root, **options):
    return OpenImagesDataset(root / "df.csv", root / "images", **options)


def test_relative_coordinates_become_pixels_of_the_real_image(root):
    # Written as literal text once, so that a mistake made alike in writer and reader shows: x of 40, y of 30 pixels.
    (root / "df.csv").write_text(
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
        "b,xclick,/m/01bjv,1,0.25,0.75,0.1,1,0\n"
        "a,xclick,/m/07r04,1,0,0.5,0.2,0.4,1\n"
        "b,xclick,/m/07r04,1,0,1.0,0,1.000000,-1\n"
    )
    dataset = read(root)
    assert dataset.ids == ("b", "a")
    assert dataset.classes == ("/m/01bjv", "/m/07r04")
    image, boxes, labels, difficult, image_id, size = dataset[0]
    assert boxes.tolist() == [[10, 3, 30, 30], [0, 0, 40, 30]]
    assert (boxes.dtype, boxes.canvas_size) == (torch.float32, SIZE)
    assert labels.tolist() == [1, 2]
    assert difficult.tolist() == [False, False]
    assert (image_id, size, tuple(image.shape)) == ("b", SIZE, (3, 30, 40))
    assert dataset[1].difficult.tolist() == [True]  # a group leaves the count


def test_the_writer_fills_all_21_columns(root):
    with (root / "df.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(OPEN_IMAGES_COLUMNS) == len(rows[0]) == 21
    assert tuple(rows[0]) == OPEN_IMAGES_COLUMNS
    flags = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
    assert [rows[1][flag] for flag in flags] == ["0", "1", "1", "0", "0"]
    assert rows[0]["XClick1X"] == "-1"

    points = ((20.0, 15.0), (10.0, 18.0), (24.0, 30.0), (40.0, 27.0))  # top, left, bottom, right
    clicked = AnnotatedObject("Bus", (10.0, 15.0, 40.0, 30.0), extreme_points=points)
    write_table(root / "df.csv", [("a", SIZE, [clicked])])
    with (root / "df.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert [float(row[f"XClick{k}X"]) for k in range(1, 5)] == [0.5, 0.25, 0.6, 1.0]
    assert [float(row[f"XClick{k}Y"]) for k in range(1, 5)] == [0.5, 0.6, 1.0, 0.9]


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
spans = [
    st.tuples(side, side).map(sorted).filter(lambda span: span[0] < span[1])
    for side in (st.floats(0, 41, width=32), st.floats(0, 37, width=32))
]


@in_one_folder
@given(
    images=st.lists(
        st.lists(
            st.tuples(names, *spans, st.booleans()), min_size=1, max_size=4, unique_by=lambda v: (v[0], *v[1], *v[2])
        ),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_written_is_read_back_the_same(images, tmp_path):
    # 41 x 37: sizes by which a division rounds. Still every float32 box comes back to the last bit (or, next to
    # zero, to less than any pixel).
    expected = [
        [AnnotatedObject(name, (x1, y1, x2, y2), group=group) for name, (x1, x2), (y1, y2), group in objects]
        for objects in images
    ]
    ids = [f'image {k}, "{k}"' for k in range(len(images))]
    for image_id in ids:
        photograph(tmp_path / "images" / f"{image_id}.png", (37, 41))
    write_table(tmp_path / "df.csv", [(i, (37, 41), objects) for i, objects in zip(ids, expected, strict=True)])
    dataset = read(tmp_path)
    assert list(dataset.ids) == ids
    for k, objects in enumerate(expected):
        known = dataset.annotation(k)
        assert known["boxes"].tolist() == pytest.approx(np.array([found.box for found in objects]), rel=1e-7, abs=1e-30)
        assert [dataset.classes[label - 1] for label in known["labels"]] == [found.name for found in objects]
        assert known["difficult"].tolist() == [found.group for found in objects]


@pytest.mark.parametrize(
    "objects",
    [
        [AnnotatedObject("Bus", (5.0, 5.0, 5.0, 9.0))],
        [AnnotatedObject("Bus", (5.0, 5.0, 41.0, 9.0))],
        [AnnotatedObject("Bus", (float("nan"), 5.0, 8.0, 9.0))],
        [AnnotatedObject(" Bus", (5.0, 5.0, 8.0, 9.0))],
        [AnnotatedObject("Bus", (5.0, 5.0, 8.0, 9.0), extreme_points=((5.0, 5.0),))],
        [BUS, BUS],
    ],
)
def test_what_could_not_be_read_back_is_not_written(objects, tmp_path):
    with pytest.raises(DataError):
        write_table(tmp_path / "df.csv", [("a", SIZE, [BUS]), ("b", SIZE, objects)])
    assert list(tmp_path.iterdir()) == []


def test_only_the_wanted_images_are_read_and_checked(root):
    (root / "images" / "a.jpg").unlink()
    dataset = read(root, ids=["b"])
    assert dataset.ids == ("b",)
    assert dataset.classes == ("Bus", "Truck")  # those of the table, so that both parts of a split have the same labels
    with pytest.raises(DataError, match=r"df\.csv: the table has no row of image 'c'; leave it out of ids"):
        read(root, ids=["b", "c"])
    with pytest.raises(ValueError, match="ids"):
        read(root, ids=["b", "b"])


def test_the_click_and_flag_columns_may_be_missing_and_in_any_order(root):
    (root / "df.csv").write_text(
        "\ufeffXMax,XMin,YMax,YMin,LabelName,ImageID,Source,Confidence\n.5,.25,1,.5,Bus,a,x,1\n\n", encoding="utf-8"
    )
    sample = read(root)[0]
    assert sample.boxes.tolist() == [[10, 15, 20, 30]]
    assert sample.difficult.tolist() == [False]


def test_objects_of_unknown_classes_are_dropped_only_when_asked(root):
    with pytest.raises(DataError, match=r"df\.csv: line 3 \(Truck in image a\) is of an unknown class \(known: Bus\)"):
        read(root, classes=["Bus"])
    with pytest.warns(UserWarning, match="objects left out: 1"):
        dataset = read(root, classes=["Bus"], unknown="drop")
    assert (dataset.dropped, dataset[0].labels.tolist()) == (1, [1])


def test_worker_processes_give_the_same_batches(root):
    dataset = read(root)
    _, targets = next(iter(DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)))
    assert [target["image_id"] for target in targets] == ["a", "b"]
    assert torch.equal(targets[0]["boxes"], dataset[0].boxes)
    assert pickle.loads(pickle.dumps(dataset))[1].image_id == "b"


def contents(dataset):
    return [(one["image_id"], one["boxes"].tolist(), one["labels"].tolist(), one["difficult"].tolist())
            for one in map(dataset.annotation, range(len(dataset)))]  # fmt: skip


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", ";,", "\t,"])  # with a comma: it stands for the decimal point
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_is_read_whatever_parts_its_cells_and_packed_or_not(root, delimiter, ending, mark, packed):
    before = contents(read(root))
    text = (root / "df.csv").read_bytes().replace(b",", delimiter[0].encode())
    if delimiter[1:]:
        text = text.replace(b".", b",")
    (root / "df.csv").write_bytes(mark + text.replace(b"\n", ending))
    if packed:
        gzipped(root)
    assert contents(read(root)) == before


def test_a_comma_in_a_quoted_name_is_no_delimiter(root):
    (root / "df.csv").write_text(
        'ImageID;Source;LabelName;Confidence;XMin;XMax;YMin;YMax\na;x;"Bus; red, long";1;0;0,5;0;0.5\n'
    )
    dataset = read(root)
    assert dataset.classes == ("Bus; red, long",)
    assert dataset[0].boxes.tolist() == [[0, 0, 20, 15]]


def test_an_image_id_may_have_its_ending(root):
    (root / "images" / "b.jpg").rename(root / "images" / "b.c.PNG")
    text = (root / "df.csv").read_text()
    (root / "df.csv").write_text(text.replace("a,xclick", "a.jpg,xclick").replace("b,xclick", "b.c.PNG,xclick"))
    dataset = read(root)
    assert dataset.ids == ("a.jpg", "b.c.PNG")  # as the table has them, so that `ids` can name them
    assert len(dataset[0].boxes) == 2
    assert read(root, ids=["b.c.PNG"])[0].boxes.tolist() == [[0, 3, 20, 15]]


def test_ids_may_name_an_image_with_its_ending_or_without(root):
    text = (root / "df.csv").read_text()
    (root / "df.csv").write_text(text.replace("a,xclick", "a.jpg,xclick"))
    assert read(root, ids=["b.jpg", "a"]).ids == ("b", "a.jpg")
    with pytest.raises(ValueError, match="names an image twice"):
        read(root, ids=["a", "a.jpg"])
    with pytest.raises(DataError, match=r"no row of image 'c\.jpg'"):
        read(root, ids=["c.jpg"])


@pytest.mark.parametrize(("listed", "on_disk"), [("a.jpg", "a.JPG"), ("a.Jpg", "a.jpg"), ("a.Jpg", "a.Jpg")])
def test_the_ending_of_an_image_id_may_have_other_capitals(root, listed, on_disk):
    (root / "images" / "a.jpg").rename(root / "images" / on_disk)
    text = (root / "df.csv").read_text()
    (root / "df.csv").write_text(text.replace("a,xclick", f"{listed},xclick"))
    assert len(read(root)[0].boxes) == 2


def test_of_two_images_that_differ_in_their_ending_each_keeps_its_boxes(root):
    photograph(root / "images" / "a.png")
    text = (root / "df.csv").read_text()
    (root / "df.csv").write_text(text.replace("a,xclick", "a.jpg,xclick").replace("b,xclick", "a.png,xclick"))
    assert [len(boxes) for _, boxes, *_ in contents(read(root))] == [2, 1]


def test_a_tilde_is_the_home_folder(root, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(root))
    assert len(OpenImagesDataset("~/df.csv", "~/images")) == 2


@pytest.mark.parametrize("part", [slice(0, 2), slice(None), [0, 1], "a", 0.5, None])
def test_a_part_of_a_data_set_is_made_by_subset(root, part):
    dataset = read(root)
    # Unchecked, as outside of the tests: there the annotation `SupportsIndex` is nobody's business.
    with pytest.raises(TypeError, match=r"one whole number, not .*torch\.utils\.data\.Subset\(dataset, range"):
        inspect.unwrap(AnnotatedImages._record)(dataset, part)
    assert dataset[-1].image_id == dataset[np.int64(1)].image_id == dataset[torch.tensor(1)].image_id == "b"
    assert [one.image_id for one in Subset(dataset, range(0, 2))] == ["a", "b"]
    for beyond in (2, -3):
        with pytest.raises(IndexError, match="but the data set has 2 images"):
            dataset[beyond]


@pytest.mark.parametrize(("choice", "boxes", "counts"), [("clip", [[0, 3, 40, 15]], (1, 2)), ("drop", [], (0, 3))])
def test_boxes_are_clipped_or_left_out_when_asked_and_counted(root, choice, boxes, counts):
    (root / "df.csv").write_text(
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\n"
        "a,x,Bus,1,-0.1,1.2,0.1,0.5\n"  # beyond the border on both sides
        "a,x,Bus,1,0.5,0.5,0.1,0.5\n"  # no width
        "a,x,Bus,1,1.1,1.4,0.1,0.5\n"  # outside
    )
    with pytest.warns(UserWarning, match="cut at the border"):
        dataset = read(root, bad_boxes=choice)
    assert dataset[0].boxes.tolist() == boxes
    assert (dataset.clipped, dataset.left_out) == counts


def test_pixels_are_not_clipped_but_refused(root):
    cell(2, "XMax", "20")(root)
    with pytest.raises(DataError, match="XMax 20, but coordinates are relative"):
        read(root, bad_boxes="clip")


def test_all_that_is_wrong_with_an_image_is_listed(root):
    cell(2, "XMax", "left")(root)
    cell(3, "YMax", "0.1")(root)
    cut(root)
    with pytest.warns(UserWarning, match="1 of 2 images left out"):
        dataset = read(root, on_error="skip")
    assert [one.kind for one in dataset.defects] == ["not a number", "no area", "image cannot be read"]
    assert len(dataset.skipped) == 1


@pytest.mark.usefixtures("unchecked")
def test_a_row_takes_less_than_300_bytes(root):
    rows = [f"{k % 100:04},x,Bus {k % 7},1,0.1,{0.2 + k / 1e5:.6f},0.3,0.4" for k in range(10_000)]
    (root / "df.csv").write_text("\n".join(["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax", *rows]))
    for k in range(100):
        shutil.copy(root / "images" / "a.jpg", root / "images" / f"{k:04}.jpg")
    read(root, ids=["0000"])  # what is loaded once counts for nothing
    tracemalloc.start()
    dataset = read(root)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(rows) < 300
    assert sum(len(dataset.annotation(i)["labels"]) for i in range(100)) == len(rows)


def test_a_turned_image_is_applied_or_ignored_when_asked(root):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.open(root / "images" / "a.jpg").save(root / "images" / "a.jpg", exif=tags)
    with pytest.raises(DataError, match="exif='apply'"):
        read(root)
    for choice, size in (("apply", SIZE[::-1]), ("ignore", SIZE)):
        sample = read(root, exif=choice)[0]
        assert sample.size == tuple(sample.image.shape[1:]) == sample.boxes.canvas_size == size


# ---- Refusing what is wrong -------------------------------------------------------------------------------------


def cell(line, column, value):
    """Put a value into one cell of the table, line 2 being the first box."""

    def change(root):
        with (root / "df.csv").open(newline="") as file:
            rows = list(csv.reader(file))
        rows[line - 1][OPEN_IMAGES_COLUMNS.index(column)] = value
        with (root / "df.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    return change


def without(column):
    def change(root):
        with (root / "df.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        kept = [name for name in OPEN_IMAGES_COLUMNS if name != column]
        with (root / "df.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, kept, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)

    return change


def bytes_changed(old, new):
    def change(root):
        content = (root / "df.csv").read_bytes()
        assert old in content, "the test changes nothing"
        (root / "df.csv").write_bytes(content.replace(old, new, 1))

    return change


def content(data):
    return lambda root: (root / "df.csv").write_bytes(data)


def row_twice(root):
    lines = (root / "df.csv").read_text().splitlines()
    (root / "df.csv").write_text("\n".join([*lines, lines[1]]) + "\n")


def cut(root):
    path = root / "images" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def gzipped(root, part=slice(None), damage=b""):
    packed = bytearray(gzip.compress((root / "df.csv").read_bytes(), mtime=0))
    packed[20 : 20 + len(damage)] = damage
    (root / "df.csv").write_bytes(packed[part])


HEADER = ",".join(OPEN_IMAGES_COLUMNS).encode()
BAD_IMAGES = {
    # name: (how to break it, what the message must hold); each spoils image `a` only
    "missing image": (lambda root: (root / "images" / "a.jpg").unlink(), ["line 2", "image a is missing"]),
    "truncated image": (cut, ["a.jpg", "cannot be read"]),
    "16-bit image": (
        lambda root: Image.fromarray(np.zeros((30, 40), np.uint16)).save(root / "images" / "a.jpg", "PNG"),
        ["a.jpg", "16 bits"],
    ),
    "image too large": (lambda root: photograph(root / "images" / "a.jpg", (60, 40)), ["a.jpg", "over the limit"]),
    "word": (cell(3, "XMin", "left"), ["line 3 (Truck in image a)", "XMin is 'left'", "not a number"]),
    "empty cell": (cell(3, "XMin", ""), ["line 3 (Truck in image a)", "XMin is ''", "not a number"]),
    "NaN": (cell(3, "YMax", "nan"), ["line 3 (Truck in image a)", "not a number"]),
    "infinite": (cell(3, "YMax", "inf"), ["line 3 (Truck in image a)", "not a number"]),
    "above 1": (cell(2, "XMax", "1.001"), ["line 2 (Bus in image a)", "XMax 1.001", "from 0 to 1"]),
    "a trace above 1": (cell(2, "XMax", "1.0000001"), ["line 2 (Bus in image a)", "XMax 1.0000001,", "from 0 to 1"]),
    "pixels": (cell(2, "XMax", "20"), ["line 2 (Bus in image a)", "XMax 20", "from 0 to 1"]),
    "below 0": (cell(2, "YMin", "-0.1"), ["line 2 (Bus in image a)", "YMin -0.1", "from 0 to 1"]),
    "XMax below XMin": (cell(3, "XMax", "0.1"), ["line 3 (Truck in image a)", "XMax 0.1", "XMin 0.25"]),
    "YMax equal to YMin": (cell(3, "YMax", "0.5"), ["line 3 (Truck in image a)", "YMax 0.5", "YMin 0.5"]),
    "differs by nothing": (cell(3, "YMax", "0.50000000001"), ["line 3 (Truck in image a)", "no area"]),
    "a row twice": (row_twice, ["line 5 (Bus in image a)", "twice", "line 2"]),
    "no class": (cell(2, "LabelName", " "), ["line 2", "LabelName ''"]),
}
BAD_TABLES = {
    "empty file": (content(b""), ["is empty"]),
    "only the columns": (content(HEADER + b"\n"), ["no box"]),
    "no LabelName": (without("LabelName"), ["no column LabelName"]),
    "no XMin": (without("XMin"), ["no column XMin"]),
    "no Confidence": (without("Confidence"), ["no column Confidence"]),
    "a column twice": (bytes_changed(b"IsInside", b"XMin"), ["a column twice"]),
    "bars": (content(HEADER.replace(b",", b"|") + b"\n"), ["no column ImageID"]),
    "a number of semicolons": (
        content(HEADER.replace(b",", b";") + b"\na;x;Bus;1;0;0,5;0;0.5\n"),
        ["line 2", "8 cells for 21 columns"],
    ),
    "half a gzip file": (lambda root: gzipped(root, slice(0, 60)), ["cannot be read", "UTF-8"]),
    "damaged gzip": (lambda root: gzipped(root, slice(0, None), b"\xff" * 8), ["cannot be read", "UTF-8"]),
    "an image in two ways": (
        bytes_changed(b"b,xclick", b"a.jpg,xclick"),
        ["line 4", "'a.jpg'", "line 2 writes 'a'; write it in one way"],
    ),
    "a short row": (bytes_changed(b"a,xclick,Truck,1,", b"a,Truck,1,"), ["line 3", "20 cells for 21 columns"]),
    "a long row": (bytes_changed(b"a,xclick,Truck,1,", b"a,xclick,Truck,Bus,1,"), ["line 3", "22 cells"]),
    "Latin-1": (bytes_changed(b"Truck", b"Tr\xfcck"), ["cannot be read", "UTF-8"]),
    "UTF-16": (lambda root: (root / "df.csv").write_text("ImageID\n", encoding="utf-16"), ["cannot be read", "UTF-8"]),
    "NUL in a name": (bytes_changed(b"a,xclick,Truck", b"a\0,xclick,Truck"), ["line 3", "ImageID 'a\\x00'"]),
    "no ImageID": (bytes_changed(b"a,xclick,Truck", b",xclick,Truck"), ["line 3", "ImageID ''"]),
    "an open quote": (bytes_changed(b"Truck", b'"Truck'), ["cannot be read after line 2"]),
    "an open quote at first": (
        bytes_changed(b"a,xclick,Bus", b'a,xclick,"Bus'),
        ["cannot be read after line 1"],
    ),
    "a huge cell": (bytes_changed(b"Truck", b"T" * 200_000), ["cannot be read after line 2"]),
}
ESCAPES = {
    "parent folder": (cell(2, "ImageID", "../secret"), ["line 2", "../secret.jpg", "outside"]),
    "absolute": (cell(2, "ImageID", "/etc/passwd"), ["line 2", "/etc/passwd", "is missing"]),
}


@pytest.mark.parametrize("name", BAD_IMAGES | BAD_TABLES | ESCAPES)
def test_bad_input_is_refused_with_one_sentence(name, root, check_refusal):
    break_it, words = (BAD_IMAGES | BAD_TABLES | ESCAPES)[name]
    break_it(root)
    with pytest.raises(DataError) as refusal:
        read(root, max_pixels=2_000)[0]
    check_refusal(str(refusal.value), words, root)


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_skipped_whole_when_asked(name, root):
    break_it, words = BAD_IMAGES[name]
    break_it(root)
    with pytest.warns(UserWarning, match="1 of 2 images left out"):
        dataset = read(root, on_error="skip", max_pixels=2_000)
    assert dataset.ids == ("b",)
    assert [word for word in words if word not in dataset.skipped[0]] == []


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_damaged_table_is_refused_even_when_skipping(name, root):
    # Where a row begins and whose it is can no longer be told, so there is no image to leave out.
    BAD_TABLES[name][0](root)
    with pytest.raises(DataError):
        read(root, on_error="skip")


def test_missing_files_and_folders_are_refused(root):
    with pytest.raises(DataError, match=r"nowhere\.csv: there is no such table; check the path"):
        OpenImagesDataset(root / "nowhere.csv", root / "images")
    with pytest.raises(DataError, match="nowhere: there is no such folder of images"):
        OpenImagesDataset(root / "df.csv", root / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        OpenImagesDataset(root, root / "images")


@in_one_folder
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from(b',"\n\r\0 -.eE019/\xff') | st.integers(0, 255)),
        min_size=1,
        max_size=4,
    ),
    start=st.integers(0, 10_000),
    length=st.integers(0, 20),
)
def test_no_damage_to_a_table_raises_anything_but_a_data_error(changes, start, length, tmp_path):
    root = Path(tmp_path)
    for name in ("a", "b"):
        photograph(root / "images" / f"{name}.jpg")
    write_table(root / "df.csv", [("a", SIZE, [BUS, CROWD]), ("b", SIZE, [BUS])])
    content = bytearray((root / "df.csv").read_bytes())
    after_header = content.index(b"\n") + 1
    for place, value in changes:
        content[after_header + place % (len(content) - after_header)] = value
    place = after_header + start % (len(content) - after_header)
    del content[place : place + length]
    (root / "df.csv").write_bytes(content)
    with warnings.catch_warnings(record=True, action="always") as said:
        try:
            boxes = read(root)[0].boxes
        except DataError as error:
            message = str(error)
            assert message.startswith(str(root))
            assert len(message.splitlines()) == 1
        else:
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert boxes.isfinite().all()
    assert all(str(warning.message).startswith(str(root)) for warning in said), "a warning that does not name the file"


@pytest.mark.parametrize(
    ("text", "expected"), [("0", False), ("1", True), ("1.0", True), ("False", False), ("TRUE", True), ("", False)]
)
def test_every_way_to_write_a_flag_is_read(root, text, expected, recwarn):
    cell(2, "IsGroupOf", text)(root)
    assert read(root)[0].difficult.tolist() == [expected, True]
    assert not recwarn.list


def test_a_word_that_is_no_flag_is_not_set_and_warned_of(root):
    cell(3, "IsGroupOf", "maybe")(root)
    with pytest.warns(UserWarning, match=r"taken as not set: 1, such as .*line 3 .*: IsGroupOf 'maybe'"):
        assert read(root)[0].difficult.tolist() == [False, False]
