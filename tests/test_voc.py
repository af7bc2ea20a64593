"""What the reader of VOC folders promises: real folders are read as they are, broken ones refused in one sentence."""

import io
import pickle
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from frcnn_lessons.datasets import VOC_CLASSES, AnnotatedObject, DataError, VOCDataset, collate
from frcnn_lessons.datasets.voc import write_annotation

CAR, DOG = (
    AnnotatedObject("car", (0.0, 0.0, 20.0, 10.0)),
    AnnotatedObject("dog", (5.0, 6.0, 40.0, 30.0), difficult=True),
)
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def photograph(path, size=(30, 40), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def add_image(root, image_id, objects, size=(30, 40)):
    photograph(root / "JPEGImages" / f"{image_id}.jpg", size)
    write_annotation(root / "Annotations" / f"{image_id}.xml", f"{image_id}.jpg", size, objects)


def image_set(root, name, text):
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def root(tmp_path):
    """Two images, 40 wide and 30 high: `a` with a car and a dog, `b` with a car."""
    add_image(tmp_path / "own", "a", [CAR, DOG])
    add_image(tmp_path / "own", "b", [CAR])
    image_set(tmp_path / "own", "trainval", "a\nb\n")
    return tmp_path / "own"


def edit(root, old, new, count=1):
    path = root / "Annotations" / "a.xml"
    text = path.read_text()
    assert old in text, "the test changes nothing"
    path.write_text(text.replace(old, new, count))


# ---- Reading what is right --------------------------------------------------------------------------------------


def test_a_voc_box_from_disk_becomes_its_edges(root):
    # The one place where an "off by one" enters a course: 1-based and inclusive on disk, edges inside.
    text = (root / "Annotations" / "a.xml").read_text()
    corners = [int(re.search(f"<{tag}>(.*)</{tag}>", text)[1]) for tag in ("xmin", "ymin", "xmax", "ymax")]
    assert corners == [1, 1, 20, 10]
    image, boxes, labels, difficult, image_id, size = VOCDataset(root)[0]
    assert boxes.tolist() == [[0, 0, 20, 10], [5, 6, 40, 30]]
    assert isinstance(image, tv_tensors.Image)
    assert isinstance(boxes, tv_tensors.BoundingBoxes)
    assert (boxes.canvas_size, boxes.format.value, boxes.dtype) == ((30, 40), "XYXY", torch.float32)
    assert labels.tolist() == [1, 2]
    assert difficult.tolist() == [False, True]
    assert (image_id, size, tuple(image.shape)) == ("a", (30, 40), (3, 30, 40))


def test_a_tool_that_counts_from_zero_can_be_read(root):
    edit(root, "<xmin>1<", "<xmin>0<")
    assert VOCDataset(root, one_based=False)[0].boxes.tolist() == [[0, 1, 20, 10], [6, 7, 40, 30]]


names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
halves = st.integers(0, 80).map(lambda n: n / 2)
objects_of_one_image = st.lists(
    st.tuples(
        names,
        st.tuples(halves, halves).filter(lambda x: x[1] - x[0] > 1),
        st.tuples(halves, halves).filter(lambda y: y[1] - y[0] > 1),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda values: values[:3],
)


@in_one_folder
@given(objects=objects_of_one_image)
def test_what_is_written_is_read_back_the_same(objects, tmp_path):
    objects = [AnnotatedObject(name, (x1, y1, x2, y2), flag) for name, (x1, x2), (y1, y2), flag in objects]
    add_image(tmp_path, "a", objects, (41, 42))
    dataset = VOCDataset(tmp_path)
    known = dataset.annotation(0)
    assert known["boxes"].tolist() == [list(found.box) for found in objects]
    assert [dataset.classes[label - 1] for label in known["labels"]] == [found.name for found in objects]
    assert known["difficult"].tolist() == [found.difficult for found in objects]
    assert dataset.classes == tuple(sorted({found.name for found in objects}))


@in_one_folder
@given(x1=st.floats(0, 38, width=32), width=st.floats(1.5, 41, width=32))
def test_any_float_box_comes_back_within_a_millionth_of_a_pixel(x1, width, tmp_path):
    box = (x1, 2.0, min(x1 + width, 42.0), 9.0)
    add_image(tmp_path, "a", [AnnotatedObject("car", box)], (41, 42))
    assert VOCDataset(tmp_path)[0].boxes[0].tolist() == pytest.approx(box, abs=4e-6)


@pytest.mark.parametrize(
    "objects",
    [
        [AnnotatedObject("car", (5.0, 5.0, 5.0, 9.0))],
        [AnnotatedObject("car", (5.0, 5.0, 6.0, 9.0))],  # one pixel: xmax = xmin on disk
        [AnnotatedObject("car", (5.0, 5.0, 41.0, 9.0))],
        [AnnotatedObject("car", (float("nan"), 5.0, 8.0, 9.0))],
        [AnnotatedObject("", (5.0, 5.0, 8.0, 9.0))],
        [AnnotatedObject("two\nlines", (5.0, 5.0, 8.0, 9.0))],
        [CAR, CAR],
    ],
)
def test_what_could_not_be_read_back_is_not_written(objects, tmp_path):
    with pytest.raises(DataError):
        write_annotation(tmp_path / "a.xml", "a.jpg", (30, 40), objects)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("year", "count"), [("VOCdevkit-2007-subset", 1907), ("VOCdevkit-2012-100", 100)])
def test_a_real_folder_agrees_with_a_plain_reading_of_its_files(year, count, shared_folder):
    dataset = VOCDataset(shared_folder / "data" / year, None, VOC_CLASSES)
    annotations = next((shared_folder / "data" / year).rglob("Annotations"))
    assert len(dataset) == len(list(annotations.iterdir())) == count
    for i, image_id in enumerate(dataset.ids):
        tree = ElementTree.parse(annotations / f"{image_id}.xml").getroot()
        expected = [
            [
                int(found.findtext(f"bndbox/{side}")) - (side in ("xmin", "ymin"))
                for side in ("xmin", "ymin", "xmax", "ymax")
            ]
            for found in tree.iter("object")
        ]
        known = dataset.annotation(i)
        assert known["boxes"].tolist() == expected
        assert [VOC_CLASSES[label - 1] for label in known["labels"]] == [
            found.findtext("name") for found in tree.iter("object")
        ]
        assert known["difficult"].tolist() == [found.findtext("difficult") == "1" for found in tree.iter("object")]


@pytest.mark.slow
def test_the_image_sets_of_a_real_folder_part_it(shared_folder):
    root = shared_folder / "data" / "VOCdevkit-2007-subset"
    train, val, trainval, test = (set(VOCDataset(root, name).ids) for name in ("train", "val", "trainval", "test"))
    assert train | val == trainval
    assert not train & val
    assert not trainval & test
    assert (len(trainval), len(test)) == (942, 965)
    assert VOCDataset(root, "val").classes == VOC_CLASSES  # all names of the folder, whatever the set


def test_the_years_folder_is_found_below_the_one_that_torchvision_makes(root):
    above = root.parent / "downloads"
    (above / "VOCdevkit").mkdir(parents=True)
    root.rename(above / "VOCdevkit" / "VOC2007")
    assert VOCDataset(above).ids == VOCDataset(above / "VOCdevkit").ids == ("a", "b")
    add_image(above / "VOCdevkit" / "VOC2012", "c", [])
    with pytest.raises(DataError, match=r"several data sets \(VOC2007, VOC2012\); name the one"):
        VOCDataset(above)


def test_a_folder_without_image_sets_has_no_test_part(root):
    # Else "train" and "test" would be the same images, and the score a lie.
    (root / "ImageSets" / "Main" / "trainval.txt").unlink()
    (root / "ImageSets" / "Main").rmdir()
    assert VOCDataset(root).ids == VOCDataset(root, None).ids == ("a", "b")
    with pytest.raises(DataError, match="image_set=None"):
        VOCDataset(root, "test")


def test_the_list_of_one_class_keeps_the_images_that_may_hold_it(root):
    # VOC marks 1: holds a car; 0: only difficult ones; -1: none.
    add_image(root, "c d", [])
    image_set(root, "dog_train", "a  1\r\nb -1\r\n\r\nc d  0\r\n")
    assert VOCDataset(root, "dog_train").ids == ("a", "c d")


def test_only_an_objects_own_box_is_read_not_those_of_its_parts(root):
    # VOC's layout annotations list head, hand and foot inside a person, with tags of the same names.
    part = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    edit(root, "<object>", "<object>" + part)
    dataset = VOCDataset(root)
    assert dataset.classes == ("car", "dog")
    assert dataset[0].boxes.tolist() == [[0, 0, 20, 10], [5, 6, 40, 30]]


@pytest.mark.parametrize(
    ("filename", "image"), [("IMG_7.JPG", "a.jpg"), ("IMG_7.JPG", "IMG_7.JPG"), ("a", "a.PNG"), ("", "a.jpeg")]
)
def test_the_image_is_found_by_filename_or_by_the_name_of_its_annotation(filename, image, root):
    # Folders that were renamed or converted keep the old name in <filename>.
    edit(root, "a.jpg", filename)
    (root / "JPEGImages" / "a.jpg").unlink()
    photograph(root / "JPEGImages" / "other.png")
    photograph(root / "JPEGImages" / image)
    assert VOCDataset(root)[0].image.shape == (3, 30, 40)


def test_an_image_without_objects_has_empty_boxes(root):
    add_image(root, "c", [])
    sample = VOCDataset(root, None)[2]
    assert (sample.boxes.shape, sample.labels.shape, sample.difficult.shape) == ((0, 4), (0,), (0,))


def test_an_object_without_difficult_counts(root):
    edit(root, "<difficult>1</difficult>", "")
    assert VOCDataset(root)[0].difficult.tolist() == [False, False]


def test_given_classes_set_the_labels(root):
    assert VOCDataset(root, classes=("dog", "car"))[0].labels.tolist() == [2, 1]


def test_objects_of_unknown_classes_are_dropped_only_when_asked(root):
    with pytest.raises(DataError, match=r"a\.xml: object 2 \(dog\) is of an unknown class \(known: car\)"):
        VOCDataset(root, classes=["car"])
    with pytest.warns(UserWarning, match="objects left out: 1"):
        dataset = VOCDataset(root, classes=["car"], unknown="drop")
    assert dataset.dropped == 1
    assert dataset[0].boxes.tolist() == [[0, 0, 20, 10]]
    assert dataset[0].labels.tolist() == [1]


def test_it_is_a_sequence(root):
    dataset = VOCDataset(root)
    assert [sample.image_id for sample in dataset] == ["a", "b"]  # a loop ends by IndexError
    assert dataset[-1].image_id == "b"
    for index in (2, -3):
        with pytest.raises(IndexError, match="2 images"):
            dataset[index]


def test_worker_processes_give_the_same_batches(root):
    dataset = VOCDataset(root)
    images, targets = next(iter(DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=collate)))
    assert torch.equal(images[0], dataset[0].image)
    assert torch.equal(targets[0]["boxes"], dataset[0].boxes)
    assert type(targets[0]["boxes"]) is type(images[0]) is torch.Tensor
    assert pickle.loads(pickle.dumps(dataset))[1].image_id == "b"  # how workers get it where processes are not forked


