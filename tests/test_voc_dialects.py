"""What tools and people write who have never read VOC's documentation: read where it is clear, refused by name else.

Each kind was reported in public for some reader or other; a reader that guesses loses images or objects in silence.
"""

import os
import re
import unicodedata
import warnings
from pathlib import Path

import pytest
from PIL import Image

from frcnn_lessons.datasets import DataError, VOCDataset
from frcnn_lessons.datasets.reading import names_for
from test_voc import CAR, add_image, image_set


def folder(tmp_path, *names):
    for name in names:
        add_image(tmp_path, name, [CAR])
    return tmp_path


def rewrite(root, old, new, name="a"):
    path = root / "Annotations" / f"{name}.xml"
    text = path.read_text()
    assert re.search(old, text), "the test changes nothing"
    path.write_text(re.sub(old, new, text))


def flags(root):
    return [bool(sample.difficult[0]) for sample in VOCDataset(root, None)]


# --- image lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [" 1", " 0", " -1", " -1.5", " 2"])
def test_a_name_may_end_like_a_mark(tmp_path, end):
    # "car -1" used to be the image "car", marked as without a car: left out, without a word.
    root = folder(tmp_path, f"car{end}", "car 2", "car")
    image_set(root, "train", f"car{end}\ncar\n")
    assert VOCDataset(root, "train").ids == (f"car{end}", "car")


def test_the_same_name_with_and_without_a_number_are_two_images_in_two_sets(tmp_path):
    root = folder(tmp_path, "photo", "photo 1", "photo 0")
    image_set(root, "train", "photo 1\n")
    image_set(root, "val", "photo\nphoto 0\n")
    assert (VOCDataset(root, "train").ids, VOCDataset(root, "val").ids) == (("photo 1",), ("photo", "photo 0"))


def test_marks_count_in_the_list_of_one_class(tmp_path):
    root = folder(tmp_path, "a", "b", "c")
    image_set(root, "car_train", "a  1\nb -1\nc  0\n")
    image_set(root, "tram_train", "a -1\nb 1\n")  # a class of one's own: every line is marked
    assert VOCDataset(root, "car_train").ids == ("a", "c")
    assert VOCDataset(root, "tram_train").ids == ("b",)


def test_a_mark_in_another_list_is_part_of_a_name_that_is_missing(tmp_path):
    root = folder(tmp_path, "a", "b")
    image_set(root, "train", "a -1\nb\n")
    with pytest.raises(DataError, match=r"line 1 is 'a -1', and there is no such annotation; leave 'a' alone on it"):
        VOCDataset(root, "train")
    image_set(root, "train", "z -1\nb\n")
    with pytest.raises(DataError, match=r"z -1\.xml: image set 'train' names this file, but it is missing"):
        VOCDataset(root, "train")


@pytest.mark.parametrize(
    "line",
    ["a.jpg", "a.JPG", "a.xml", "/data/VOC/JPEGImages/a.jpg", r"C:\VOC\JPEGImages\a.jpg", "a\t", "\ufeffa", "./a",
     "JPEGImages/a.jpg", "VOC2007/Annotations/a.xml", r"JPEGImages\a.jpg", "/elsewhere/a.png"],
)  # fmt: skip
def test_a_line_may_hold_an_ending_or_the_path_of_another_machine(tmp_path, line):
    root = folder(tmp_path, "a")
    image_set(root, "train", f"{line}\r\n")
    assert VOCDataset(root, "train").ids == ("a",)


