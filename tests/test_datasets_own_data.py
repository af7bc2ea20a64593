"""What `open_data` promises: it knows the layouts of the tools, and gives the same classes in all parts. Lesson 12."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from frcnn_lessons.datasets import AnnotatedObject, DataError, VOCDataset, open_data
from frcnn_lessons.datasets.open_images import write_table
from frcnn_lessons.datasets.voc import write_annotation
from helpers.coco_files import as_coco, write_coco
from test_datasets_coco import photograph

SIZE = (30, 40)
BUS, CAR = AnnotatedObject("bus", (1.0, 2.0, 30.0, 20.0)), AnnotatedObject("car", (5.0, 6.0, 9.0, 9.0), difficult=True)
PLAIN = {"a": [BUS], "b": [BUS, CAR], "c": []}


def fill(images, annotations, named=PLAIN):
    """Photographs and VOC annotations in two folders, or in one."""
    for name, objects in named.items():
        photograph(images / f"{name}.jpg")
        annotations.mkdir(parents=True, exist_ok=True)
        write_annotation(annotations / f"{name}.xml", f"{name}.jpg", SIZE, objects)


def coco(path, images, named=PLAIN, prefix=""):
    """The same as a COCO file and its photographs."""
    scratch = path.parent / "scratch"
    fill(scratch / "JPEGImages", scratch / "Annotations", named)
    data = as_coco(VOCDataset(scratch))
    shutil.rmtree(scratch)
    for one in data["images"]:
        photograph(images / one["file_name"])
        one["file_name"] = prefix + one["file_name"]
    write_coco(path, data)


def lists(root, **named):
    for name, ids in named.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(ids))


def voc_plain(root):
    fill(root / "JPEGImages", root / "Annotations")


def voc_images_folder(root):
    fill(root / "images", root / "Annotations")


def voc_in_small_letters(root):
    fill(root / "images", root / "annotations")


def voc_together(root):
    fill(root, root)


def voc_in_two_folders(root):
    fill(root / "images", root / "labels")
    (root / "docs").mkdir()


def voc_in_two_folders_of_any_names(root):
    fill(root / "export" / "Photos", root / "export" / "xml files")


def voc_with_photographs_elsewhere(root):
    fill(root / "photographs", root / "Annotations")


def voc_devkit(root):
    fill(root / "VOCdevkit/VOC2007/JPEGImages", root / "VOCdevkit/VOC2007/Annotations")


def voc_of_cvat(root):
    voc_plain(root)
    lists(root, default=["a", "b", "c"])
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbus:250,50,83::\n")


def coco_beside(root):
    coco(root / "_annotations.coco.json", root)


def coco_among_others(root):
    coco(root / "all.json", root)
    (root / "a.json").write_text('{"shapes": [], "imagePath": "a.jpg"}')


def coco_of_cvat(root):
    coco(root / "annotations" / "instances_default.json", root / "images" / "default")


def coco_of_cvat_1(root):
    coco(root / "annotations" / "instances_default.json", root / "images")


def coco_of_label_studio(root):
    coco(root / "result.json", root / "images", prefix="images\\")


def voc_below_what_was_unpacked(root):
    fill(root / "export", root / "export")
    (root / "__MACOSX").mkdir()


def table(root):
    for name in ("a", "b", "c"):
        photograph(root / "images" / f"{name}.jpg")
    write_table(root / "df.csv", [("a", SIZE, [BUS]), ("b", SIZE, [BUS, CAR]), ("c", SIZE, [CAR])])


LAYOUTS = {
    "VOC": [
        voc_plain,
        voc_images_folder,
        voc_in_small_letters,
        voc_together,
        voc_in_two_folders,
        voc_in_two_folders_of_any_names,
        voc_with_photographs_elsewhere,
        voc_devkit,
        voc_of_cvat,
        voc_below_what_was_unpacked,
    ],
    "COCO": [coco_beside, coco_among_others, coco_of_cvat, coco_of_cvat_1, coco_of_label_studio],
    "Open Images": [table],
}


@pytest.mark.parametrize(("kind", "layout"), [(kind, one) for kind, some in LAYOUTS.items() for one in some])
def test_a_layout_is_known(kind, layout, tmp_path):
    layout(tmp_path)
    data = open_data(tmp_path)
    assert (data.kind, data.classes, data.defects) == (kind, ("bus", "car"), [])
    names = {split: dataset.ids for split, dataset in data.splits.items()}
    assert sorted(names["train"] + names["val"]) == ["a", "b", "c"]
    assert len(names["val"]) == 1
    for dataset in data.splits.values():
        for sample in dataset:
            objects = {"a": [1], "b": [1, 2], "c": [2] if kind == "Open Images" else []}
            assert sample.labels.tolist() == objects[sample.image_id]


def test_the_lists_of_a_voc_folder_are_its_splits(tmp_path):
    voc_plain(tmp_path)
    lists(tmp_path, train=["a"], val=["b"], trainval=["a", "b"], test=["c"], car_train=["a -1"])
    assert {name: part.ids for name, part in open_data(tmp_path).splits.items()} == {
        "train": ("a",), "val": ("b",), "test": ("c",),
    }  # fmt: skip
    lists(tmp_path, test=[])
    assert set(open_data(tmp_path).splits) == {"train", "val"}


def test_the_lists_of_cvat_are_splits_by_their_names(tmp_path):
    voc_plain(tmp_path)
    lists(tmp_path, Train=["a"], Validation=["b"], Test=["c"])
    parts = {name: part.ids for name, part in open_data(tmp_path).splits.items()}
    assert parts == {"train": ("a",), "val": ("b",), "test": ("c",)}
    (tmp_path / "ImageSets" / "Main" / "Train.txt").rename(tmp_path / "ImageSets" / "Main" / "TRAIN.TXT")
    assert open_data(tmp_path).splits["train"].ids == ("a",)
    lists(tmp_path, val=["c"])  # beside "Validation", which says less plainly what it is
    assert open_data(tmp_path).splits["val"].ids == ("c",)


def test_folders_below_annotations_are_splits_by_their_names(tmp_path):
    for split, name in (("train", "a"), ("valid", "b")):
        fill(tmp_path / "images" / split, tmp_path / "annotations" / split, {name: [BUS]})
    parts = {name: part.ids for name, part in open_data(tmp_path).splits.items()}
    assert parts == {"train": ("train/a",), "val": ("valid/b",)}
    fill(tmp_path / "images" / "more", tmp_path / "annotations" / "more", {"c": [CAR]})
    assert sum(len(part) for part in open_data(tmp_path).splits.values()) == 3  # of "more" nobody can tell


def test_the_tables_of_open_images_are_splits_by_their_names(tmp_path):
    for split, name in (("train", "a"), ("validation", "b"), ("test", "c")):
        photograph(tmp_path / split / f"{name}.jpg")
        write_table(tmp_path / f"{split}-annotations-bbox.csv", [(name, SIZE, [BUS])])
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/01bjv,Bus\n")
    parts = {name: part.ids for name, part in open_data(tmp_path).splits.items()}
    assert parts == {"train": ("a",), "val": ("b",), "test": ("c",)}


def test_that_val_is_train_is_said_of_a_single_image(tmp_path):
    fill(tmp_path, tmp_path, {"a": [BUS]})
    data = open_data(tmp_path)
    assert data.splits["val"].ids == data.splits["train"].ids
    assert [note for note in data.notes if "train and val are the same" in note]


def test_that_nothing_is_to_be_found_in_a_part_is_said(tmp_path):
    voc_plain(tmp_path)
    lists(tmp_path, train=["a", "b"], val=["c"])
    assert open_data(tmp_path).notes == ["no image for val holds an object, so scores of them say nothing"]


def test_an_image_in_two_splits_is_said(tmp_path):
    voc_plain(tmp_path)
    lists(tmp_path, train=["a", "c"], val=["b", "a"])
    (note,) = open_data(tmp_path).notes
    assert note.startswith("images in both train and val: 1, such as")
    assert "a.jpg" in note


@pytest.mark.parametrize("place", ["{folder}/{split}", "{split}/{folder}"])
def test_two_folders_of_images_and_xml_may_have_splits_inside_or_around_them(place, tmp_path):
    for split, name in (("train", "a"), ("valid", "b")):
        images, xml = (tmp_path / place.format(split=split, folder=folder) for folder in ("images", "labels"))
        fill(images, xml, {name: [BUS]})
    assert {split: part.ids[0][-1] for split, part in open_data(tmp_path).splits.items()} == {"train": "a", "val": "b"}


def test_of_two_folders_of_images_nobody_can_tell(tmp_path):
    fill(tmp_path / "photos", tmp_path / "labels")
    fill(tmp_path / "masks", tmp_path / "scratch")
    shutil.rmtree(tmp_path / "scratch")
    with pytest.raises(DataError, match="in two folders side by side"):
        open_data(tmp_path)


@pytest.mark.parametrize("kind", ["VOC", "COCO"])
def test_the_folders_of_roboflow_are_splits_of_one_list_of_classes(kind, tmp_path):
    for name, named in {"train": {"a": [CAR]}, "valid": {"b": [BUS]}, "test": {"c": []}}.items():
        if kind == "VOC":
            fill(tmp_path / name, tmp_path / name, named)
        else:
            coco(tmp_path / name / "_annotations.coco.json", tmp_path / name, named | {"z" + name: [BUS, CAR]})
    (tmp_path / "README.roboflow.txt").write_text("exported")
    data = open_data(tmp_path)
    assert (data.kind, data.classes) == (kind, ("bus", "car"))
    assert data.splits["train"][0].labels.tolist() == [2]
    assert data.splits["val"][0].labels.tolist() == [1]
    assert data.splits["test"][0].labels.tolist() == []


def test_coco_files_are_splits_by_their_names(tmp_path):
    for split in ("train", "val"):
        coco(tmp_path / "annotations" / f"instances_{split}2017.json", tmp_path / f"{split}2017", {split: [BUS]})
    (tmp_path / "annotations" / "captions_val2017.json").write_text("{}")
    data = open_data(tmp_path)
    assert {name: part.ids for name, part in data.splits.items()} == {"train": ("train",), "val": ("val",)}


def test_a_table_or_file_is_named_with_its_folder_of_images(tmp_path):
    table(tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    photograph(tmp_path / "more" / "x.jpg")
    with pytest.raises(DataError, match="name it"):
        open_data(tmp_path / "df.csv")
    assert open_data((tmp_path / "df.csv", tmp_path / "elsewhere")).kind == "Open Images"
    assert open_data(str(tmp_path / "df.csv"), images=tmp_path / "elsewhere").kind == "Open Images"


def test_a_folder_of_images_is_no_part_of_voc(tmp_path):
    fill(tmp_path / "images", tmp_path / "labels")
    for folder in (tmp_path, tmp_path / "labels"):
        with pytest.raises(DataError, match="name the folder that holds them and the XML files"):
            open_data(folder, images=tmp_path / "images")


def test_a_table_with_tabs_is_found(tmp_path):
    table(tmp_path)
    path = (tmp_path / "df.csv").rename(tmp_path / "df.tsv")
    path.write_text(path.read_text().replace(",", "\t"))
    assert open_data(tmp_path).kind == "Open Images"


def test_the_folder_that_was_named_is_the_one_that_is_said_to_be_no_data_set(tmp_path):
    photograph(tmp_path / "images" / "a.jpg")
    with pytest.raises(DataError, match=rf"^{re.escape(str(tmp_path))}: this is no data set"):
        open_data(tmp_path)


def test_two_classes_that_are_most_likely_one_are_said(tmp_path):
    written = {"a": "bus", "b": "Bus", "c": "caf\u00e9", "d": "cafe\u0301"}  # the last accent is a sign of its own
    fill(tmp_path, tmp_path, {image: [replace(BUS, name=name)] for image, name in written.items()})
    assert open_data(tmp_path).notes == [
        "'Bus' and 'bus' are two classes; if they are one, write it in one way",
        "'cafe\u0301' and 'caf\u00e9' are two classes; if they are one, write it in one way",
    ]


def test_a_tenth_is_held_back_by_the_seed(tmp_path):
    fill(tmp_path, tmp_path, {f"{k:02}": [BUS] for k in range(20)})
    parts = [open_data(tmp_path, seed=seed).splits for seed in (0, 0, 1)]
    assert [len(splits["val"]) for splits in parts] == [2, 2, 2]
    assert parts[0]["val"].ids == parts[1]["val"].ids != parts[2]["val"].ids
    assert not set(parts[0]["val"].ids) & set(parts[0]["train"].ids)


def test_images_without_xml_are_background_when_asked(tmp_path):
    fill(tmp_path / "JPEGImages", tmp_path / "Annotations", {"a": [BUS], "b": [BUS]})
    photograph(tmp_path / "JPEGImages" / "empty.jpg")
    (tmp_path / "JPEGImages" / "folder.jpg").mkdir()
    # An annotation may name an image of another name: that one is no background.
    (tmp_path / "JPEGImages" / "b.jpg").rename(tmp_path / "JPEGImages" / "photo 7.jpg")
    path = tmp_path / "Annotations" / "b.xml"
    path.write_text(path.read_text().replace("b.jpg", "photo 7.jpg"))
    assert VOCDataset(tmp_path).ids == ("a", "b")
    dataset = VOCDataset(tmp_path, background=True)
    assert dataset.ids == ("a", "b", "empty")
    assert dataset[2].boxes.shape == (0, 4)
    photograph(tmp_path / "JPEGImages" / "empty.png")
    with pytest.raises(DataError, match=r"empty\.png: there is 'empty\.jpg' too, which is the same name"):
        VOCDataset(tmp_path, background=True)
    (tmp_path / "JPEGImages" / "empty.png").unlink()
    lists(tmp_path, train=["a", "empty"])
    assert open_data(tmp_path, background=True).kind == "VOC"
    with pytest.raises(DataError, match="it is missing; add it"):
        open_data(tmp_path)


def bad_folder(root):
    """Image `a` with two bad boxes, `b` cut short, and `c` as it should be."""
    fill(root, root, {"a": [BUS, CAR], "b": [BUS], "c": [BUS]})
    path = root / "a.xml"
    path.write_text(path.read_text().replace("<xmax>30<", "<xmax>90<").replace("<ymax>9<", "<ymax>7<"))
    photo = root / "b.jpg"
    photo.write_bytes(photo.read_bytes()[:-200])


def test_all_defects_are_listed_and_their_images_left_out_when_asked(tmp_path):
    bad_folder(tmp_path)
    with pytest.raises(DataError, match="3 defects; mend them, or leave out") as refusal:
        open_data(tmp_path)
    kinds = ["reaches beyond the image", "no area", "image cannot be read"]
    assert [one.kind for one in refusal.value.defects] == kinds
    assert all(one.message in str(refusal.value) for one in refusal.value.defects)
    data = open_data(tmp_path, skip_bad=True)
    assert [one.kind for one in data.defects] == kinds
    assert data.splits["train"].ids == data.splits["val"].ids == ("c",)


def test_bad_boxes_are_clipped_or_dropped_when_asked_and_counted(tmp_path):
    bad_folder(tmp_path)
    shutil.copy(tmp_path / "c.jpg", tmp_path / "b.jpg")
    for choice, boxes in (("clip", [[1, 2, 40, 20]]), ("drop", [])):
        data = open_data(tmp_path, bad_boxes=choice)
        found = {s.image_id: s.boxes.tolist() for part in data.splits.values() for s in part}
        assert found["a"] == boxes
        assert "left out: " in data.notes[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: (root / "ImageSets").mkdir(), "no data set that the course knows"),
        (lambda root: (root / "data.zip").write_bytes(b"PK"), "unpack it"),
        (lambda root: (root / "a.json.gz").write_bytes(b"\x1f\x8b"), "unpack it"),
        (lambda root: [(root / name).write_text("{}") for name in ("a.json", "b.json")], "no data set that the course"),
        (lambda root: (root / "notes.docx").write_bytes(b"PK"), "no COCO JSON"),
        (lambda root: [(root / name).write_text("x") for name in ("a.csv", "b.csv")], "both for 'train'"),
        (lambda root: (root / "a.json").write_text('{"images": [{"file_name": "\\x"}]}'), "not readable JSON"),
        (lambda root: (root / "a.json").write_text("{}"), "no list 'images'"),
        (lambda root: [(root / name).mkdir() for name in ("a.json", "b.csv")], "no data set that the course knows"),
    ],
)
def test_what_is_no_data_set_is_said_in_a_sentence(make, words, tmp_path):
    make(tmp_path)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    with pytest.raises(DataError, match=words):
        open_data(files[0] if len(files) == 1 else tmp_path)


def test_two_formats_in_one_data_set_are_refused(tmp_path):
    fill(tmp_path / "train", tmp_path / "train", {"a": [BUS]})
    coco(tmp_path / "valid" / "_annotations.coco.json", tmp_path / "valid")
    with pytest.raises(DataError, match="COCO and VOC"):
        open_data(tmp_path)
    assert json.loads((tmp_path / "valid" / "_annotations.coco.json").read_text())["images"]
