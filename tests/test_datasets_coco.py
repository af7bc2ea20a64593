"""What the reader of COCO files promises: a `Sample` as from VOC, bad files refused in one sentence. Lesson 12."""

import json
import pickle
import warnings

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from PIL import Image
from torch.utils.data import DataLoader

from frcnn_lessons.datasets import COCODataset, DataError, VOCDataset, collate
from helpers.coco_files import as_coco, write_coco

SIZE = (30, 40)  # high, wide


def photograph(path, size=SIZE, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).convert(mode).save(path)


def entry(given, image, category, box, **more):
    return {"id": given, "image_id": image, "category_id": category, "bbox": box, **more}


def content():
    """Image `a` with a bus and a crowd of trucks, `b` with a bus, `c` with nothing; ids with gaps."""
    return {
        "images": [
            {"id": 9, "file_name": "a.jpg", "width": 40, "height": 30},
            {"id": 4, "file_name": "b.jpg", "width": 40, "height": 30},
            {"id": 300, "file_name": "c.jpg", "image_id": "of the camera"},
        ],
        "annotations": [
            entry(21, 9, 7, [0, 3, 20, 12.5], iscrowd=0),
            entry(35, 4, 7, [1.25, 2, 10, 20]),
            entry(17, 9, 12, [10, 15, 30, 15], iscrowd=1, segmentation={"size": [30, 40], "counts": [0, 1200]}),
        ],
        "categories": [{"id": 12, "name": "truck"}, {"id": 7, "name": " bus"}],
    }


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b", "c"):
        photograph(tmp_path / "images" / f"{name}.jpg")
    write_coco(tmp_path / "boxes.json", content())
    return tmp_path


def read(root, **options):
    return COCODataset(root / "boxes.json", root / "images", **options)


def change(root, edit):
    data = content()
    edit(data)
    write_coco(root / "boxes.json", data)


def test_corner_and_size_become_edges_and_a_crowd_is_difficult(root):
    dataset = read(root)
    assert dataset.ids == ("a", "b", "c")
    assert dataset.classes == ("bus", "truck")  # in the order of the ids 7 and 12
    image, boxes, labels, difficult, image_id, size = dataset[0]
    assert boxes.tolist() == [[0, 3, 20, 15.5], [10, 15, 40, 30]]
    assert (boxes.dtype, boxes.canvas_size) == (torch.float32, SIZE)
    assert (labels.tolist(), difficult.tolist()) == ([1, 2], [False, True])
    assert (image_id, size, tuple(image.shape)) == ("a", SIZE, (3, *SIZE))
    assert dataset[2].boxes.shape == (0, 4)  # an image without annotations has no objects


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_and_cmyk_photographs_are_read(root, mode):
    photograph(root / "images" / "a.jpg", mode=mode)
    assert read(root)[0].image.shape == (3, *SIZE)


def test_ids_may_be_text_in_one_list_and_numbers_in_the_other_and_sides_may_be_text(root):
    before = [read(root).annotation(i)["boxes"].tolist() for i in range(3)]

    def edit(data):
        for one in data["annotations"]:
            one["image_id"], one["category_id"] = str(one["image_id"]), float(one["category_id"])
            one["bbox"] = [str(side) for side in one["bbox"]]

    change(root, edit)
    assert [read(root).annotation(i)["boxes"].tolist() for i in range(3)] == before


def test_an_annotation_may_name_the_file_of_its_image_and_a_class_may_be_called_0(root):
    before = [read(root).annotation(i)["boxes"].tolist() for i in range(3)]

    def edit(data):
        data["categories"][1]["name"] = 0
        for one in data["annotations"]:
            one["file_name"] = "a.jpg"

    change(root, edit)
    assert read(root).classes == ("0", "truck")
    assert [read(root).annotation(i)["boxes"].tolist() for i in range(3)] == before


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_the_encoding_is_found(root, encoding):
    text = json.dumps(content() | {"info": {"description": "Straßen"}}, ensure_ascii=False)
    (root / "boxes.json").write_text(text, encoding=encoding)
    assert len(read(root)) == 3