@pytest.mark.parametrize(("on_disk", "listed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_an_accent_may_be_written_in_two_ways(tmp_path, on_disk, listed):
    root = folder(tmp_path, unicodedata.normalize(on_disk, "café"))
    image_set(root, "train", unicodedata.normalize(listed, "café") + "\n")
    assert len(VOCDataset(root, "train")[0].boxes) == 1


def test_a_mark_behind_an_accent_and_a_name_that_ends_like_one(tmp_path):
    root = folder(tmp_path, *(unicodedata.normalize("NFC", name) for name in ("café", "café 1", "thé")))
    image_set(root, "car_train", unicodedata.normalize("NFD", "café -1\ncafé 1\nthé 1\n"))
    ids = VOCDataset(root, "car_train").ids
    assert [unicodedata.normalize("NFC", name) for name in ids] == ["café 1", "thé"]


def test_an_accent_written_in_two_ways_is_one_name(tmp_path):
    root = folder(tmp_path, unicodedata.normalize("NFC", "café"))
    image_set(root, "train", "".join(unicodedata.normalize(form, "café\n") for form in ("NFC", "NFD")))
    with pytest.raises(DataError, match=r"line 2 names .* a second time"):
        VOCDataset(root, "train")


def test_a_path_of_another_machine_keeps_the_sub_folder(tmp_path):
    # Both are called "a": the last part alone would be the other image.
    root = folder(tmp_path, "a", "job/a")
    image_set(root, "train", "/data/VOC/JPEGImages/job/a.jpg\n")
    image_set(root, "val", "/data/VOC/JPEGImages/gone/a.jpg\n")
    assert VOCDataset(root, "train").ids == ("job/a",)
    with pytest.raises(DataError, match="is missing"):
        VOCDataset(root, "val")


def test_a_list_may_have_its_ending_in_capitals(tmp_path):
    root = folder(tmp_path, "a", "b")
    image_set(root, "train", "a\n")
    lists = root / "ImageSets" / "Main"
    (lists / "train.txt").rename(lists / "train.TXT")
    assert VOCDataset(root, "train").ids == ("a",)


def test_names_for_says_what_a_line_may_mean():
    assert list(names_for("a.b.jpg", (".jpg",))) == ["a.b.jpg", "a.b"]
    assert list(names_for("/x/a.jpg", (".jpg",))) == ["/x/a.jpg", "/x/a", "a.jpg", "a"]
    assert list(names_for("A_001.mp4#t=0", (".jpg",))) == ["A_001.mp4#t=0"]


# --- where annotations lie ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flat_images", [False, True])
def test_annotations_in_sub_folders_are_read(tmp_path, flat_images):
    root = folder(tmp_path, "a", "job/b")
    if flat_images:
        (root / "JPEGImages" / "job" / "b.jpg").rename(root / "JPEGImages" / "b.jpg")
    image_set(root, "train", "job/b\n")
    image_set(root, "val", "job\\b\n")
    for name in ("train", "val"):
        assert VOCDataset(root, name).ids[0].replace("\\", "/") == "job/b"
        assert VOCDataset(root, name).classes == ("car",)
    assert sorted(VOCDataset(root, None).ids) == ["a", "job/b"]


def test_an_ending_in_capitals_and_hidden_files(tmp_path):
    root = folder(tmp_path, "a")
    (root / "Annotations" / "a.xml").rename(root / "Annotations" / "a.XML")
    for name in (".a.xml", ".checkpoints/b.xml"):
        (root / "Annotations" / name).parent.mkdir(exist_ok=True)
        (root / "Annotations" / name).write_text("junk")
    assert VOCDataset(root, None).ids == ("a",)


@pytest.mark.parametrize("ending", [".JPG", ".Jpg", ".Jpeg", ".PNG", ".Png"])
def test_the_ending_of_an_image_may_have_capitals(tmp_path, ending):
    root = folder(tmp_path, "a")
    photo = root / "JPEGImages" / "a.jpg"
    size = VOCDataset(root, None)[0].size
    photo.rename(photo.with_suffix(ending))
    assert VOCDataset(root, None)[0].size == size


def test_of_images_that_differ_in_their_ending_the_one_that_is_named_is_read_or_the_first(tmp_path):
    root = folder(tmp_path, "a")
    photo = root / "JPEGImages" / "a.jpg"
    for ending in (".Jpg", ".JPG", ".png"):
        photo.with_suffix(ending).write_bytes(photo.read_bytes())
    for named in ("a.jpg", "a.JPG", "a.Jpg", "a.png"):
        rewrite(root, "<filename>.*</filename>", f"<filename>{named}</filename>")
        assert VOCDataset(root, None).image_path(0).name == named
    rewrite(root, "<filename>.*</filename>", "<filename>once called so.bmp</filename>")
    assert VOCDataset(root, None).image_path(0) == photo


def test_two_annotations_of_one_name_are_refused(tmp_path):
    root = folder(tmp_path, "a")
    (root / "Annotations" / "a.XML").write_text((root / "Annotations" / "a.xml").read_text())
    if len(list((root / "Annotations").iterdir())) == 1:
        pytest.skip("this disk does not tell capitals from small letters")
    with pytest.raises(DataError, match=r"there is 'a\.(xml|XML)' too, which is the same name; remove one"):
        VOCDataset(root, None)


def test_images_are_found_without_listing_their_folder(tmp_path, monkeypatch):
    # Listing it for each name tried took twenty times as long for 2,000 images, and the square of that for more.
    root = folder(tmp_path, "a", "b")
    for name in ("a", "b"):
        (root / "JPEGImages" / f"{name}.jpg").rename(root / "JPEGImages" / f"{name}.PNG")
        rewrite(root, "<filename>.*</filename>", "<filename>once.jpg</filename>", name)
    listed = []
    for name in ("listdir", "scandir"):
        plain = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path, plain=plain: listed.append(Path(path).name) or plain(path))
    assert VOCDataset(root, None).ids == ("a", "b")
    assert "Annotations" in listed
    assert "JPEGImages" not in listed


@pytest.mark.parametrize("stray", ["<annotations/>", "not XML at all", "<annotation><object/></annotation>"])
def test_what_no_list_names_cannot_refuse_a_listed_set(tmp_path, stray):
    root = folder(tmp_path, "a")
    (root / "Annotations" / "annotations.xml").write_text(stray)
    image_set(root, "train", "a\n")
    assert VOCDataset(root, "train").ids == ("a",)
    with pytest.raises(DataError, match=r"annotations\.xml"):
        VOCDataset(root, None)


@pytest.mark.parametrize("filename", ["/home/ada/VOC/a.jpg", r"C:\data\a.jpg", "/somewhere/else.jpg", "../x/../a.jpg"])
def test_a_filename_of_another_machine_is_its_last_part_or_nothing(tmp_path, filename):
    root = folder(tmp_path, "a")
    rewrite(root, "<filename>.*</filename>", f"<filename>{filename}</filename>".replace("\\", r"\\"))
    if filename.startswith(".."):
        with pytest.raises(DataError, match="lies outside"):
            VOCDataset(root, None)
    else:
        assert len(VOCDataset(root, None)) == 1


def test_links_to_images_and_folders_are_followed(tmp_path):
    root = folder(tmp_path / "own", "a")
    elsewhere = tmp_path / "elsewhere"
    (root / "JPEGImages").rename(elsewhere)
    (root / "JPEGImages").mkdir()
    (root / "JPEGImages" / "a.jpg").symlink_to(elsewhere / "a.jpg")
    assert VOCDataset(root, None)[0].image.shape == (3, 30, 40)
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "JPEGImages").rmdir()
    (tmp_path / "labels").mkdir()
    (root / "Annotations" / "a.xml").rename(tmp_path / "labels" / "a.xml")
    (root / "Annotations" / "job").symlink_to(tmp_path / "labels")
    (tmp_path / "labels" / "back").symlink_to(root / "Annotations")  # a circle
    (root / "JPEGImages").symlink_to(elsewhere)
    assert VOCDataset(root, None)[0].image.shape == (3, 30, 40)