def test_a_transform_is_applied(root):
    assert VOCDataset(root, transform=lambda sample: sample._replace(image_id="changed"))[0].image_id == "changed"


# ---- Refusing what is wrong -------------------------------------------------------------------------------------


def change(old, new, count=1):
    return lambda root: edit(root, old, new, count)


def replace_file(name, content):
    def put(root):
        (root / name).unlink(missing_ok=True)
        (root / name).write_bytes(content)

    return put


def save(name, mode, kind="JPEG", **options):
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, kind, **options)
    return replace_file(name, buffer.getvalue())


def not_utf8(root):
    path = root / "Annotations" / "a.xml"
    path.write_bytes(path.read_bytes().replace(b"car", b"c\xffr"))


def link_out(root):
    photograph(root.parent / "secret.jpg")
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "JPEGImages" / "a.jpg").symlink_to(root.parent / "secret.jpg")


def cut(root):
    path = root / "JPEGImages" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def turned(root):
    tags = Image.Exif()
    tags[0x0112] = 6
    save("JPEGImages/a.jpg", "RGB", exif=tags)(root)


def two_images_for_one_annotation(root):
    photograph(root / "JPEGImages" / "other.jpg")
    edit(root, "a.jpg", "other.jpg")


def one_image_for_two_annotations(root):
    edit(root, "a.jpg", "b.jpg")
    (root / "JPEGImages" / "a.jpg").unlink()