def test_a_file_name_may_lead_through_folders_of_another_machine(root):
    def edit(data):
        names = ("C:\\photos\\a.jpg", "../upload/b.jpg", "/data/local/c.jpg")
        for one, name in zip(data["images"], names, strict=True):
            one["file_name"] = name

    change(root, edit)
    assert len(read(root)) == 3
    photograph(root / "secret.jpg")
    change(root, lambda data: data["images"][0].update(file_name="../secret.jpg"))
    with pytest.raises(DataError, match=r"does not hold \.\./secret\.jpg"):
        read(root)


def test_a_heading_is_no_class_and_two_categories_of_one_name_are_one_class(root):
    def edit(data):
        data["categories"] = [
            {"id": 0, "name": "vehicles", "supercategory": "none"},
            {"id": 7, "name": "bus", "supercategory": "vehicles"},
            {"id": 12, "name": "bus", "supercategory": "vehicles"},
            {"id": 13, "name": "tram", "supercategory": "vehicles"},
        ]

    change(root, edit)
    assert read(root).classes == ("bus", "tram")
    assert read(root)[0].labels.tolist() == [1, 1]


def test_what_rounding_puts_beyond_the_border_is_put_back(root):
    change(root, lambda data: data["annotations"][0].update(bbox=[-0.004, 3, 40.01, 12]))
    assert read(root)[0].boxes[0].tolist() == pytest.approx([0, 3, 40, 15])
    change(root, lambda data: data["annotations"][0].update(bbox=[0, 3, 40.02, 12]))
    with pytest.raises(DataError, match="reaches beyond the image"):
        read(root)


def test_unknown_classes_are_dropped_when_asked(root):
    with pytest.raises(DataError, match=r"annotation 17 \(truck in a\.jpg\) is of an unknown class \(known: bus\)"):
        read(root, classes=["bus"])
    with pytest.warns(UserWarning, match="objects left out: 1"):
        dataset = read(root, classes=["bus"], unknown="drop")
    assert (dataset.dropped, dataset[0].labels.tolist()) == (1, [1])


@pytest.mark.parametrize(
    ("choice", "boxes"), [("clip", [[0, 3, 40, 15], [10, 15, 40, 30]]), ("drop", [[10, 15, 40, 30]])]
)
def test_boxes_are_clipped_or_left_out_when_asked_and_counted(root, choice, boxes):
    def edit(data):
        data["annotations"][0]["bbox"] = [-5, 3, 50, 12]
        data["annotations"] += [entry(1, 9, 7, [3, 3, 0, 9]), entry(2, 9, 7, [50, 3, 5, 9])]

    change(root, edit)
    with pytest.warns(UserWarning, match="cut at the border"):
        dataset = read(root, bad_boxes=choice)
    assert dataset[0].boxes.tolist() == boxes
    assert (dataset.clipped, dataset.left_out) == ((1, 2) if choice == "clip" else (0, 3))


def test_all_that_is_wrong_with_an_image_is_listed(root):
    def edit(data):
        data["annotations"][0]["bbox"] = [-5, 3, 50, 12]
        data["annotations"][2]["bbox"] = [3, 3, -2, 9]
        data["images"][0]["width"] = 41

    change(root, edit)
    with pytest.warns(UserWarning, match="1 of 3 images left out"):
        dataset = read(root, on_error="skip")
    assert [one.kind for one in dataset.defects] == ["size differs", "reaches beyond the image", "no area"]
    assert {one.path for one in dataset.defects} == {root / "images" / "a.jpg"}
    assert dataset.defects[1].box == (-5, 3, 45, 15)
    assert dataset.ids == ("b", "c")