# --- tags --------------------------------------------------------------------------------------------------------


def test_an_object_inside_another_is_refused_and_not_lost(tmp_path):
    root = folder(tmp_path, "a", "b")
    rewrite(root, r"(?s)(<object>.*)</object>", r"\1<part>\1</object></part></object>")
    with pytest.raises(DataError, match=r"a\.xml: object 1 \(car\) has another <object> inside; put it beside"):
        VOCDataset(root, None)


@pytest.mark.parametrize("options", [{}, {"one_based": False}, {"bad_boxes": "clip"}])
def test_relative_boxes_are_refused_and_not_taken_for_a_few_pixels(tmp_path, options):
    root = folder(tmp_path, "a")
    rewrite(
        root, r"(?s)<bndbox>.*</bndbox>", "<bndbox><xmin>.1</xmin><ymin>0</ymin><xmax>.5</xmax><ymax>1</ymax></bndbox>"
    )
    with pytest.raises(DataError, match=r"lies between 0 and 1, but VOC's boxes are in pixels; multiply it by"):
        VOCDataset(root, None, **options)


def test_tags_in_capitals_are_tags(tmp_path):
    root = folder(tmp_path, "a")
    rewrite(root, "<(/?)(object|bndbox|difficult|name|xmin|annotation|size)>", lambda m: f"<{m[1]}{m[2].title()}>")
    rewrite(root, "<Difficult>0", "<Difficult>1")
    assert flags(root) == [True]