XML, JPEG = "Annotations/a.xml", "JPEGImages/a.jpg"
ENTITIES = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotation>&b;</annotation>'
BAD = {
    # name: (how to break the folder, what the message must hold)
    "missing image": (lambda root: (root / JPEG).unlink(), [XML, "the image is missing", "a.jpg"]),
    "truncated image": (cut, [JPEG, "cannot be read"]),
    "no image": (replace_file(JPEG, b"hello"), [JPEG, "JPEG or PNG"]),
    "16-bit image": (save(JPEG, "I;16", "PNG"), [JPEG, "16 bits"]),
    "EXIF-rotated image": (turned, [JPEG, "EXIF orientation 6"]),
    "image too large": (lambda root: photograph(root / JPEG, (60, 40)), [JPEG, "over the limit of 2,000"]),
    "image of another size": (lambda root: photograph(root / JPEG, (40, 30)), [XML, "40 x 30", "30 x 40"]),
    "empty XML": (replace_file(XML, b""), [XML, "not well-formed"]),
    "malformed XML": (change("</size>", ""), [XML, "not well-formed", "line"]),
    "unknown encoding": (
        replace_file(XML, b'<?xml version="1.0" encoding="x"?><annotation/>'),
        [XML, "not well-formed"],
    ),
    "not UTF-8": (not_utf8, [XML, "not well-formed"]),
    "entities": (replace_file(XML, ENTITIES), [XML, "DTD or entities"]),
    "a DTD": (replace_file(XML, b'<!DOCTYPE annotation SYSTEM "voc.dtd"><annotation/>'), [XML, "DTD or entities"]),
    "another root": (replace_file(XML, b"<html/>"), [XML, "<html>"]),
    "no size": (replace_file(XML, b"<annotation/>"), [XML, "no <size>"]),
    "no width": (change("<width>40</width>", ""), [XML, "no <width>"]),
    "empty width": (change("<width>40<", "<width> <"), [XML, "empty <width>"]),
    "wrong width": (change("<width>40<", "<width>41<"), [XML, "41 x 30", "40 x 30"]),
    "no name": (change("<name>car</name>", ""), [XML, "object 1", "no <name>"]),
    "no bndbox": (change("bndbox", "box", 2), [XML, "object 1 (car)", "no <bndbox>"]),
    "no xmin": (change("<xmin>1</xmin>", ""), [XML, "object 1 (car)", "no <xmin>"]),
    "two xmin": (change("<xmin>1</xmin>", "<xmin>1</xmin><xmin>2</xmin>"), [XML, "object 1 (car)", "2 <xmin>"]),
    "word as xmin": (change("<xmin>1<", "<xmin>left<"), [XML, "object 1 (car)", "xmin is 'left'", "not a number"]),
    "NaN as ymax": (change("<ymax>30<", "<ymax>nan<"), [XML, "object 2 (dog)", "ymax is 'nan'", "not a number"]),
    "infinite xmax": (change("<xmax>40<", "<xmax>inf<"), [XML, "object 2 (dog)", "not a number"]),
    "overflowing xmax": (change("<xmax>40<", "<xmax>1e999<"), [XML, "object 2 (dog)", "not a number"]),
    "underscore": (change("<xmax>40<", "<xmax>4_0<"), [XML, "object 2 (dog)", "not a number"]),
    "xmax below xmin": (change("<xmax>40<", "<xmax>2<"), [XML, "object 2 (dog)", "xmax 2", "xmin 6"]),
    "ymax equal to ymin": (change("<ymax>30<", "<ymax>7<"), [XML, "object 2 (dog)", "ymax 7", "ymin 7"]),
    "right of the image": (change("<xmax>40<", "<xmax>41<"), [XML, "object 2 (dog)", "beyond the image", "40 wide"]),
    "below the image": (change("<ymax>30<", "<ymax>30.5<"), [XML, "object 2 (dog)", "beyond the image", "30 high"]),
    "a trace below": (change("<ymax>30<", "<ymax>30.00001<"), [XML, "object 2 (dog)", "to 30.00001 in an image"]),
    "negative": (change("<xmin>6<", "<xmin>-6<"), [XML, "object 2 (dog)", "beyond the image"]),
    "counted from 0": (change("<ymin>1<", "<ymin>0<"), [XML, "object 1 (car)", "ymin 0", "one_based=False"]),
    "object there twice": (
        change(
            "<object>",
            "<object><name>dog</name><bndbox><xmin>6</xmin><ymin>7</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object><object>",
        ),
        [XML, "object 3 (dog)", "twice", "object 1 (dog)"],
    ),
    "filename escapes": (change("a.jpg", "../../secret.jpg"), [XML, "../../secret.jpg", "outside"]),
    "two images": (two_images_for_one_annotation, [XML, "other.jpg", "a.jpg"]),
    "one image twice": (one_image_for_two_annotations, ["b.xml", "b.jpg", "a.xml"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_one_sentence(name, root, check_refusal):
    break_it, words = BAD[name]
    break_it(root)
    with pytest.raises(DataError) as refusal:
        VOCDataset(root, max_pixels=2_000)[0]
    check_refusal(str(refusal.value), words, root)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_skipped_whole_when_asked(name, root):
    # Never a single object: a vehicle that lost its box would be taught as background.
    break_it, words = BAD[name]
    break_it(root)
    bad = "b" if words[0] == "b.xml" else "a"
    with pytest.warns(UserWarning, match="1 of 2 images left out; dataset.skipped says why"):
        dataset = VOCDataset(root, on_error="skip", max_pixels=2_000)
    assert dataset.ids == tuple({"a", "b"} - {bad})
    assert len(dataset) == len(list(dataset)) == len(dataset.skipped) == 1
    assert [word for word in words if word not in dataset.skipped[0]] == []


def test_nothing_left_is_an_error_even_when_skipping(root):
    for name in ("a", "b"):
        (root / "JPEGImages" / f"{name}.jpg").unlink()
    with pytest.raises(DataError, match=r"own: no image is left to read: .*a\.xml: the image is missing"):
        VOCDataset(root, on_error="skip")


def test_damaged_pixels_are_refused_when_the_image_is_asked_for(root):
    # The header of 2,000 files is read in a second, their pixels in half a minute: those wait until they are needed.
    cut(root)
    dataset = VOCDataset(root)
    assert dataset[1].image_id == "b"
    with pytest.raises(DataError, match=r"a\.jpg: the image cannot be read"):
        dataset[0]


def test_an_image_that_changes_later_is_noticed(root):
    dataset = VOCDataset(root)
    photograph(root / JPEG, (50, 60))
    with pytest.raises(DataError, match="changed its size"):
        dataset[0]


def test_all_that_is_wrong_with_an_image_is_listed(root):
    edit(root, "<width>40<", "<width>41<")
    edit(root, "<xmax>20<", "<xmax>90<")
    edit(root, "<ymax>30<", "<ymax>nan<")
    with pytest.warns(UserWarning, match="1 of 2 images left out"):
        dataset = VOCDataset(root, on_error="skip")
    assert [one.kind for one in dataset.defects] == ["size differs", "reaches beyond the image", "not a number"]
    assert {one.path for one in dataset.defects} == {root / "JPEGImages" / "a.jpg"}
    assert dataset.defects[1].box == (0, 0, 90, 10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nmissing\n", ["missing.xml", "'trainval'", "is missing"]),
        ("a\n../a\n", ["'../a.xml'", "outside"]),
        ("a\n/etc/passwd\n", ["passwd.xml", "is missing"]),
        ("a\nb\na\n", ["trainval.txt", "line 3", "'a' a second time"]),
        ("\n\n", ["trainval.txt", "names no image"]),
        ("a\0\n", ["'a\\x00.xml'", "cannot be printed"]),
        ("a" * 300, ["a" * 300, "is missing"]),
    ],
)
def test_a_bad_image_set_is_refused(text, words, root):
    image_set(root, "trainval", text)
    with pytest.raises(DataError) as refusal:
        VOCDataset(root)
    assert [word for word in words if word not in str(refusal.value)] == [], refusal.value
    assert len(str(refusal.value).splitlines()) == 1


def test_an_image_set_that_is_not_there_is_refused_with_those_that_are(root):
    image_set(root, "val", "b\n")
    with pytest.raises(DataError, match="no image set is called 'test'; there are trainval, val"):
        VOCDataset(root, "test")
    with pytest.raises(DataError, match="no image set"):
        VOCDataset(root, "../Main/val")
    (root / "ImageSets" / "Main" / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"val\.txt: the image set cannot be read as text"):
        VOCDataset(root, "val")


def test_a_folder_of_another_shape_is_refused(root, tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        VOCDataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no Annotations folder"):
        VOCDataset(root / "JPEGImages")
    (tmp_path / "empty" / "Annotations").mkdir(parents=True)
    with pytest.raises(DataError, match="no JPEGImages folder"):
        VOCDataset(tmp_path / "empty")
    (tmp_path / "empty" / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="holds no annotation"):
        VOCDataset(tmp_path / "empty")


@pytest.mark.parametrize(
    "options",
    [{"unknown": "ignore"}, {"on_error": "ignore"}, {"classes": []}, {"classes": "car"}, {"classes": ["a", "a"]}],
)
def test_options_that_mean_nothing_are_refused(options, root):
    with pytest.raises(ValueError, match=next(iter(options))):
        VOCDataset(root, **options)


@in_one_folder
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 10_000), st.sampled_from(b"<>/&;![]?\"'=0-.eE \n\xff\x00ax") | st.integers(0, 255)),
        min_size=1,
        max_size=4,
    ),
    start=st.integers(0, 10_000),
    length=st.integers(0, 40),
)
def test_no_damage_to_xml_raises_anything_but_a_data_error(changes, start, length, tmp_path):
    # on_error="skip" can only leave out what it was told about: any other exception ends a night's training.
    root = Path(tmp_path)
    add_image(root, "a", [CAR, DOG])
    path = root / "Annotations" / "a.xml"
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    place = start % len(content)
    del content[place : place + length]
    path.write_bytes(content)
    with warnings.catch_warnings(record=True, action="always") as said:
        try:
            boxes = VOCDataset(root)[0].boxes
        except DataError as error:
            message = str(error)
            assert message.startswith(str(root))
            assert len(message.splitlines()) == 1
        else:
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert boxes.isfinite().all()
    assert all(str(warning.message).startswith(str(root)) for warning in said), "a warning that does not name the file"