# name: (what breaks it, what the message must hold)
BAD = {
    "no such image": (lambda data: data["annotations"][0].update(image_id=10), ["annotation 21 has the image_id 10"]),
    "no image_id": (lambda data: data["annotations"][0].pop("image_id"), ["annotation 21 has the image_id None"]),
    "no such category": (lambda data: data["annotations"][0].update(category_id=8), ["annotation 21", "category_id 8"]),
    "null in the list": (lambda data: data["annotations"].insert(1, None), ["annotation number 2 of the list is null"]),
    "a word in the list": (
        lambda data: data["annotations"].append("bus"),
        ["annotation number 4 of the list is 'bus', no object with an id; remove it"],
    ),
    "no box": (lambda data: data["annotations"][0].pop("bbox"), ["annotation 21 (bus in a.jpg) has no bbox"]),
    "empty box": (lambda data: data["annotations"][0].update(bbox=[]), ["annotation 21 (bus in a.jpg)", "bbox []"]),
    "five sides": (lambda data: data["annotations"][0].update(bbox=[1, 2, 3, 4, 5]), ["annotation 21", "x, y, width"]),
    "NaN": (lambda data: data["annotations"][0].update(bbox=[1, 2, float("nan"), 4]), ["width of the bbox is 'nan'"]),
    "infinite": (lambda data: data["annotations"][0].update(bbox=[1, 2, 3, float("inf")]), ["height of the bbox"]),
    "a word": (lambda data: data["annotations"][0].update(bbox=["left", 2, 3, 4]), ["x of the bbox is 'left'"]),
    "null": (lambda data: data["annotations"][0].update(bbox=[None, 2, 3, 4]), ["x of the bbox is 'None'"]),
    "no width": (lambda data: data["annotations"][0].update(bbox=[1, 2, 0, 4]), ["(bus in a.jpg) is 0 wide"]),
    "outside": (lambda data: data["annotations"][0].update(bbox=[1, 2, 90, 4]), ["reaches beyond the image"]),
    "twice": (lambda data: data["annotations"].append(data["annotations"][0]), ["is there twice"]),
    "another size": (lambda data: data["images"][0].update(width=41), ["(a.jpg) should be 41 x 30", "40 x 30"]),
    "size in words": (lambda data: data["images"][0].update(width="wide"), ["(a.jpg): width is 'wide'"]),
    "image missing": (lambda data: data["images"][0].update(file_name="z.jpg"), ["does not hold z.jpg"]),
    "no file name": (lambda data: data["images"][0].pop("file_name"), ["image 9 has the file_name None"]),
    "a width of 400 digits": (lambda data: data["images"][1].update(width=10**400), ["image 4", "is not a number"]),
    "one file twice": (lambda data: data["images"][1].update(file_name="a.jpg"), ["image 4 has the file a.jpg, as"]),
}  # fmt: skip
BAD_FILES = {
    "image id twice": (lambda data: data["images"][1].update(id=9), ["the id 9 is there twice among the image"]),
    "category id twice": (lambda data: data["categories"][1].update(id=12), ["12 is there twice among the category"]),
    "no image id": (lambda data: data["images"][1].pop("id"), ["image number 2 of the list has no id"]),
    "null among the images": (lambda data: data["images"].append(None), ["image number 4 of the list is null; remove"]),
    "null among the classes": (
        lambda data: data["categories"].insert(0, None),
        ["category number 1 of the list is"],
    ),
    "no name": (lambda data: data["categories"][1].update(name=" "), ["category 7 has the name ''"]),
    "a name that is not seen": (lambda data: data["categories"][1].update(name="bus\u200b"), ["name 'bus\\u200b'"]),
    "no annotations": (lambda data: data.pop("annotations"), ["no list 'annotations'"]),
    "no images": (lambda data: data.update(images=[]), ["no image in the file"]),
    "relative": (
        lambda data: [one.update(bbox=[0.1, 0.2, 0.3, 0.4]) for one in data["annotations"]],
        ["all boxes lie between 0 and 1"],
    ),
    "boxes elsewhere": (lambda data: data.update(extra=[entry(1, 2, 3, [1, 2, 3, 4])]), ["outside of the list"]),
}


@pytest.mark.parametrize("name", BAD | BAD_FILES)
def test_what_is_wrong_is_refused_with_one_sentence(name, root, check_refusal):
    edit, words = (BAD | BAD_FILES)[name]
    change(root, edit)
    with pytest.raises(DataError) as refusal:
        read(root)
    check_refusal(str(refusal.value), words, root)