@pytest.mark.parametrize("around", ["objects", "Objects", "items"])
def test_objects_inside_one_more_element_are_objects(tmp_path, around):
    root = folder(tmp_path, "a")
    rewrite(root, r"(?s)(<object>.*</object>)", rf"<{around}>\1</{around}>")
    assert len(VOCDataset(root, None)[0].boxes) == 1


@pytest.mark.parametrize("line", ["a car", "a 1 car", "JPEGImages/a.jpg Annotations/a.xml"])
def test_a_second_column_is_refused_by_its_line(tmp_path, line):
    root = folder(tmp_path, "a", "b")
    image_set(root, "train", f"b\n{line}\n")
    with pytest.raises(DataError, match=rf"line 2 is '{line}', and there is no such annotation; leave .* alone on it"):
        VOCDataset(root, "train")


@pytest.mark.parametrize(
    "change", [("object>", "thing>"), (r"(?s)<object>(.*)</object>", r"\1"), ("object>|bndbox>", "box>")]
)
def test_a_box_that_belongs_to_no_object_is_refused_and_not_taught_as_background(tmp_path, change):
    root = folder(tmp_path, "a", "b")
    rewrite(root, *change)
    with pytest.raises(DataError, match=r"a\.xml has 1 <(bndbox|xmin)> that belong to no <object>"):
        VOCDataset(root, None, ["car"])


@pytest.mark.parametrize(
    ("objects", "tag"),
    [
        ("<data><objects><object><name>car</name><polygon/></object></objects></data>", "object"),
        ("<item><name>car</name><bbox>1 2 3 4</bbox></item>", "bbox"),
        ("<item><name>car</name><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></item>", "xmin"),
        ('<box label="car" xtl="1" ytl="1" xbr="9" ybr="9"/>', "box"),
    ],
)
def test_objects_in_a_form_of_their_own_are_refused_and_not_taught_as_background(tmp_path, objects, tag):
    root = folder(tmp_path, "a", "b")
    rewrite(root, r"(?s)<object>.*</object>", objects)
    with pytest.raises(DataError, match=rf"a\.xml has 1 <{tag}> that belong to no <object>; put each into one"):
        VOCDataset(root, None, ["car"])


@pytest.mark.parametrize(
    "change", [("<annotation>", '<annotation xmlns="urn:x">'), ("<object>", '<object xmlns="urn:x">')]
)
def test_tags_of_a_namespace_are_tags(tmp_path, change):
    root = folder(tmp_path, "a")
    rewrite(root, *change)
    assert len(VOCDataset(root, None)[0].boxes) == 1


def test_two_tags_that_differ_in_case_only_are_refused(tmp_path):
    root = folder(tmp_path, "a")
    rewrite(root, "<difficult>0</difficult>", "<difficult>0</difficult><Difficult>1</Difficult>")
    with pytest.raises(DataError, match="has 2 <difficult>"):
        VOCDataset(root, None)


# --- flags -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", False), ("1", True), ("0.0", False), ("1.0", True), (" 1 ", True), ("", False), ("False", False),
        ("TRUE", True), ("yes", True), ("No", False), ("01", True),
        ("y", True), ("n", False),
    ],
)  # fmt: skip
def test_every_way_to_write_a_flag_is_read(tmp_path, text, expected):
    root = folder(tmp_path, "a")
    rewrite(root, "<difficult>0<", f"<difficult>{text}<")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flags(root) == [expected]


def test_words_that_are_no_flag_are_not_set_and_warned_of_once(tmp_path):
    root = folder(tmp_path, "a", "b", "c")
    for name, word in (("a", "Unspecified"), ("b", "2"), ("c", "Unspecified")):
        rewrite(root, "<difficult>0<", f"<difficult>{word}<", name)
    with pytest.warns(
        UserWarning, match=r"taken as not set: 3, such as .*a\.xml: object 1 \(car\): difficult 'Unspecified'"
    ) as caught:
        assert not any(flag for sample in [VOCDataset(root, None)] for flag in sample.annotation(0)["difficult"])
    assert len(caught) == 1


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "big5"])
def test_an_encoding_that_cannot_be_read_has_its_remedy(tmp_path, encoding):
    root = folder(tmp_path, "a")
    path = root / "Annotations" / "a.xml"
    text = path.read_text().split("\n", 1)[1]
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'.encode(encoding))
    with pytest.raises(DataError, match=r"a\.xml: .*; save it as UTF-8"):
        VOCDataset(root, None)


@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="utf-8"?>\n'])
def test_an_encoding_other_than_the_declared_one_has_its_remedy(tmp_path, declared):
    root = folder(tmp_path, "a")
    rewrite(root, "<name>car<", "<name>汽车<")
    path = root / "Annotations" / "a.xml"
    text = path.read_text(encoding="utf-8")
    path.write_bytes((declared + text[text.index("<annotation>") :]).encode("gbk"))
    with pytest.raises(DataError, match=r"a\.xml: .*; save it as UTF-8"):
        VOCDataset(root, None)


# --- images and paths --------------------------------------------------------------------------------------------


def test_a_class_that_looks_like_another_for_a_sign_that_is_not_seen_is_refused(tmp_path):
    root = folder(tmp_path, "a", "b")
    rewrite(root, "<name>car<", "<name>car\u200b<")
    with pytest.raises(DataError, match=r"a\.xml: object 1 has the <name> 'car\\u200b', which cannot be printed"):
        VOCDataset(root, None)
    with pytest.warns(UserWarning, match="1 of 2 images left out"):
        assert VOCDataset(root, None, on_error="skip").classes == ("car",)


@pytest.mark.parametrize(("choice", "shape"), [("ignore", (3, 30, 40)), ("apply", (3, 40, 30))])
def test_an_image_that_exif_turns_is_read_as_one_says(tmp_path, choice, shape):
    root = folder(tmp_path, "a")
    path = root / "JPEGImages" / "a.jpg"
    tags = Image.Exif()
    tags[0x0112] = 6
    with Image.open(path) as image:
        image.save(path, exif=tags)
    with pytest.raises(DataError, match=r"EXIF orientation 6 .* pass exif='apply'"):
        VOCDataset(root, None)
    if choice == "apply":  # the annotation was made on the turned picture
        rewrite(root, "<width>40</width>", "<width>30</width>")
        rewrite(root, "<height>30</height>", "<height>40</height>")
    sample = VOCDataset(root, None, exif=choice)[0]
    assert sample.image.shape == shape
    assert sample.size == shape[1:]


def test_a_home_folder_may_be_written_short(tmp_path, monkeypatch):
    folder(tmp_path / "home" / "data", "a")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert VOCDataset("~/data", None).ids == ("a",)