@pytest.mark.parametrize("name", BAD)
def test_a_defect_is_listed_and_the_rest_is_read_when_asked(name, root):
    edit, words = BAD[name]
    change(root, edit)
    with pytest.warns(UserWarning, match="images left out"):
        dataset = read(root, on_error="skip")
    assert [word for word in words if word not in dataset.defects[0].message] == []
    assert "c" in dataset.ids


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"images": [}', b"[]", b"3", b"\xff\xfe\x00", b"[" * 100_000, b'{"images": 3}', b"\xe4\x00{"]
)
def test_what_is_no_coco_file_is_refused(text, root, check_refusal):
    (root / "boxes.json").write_bytes(text)
    with pytest.raises(DataError) as refusal:
        read(root)
    check_refusal(str(refusal.value), ["JSON"], root)


def test_corners_in_place_of_sizes_are_refused(root):
    data = content()
    for one, box in zip(data["annotations"], ([10, 12, 38, 28], [20, 15, 40, 30], [5, 5, 39, 29]), strict=False):
        one["bbox"] = box
    assert len(data["annotations"]) >= 3
    write_coco(root / "boxes.json", data)
    for choice in ("raise", "skip"):
        with pytest.raises(DataError, match="all fit as corners"):
            read(root, on_error=choice)


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([]), st.just({}), st.just([None])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(place=st.integers(0, 60), odd=ODD, choice=st.sampled_from(["raise", "skip"]))
def test_whatever_stands_in_the_file_only_a_data_error_is_raised(root, place, odd, choice):
    data = content()
    places = [(data, name) for name in data]
    for entries in data.values():
        places += [(entries, k) for k in range(len(entries))] + [(one, name) for one in entries for name in one]
    owner, name = places[place % len(places)]
    owner[name] = odd
    write_coco(root / "boxes.json", data)
    with warnings.catch_warnings(action="ignore"):
        try:
            dataset = read(root, on_error=choice)
        except DataError:
            return
        assert [sample.image_id for sample in dataset] == list(dataset.ids)


def test_a_truncated_photograph_is_found_before_training(root):
    path = root / "images" / "a.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.warns(UserWarning, match="1 of 3"):
        dataset = read(root, on_error="skip")
    assert [one.kind for one in dataset.defects] == ["image cannot be read"]


def test_both_readers_agree_box_for_box(tmp_path, shared_folder):
    folder = shared_folder / "data" / "VOCdevkit-2012-100"
    of_voc = VOCDataset(folder)
    of_coco = COCODataset(write_coco(tmp_path / "all.json", as_coco(of_voc)), folder / "JPEGImages")
    assert (of_coco.ids, of_coco.classes) == (of_voc.ids, of_voc.classes)
    for i in range(len(of_voc)):
        ours, theirs = of_coco.annotation(i), of_voc.annotation(i)
        assert all(torch.equal(ours[name], theirs[name]) for name in ("boxes", "labels", "difficult"))
        assert ours["size"] == theirs["size"]


@pytest.mark.slow
def test_workers_that_are_started_anew_give_the_same_images(root):
    dataset = read(root)
    loader = DataLoader(dataset, 3, num_workers=1, collate_fn=collate, multiprocessing_context="spawn")
    images, targets = next(iter(loader))
    assert torch.equal(images[0], dataset[0].image)
    assert [target["image_id"] for target in targets] == ["a", "b", "c"]


def test_a_data_set_pickles_small(tmp_path):
    photograph(tmp_path / "a.jpg")
    boxes = [entry(k, 1, 1, [k % 30 + k / 1e4, 1, 5, 5]) for k in range(3000)]
    data = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": boxes, "categories": [{"id": 1, "name": "x"}]}
    dataset = COCODataset(write_coco(tmp_path / "a.json", data), tmp_path)
    packed = pickle.dumps(dataset)
    assert len(packed) < 25 * 3000  # four numbers of four bytes, a label, a flag
    assert torch.equal(pickle.loads(packed).annotation(0)["boxes"], dataset.annotation(0)["boxes"])
