"""Read and write PASCAL VOC folders: `JPEGImages/`, an XML file each in `Annotations/`, lists in `ImageSets/Main/`.

On disk a VOC box counts pixels from 1 and includes both ends: the box of the top left pixel is (1, 1, 1, 1). Inside
the course a box is its edges, (0, 0, 1, 1), so that width = x2 - x1. Hence `(xmin - 1, ymin - 1, xmax, ymax)` when
reading, and the other way round when writing. Lesson 02.

Source: Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", and the VOC 2007 development kit.
"""

import functools
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import defusedxml
from defusedxml import ElementTree as DefusedElementTree

from frcnn_lessons.datasets.images import MAX_PIXELS, check_image
from frcnn_lessons.datasets.reading import (
    IMAGE_ENDINGS,
    AnnotatedImages,
    Found,
    Options,
    Record,
    attempt,
    check_objects,
    check_options,
    check_span,
    file_inside,
    image_inside,
    names_for,
    number,
    read_flag,
    record,
    same_name,
    warn_of_flags,
)
from frcnn_lessons.datasets.sample import AnnotatedObject, DataError, Sample
from frcnn_lessons.files import user_path, written_whole

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# What only objects have. Anywhere else it is an object in a form that the reader does not know.
_OF_OBJECTS = ("bndbox", "xmin", "object", "robndbox", "bbox", "box", "polygon")


class VOCDataset(AnnotatedImages):
    """The images of a VOC folder as `Sample`s.

    Everything about the folder but the pixels is read and checked when the data set is made.

    Example:
        >>> dataset = VOCDataset("VOCdevkit/VOC2007", "trainval", VOC_CLASSES)  # doctest: +SKIP
        >>> image, boxes, labels, difficult, image_id, size = dataset[0]  # doctest: +SKIP
    """

    def __init__(
        self,
        root: Path | str,
        image_set: str | None = "trainval",
        classes: Sequence[str] | None = None,
        *,
        transform: Callable[[Sample], Sample] | None = None,
        one_based: bool = True,
        unknown: str = "raise",
        on_error: str = "raise",
        bad_boxes: str = "raise",
        background: bool = False,
        max_pixels: int = MAX_PIXELS,
        exif: str = "refuse",
    ) -> None:
        """Read the annotations and image headers of a VOC folder.

        An image is looked for under the `<filename>` of its annotation, then under the annotation's own name with
        .jpg, .jpeg or .png: in many folders `<filename>` is what the file was once called. Required in an annotation
        are `size` (`width`, `height`), and for each `object` a `name` and a `bndbox` (`xmin`, `ymin`, `xmax`, `ymax`);
        an object without `difficult` is not difficult; the boxes of an object's `part`s are not read. Equal corners
        (xmax = xmin) are refused: in VOC's counting one pixel, but what tools write for a click without a drag.
        Tags in capitals, objects inside one more element and annotations in sub-folders are read; a box that belongs
        to no object is refused, as the image would be taught as background.

        Args:
            root: the folder that holds `JPEGImages` (or `images`) and `Annotations`; or a folder above it with one such
                folder in it, as `VOCdevkit` is when one year was downloaded; or a folder with images and annotations
                side by side; or a folder with one folder of images and one of annotations, whatever they are called.
            image_set: name of a list in `ImageSets/Main`, such as "train". In the list of one class ("car_train") the
                images marked -1, without a car, are not part of the set. None means every annotation. A folder
                without `ImageSets/Main` has no test part: its "trainval" is every annotation.
            classes: names in the order of their labels, 1..C. None: all names in the folder's annotations, sorted, so
                that every image set of a folder gets the same labels. (What no list names may be no annotation at all.)
            transform: applied to each Sample before it is given, such as one of `torchvision.transforms.v2`.
            one_based: whether xmin and ymin count from 1, as VOC says; False for tools that wrote the edges,
                counting from 0.
            unknown: "raise" refuses an object of a class that is not in `classes`; "drop" leaves such objects out and
                warns of their number, which is in `dropped`.
            on_error: "raise" refuses the folder at the first image that cannot be used. "skip" leaves such images out
                (never single objects: what is left of the image would be taught as background), warns of their
                number, and lists the reasons in `skipped`; for that it decodes every image once.
            bad_boxes: "raise" refuses a box that has no area, reaches beyond its image or is there twice; "clip" cuts
                it at the border and leaves out what then has no area; "drop" leaves such objects out. Both warn of the
                number, which is in `clipped` and `left_out`; what is left out is taught as background.
            background: whether an image without an annotation is one without objects, and belongs to the set: if
                `image_set` names it, or if every annotation is read. Else such images are no part of the set.
            max_pixels: the largest image to accept.
            exif: "refuse" refuses an image that its EXIF says to turn; "apply" turns it, so its boxes belong to the
                picture as a person sees it; "ignore" leaves it as stored, so they belong to the pixels in the file.

        Raises:
            DataError: something in the folder cannot be used: the message says what, where, and what to do.
            ValueError: an option has a value that it cannot have.
        """
        options = Options(unknown, on_error, bad_boxes, max_pixels, exif)
        check_options(classes, options)
        root, annotations, images = _folders(user_path(root))
        files = _annotation_files(annotations)
        unread: list[str] = []  # flags that are neither 0 nor 1

        @functools.cache  # each file is needed twice: for the class names and for its objects
        def parse(image_id: str) -> ElementTree.Element:
            path = files.get(same_name(image_id))
            if path is None:
                file_inside(annotations, f"{image_id}.xml", f"{root}: image set {image_set!r}")  # a name that can be?
                *_, base = names_for(image_id, ())
                missing = annotations / f"{base}.xml"
                raise DataError(
                    f"{missing}: image set {image_set!r} names this file, but it is missing; add it",
                    "annotation missing",
                )
            return _parse(path)

        without = _images_without(images, files, parse) if background else {}
        ids = _image_ids(root, image_set, files | without, classes or ())
        if classes is None:
            names: set[str] = set()
            wanted = set(map(same_name, ids))
            for image_id in [*ids, *(other for other in files if other not in wanted)]:
                if same_name(image_id) in without:
                    continue
                try:
                    names.update(_normal(entry.findtext("name")) for entry in _entries(parse(image_id)))
                except DataError:
                    if on_error == "raise" and same_name(image_id) in wanted:
                        raise
            classes = sorted(name for name in names if name and name.isprintable())
        labels = {name: label for label, name in enumerate(classes, start=1)}
        owners: dict[Path, str] = {}

        def read(image_id: str) -> Record:
            if (alone := without.get(same_name(image_id))) is not None:
                size = check_image(alone, max_pixels, exif=exif)
                return record(image_id, alone, size, [], labels, options)
            tree = parse(image_id)
            where = files[same_name(image_id)]
            path = _image_path(images, image_id, tree, where)
            if (owner := owners.setdefault(path, image_id)) != image_id:
                raise DataError(
                    f"{where} has the image {path.name}, as has {owner}.xml; correct one <filename>", "image of another"
                )
            size = check_image(path, max_pixels, exif=exif)
            return record(image_id, path, size, _objects(tree, size, one_based, where, unread), labels, options)

        super().__init__(root, classes, ids, read, transform, options)
        warn_of_flags(root, unread)


def write_annotation(
    path: Path | str,
    filename: str,
    size: tuple[int, int],
    objects: Sequence[AnnotatedObject],
    folder: str | None = None,
) -> None:
    """Write one VOC annotation file, whole or not at all; `VOCDataset` reads the same boxes back.

    Args:
        path: the XML file.
        filename: the name of the image in `JPEGImages`.
        size: its (height, width).
        objects: what to write. A box must be more than one pixel wide and high, see `VOCDataset`.
        folder: what the tag of that name says; the name of the folder that holds `Annotations` by default.

    Raises:
        DataError: an object that the reader would refuse; nothing is written then.
    """
    found = [
        Found(f"{path}: object {k} ({obj.name})", obj.name, obj.box, obj.difficult)
        for k, obj in enumerate(objects, start=1)
    ]
    check_objects(found, size)
    for text in (filename, *(obj.name for obj in objects), *(obj.pose for obj in objects)):
        if not text.isprintable() or text != _normal(text) or not text:
            raise DataError(
                f"{path}: {text!r} would not be read back the same; use a printable name without outer spaces"
            )

    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, tag: str, value: object = "") -> ElementTree.Element:
        child = ElementTree.SubElement(parent, tag)
        child.text = str(value)
        return child

    add(root, "folder", folder or Path(path).resolve().parent.parent.name)
    add(root, "filename", filename)
    add(add(root, "source"), "database", "frcnn-lessons")
    size_tag = add(root, "size")
    for tag, count in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        add(size_tag, tag, count)
    add(root, "segmented", 0)
    for obj, entry in zip(objects, found, strict=True):
        x1, y1, x2, y2 = obj.box
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
        check_span(corners["xmin"], corners["xmax"], "xmin", "xmax", entry.where, obj.box)
        check_span(corners["ymin"], corners["ymax"], "ymin", "ymax", entry.where, obj.box)
        tag_of_object = add(root, "object")
        add(tag_of_object, "name", obj.name)
        add(tag_of_object, "pose", obj.pose)
        for flag in ("truncated", "occluded", "difficult"):
            add(tag_of_object, flag, int(getattr(obj, flag)))
        bndbox = add(tag_of_object, "bndbox")
        for tag, value in corners.items():
            add(bndbox, tag, int(value) if value == int(value) else float(value))
    ElementTree.indent(root)
    with written_whole(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8")


def _folders(root: Path) -> tuple[Path, Path, Path]:
    """The VOC folder at `root` or below it, and its folders of annotations and images; see `VOCDataset`."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; check the path")
    if any(root.glob("[Aa]nnotations")):
        folder = root
    elif any(path.suffix.lower() == ".xml" for path in root.iterdir()):
        return root, root, root
    else:
        years = sorted(
            {found.parent for pattern in ("*", "VOCdevkit/*") for found in root.glob(f"{pattern}/[Aa]nnotations")}
        )
        if len(years) > 1:
            names = ", ".join(year.name for year in years)
            raise DataError(f"{root}: this folder holds several data sets ({names}); name the one to read")
        folder = years[0] if years else root
    images = next((folder / name for name in ("JPEGImages", "images", "Images") if (folder / name).is_dir()), None)
    annotations = min(folder.glob("[Aa]nnotations"), default=None)
    if images is None or annotations is None:
        if (pair := image_and_xml_folders(folder)) is None:
            missing = "Annotations" if annotations is None else "JPEGImages"
            raise DataError(f"{folder}: no {missing} folder; a VOC folder holds JPEGImages and Annotations")
        images, annotations = pair
    return folder, annotations, images


def image_and_xml_folders(root: Path) -> tuple[Path, Path] | None:
    """The folder of images and that of annotations in `root`, whatever they are called; None unless it has one each.

    Either may have its files in folders inside it; a folder with both kinds of files is neither.
    """
    folders: dict[frozenset[str], list[Path]] = {}
    for folder in sorted(one for one in root.iterdir() if one.is_dir() and one.name[0] not in "._"):
        endings = {path.suffix.lower() for pattern in ("*", "*/*") for path in folder.glob(pattern)}
        kinds = frozenset("XML" if ending == ".xml" else "image" for ending in endings & {".xml", *IMAGE_ENDINGS})
        folders.setdefault(kinds, []).append(folder)
    images, annotations = (folders.get(frozenset({kind}), []) for kind in ("image", "XML"))
    return (images[0], annotations[0]) if len(images) == len(annotations) == 1 else None


def _images_without(
    folder: Path, annotated: Mapping[str, Path], parse: Callable[[str], ElementTree.Element]
) -> dict[str, Path]:
    """The images, in the folder and below it, that belong to no annotation, by name without ending."""
    taken = set(annotated)
    for image_id in annotated:
        try:  # an annotation may name an image of another name
            filename = same_name((parse(image_id).findtext("filename") or "").strip())
        except DataError:
            continue
        *_, name = names_for(filename, IMAGE_ENDINGS)
        taken |= {name, same_name(str(Path(image_id).with_name(name.rpartition("/")[2] or "-")))}
    there = (path for path in sorted(folder.rglob("*")) if path.suffix in IMAGE_ENDINGS and path.name[0] != ".")
    alone: dict[str, Path] = {}
    for path in there:
        name = same_name(path.relative_to(folder).with_suffix("").as_posix())
        if name not in taken and path.is_file():
            _put(alone, name, path)
    return alone


def _annotation_files(folder: Path) -> dict[str, Path]:
    """The annotations in a folder and those below it, by name without ending ("job/a"), sorted; no hidden ones (half
    written, macOS's own).
    """
    named: dict[str, Path] = {}
    seen: set[str] = set()
    for place, below, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link to a folder above it
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(".xml") and not name.startswith("."):
                path = Path(place) / name
                key = same_name(path.relative_to(folder).with_suffix("").as_posix())
                _put(named, key, path)
    return {name: named[name] for name in sorted(named)}


def _put(named: dict[str, Path], name: str, path: Path) -> None:
    """Add a file by its name without ending; a second one of the same name is refused."""
    if (other := named.setdefault(name, path)) != path:
        raise DataError(f"{path}: there is {other.name!r} too, which is the same name; remove one of them")


def _image_ids(root: Path, image_set: str | None, files: Mapping[str, Path], classes: Sequence[str]) -> list[str]:
    """The names in an image set; see `VOCDataset`."""
    lists = root / "ImageSets" / "Main"
    if image_set is None or (image_set == "trainval" and not lists.is_dir()):
        if not files:
            raise DataError(f"{root / 'Annotations'}: the folder holds no annotation; put the XML files there")
        return list(files)
    known = {path.stem: path for path in sorted(lists.glob("*.[tT][xX][tT]")) if not path.name.startswith(".")}
    if image_set not in known:
        there = (
            f"there are {', '.join(known)}" if known else "there are none, and image_set=None reads every annotation"
        )
        raise DataError(f"{lists}: no image set is called {image_set!r}; {there}")
    path = known[image_set]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{path}: the image set cannot be read as text; write it again, one name a line") from None
    lines = [line.strip() for line in lines]
    marked = [re.fullmatch(r"(.+?)\s+(-1|0|1)", line) for line in lines]
    of_class, _, _ = image_set.rpartition("_")
    all_marked = of_class and all(mark or not line for line, mark in zip(lines, marked, strict=True))
    is_of_one_class = of_class in (*classes, *VOC_CLASSES) or all_marked

    def annotation(text: str) -> str | None:
        return next((name for name in names_for(text, (*IMAGE_ENDINGS, ".xml")) if same_name(name) in files), None)

    ids, seen = [], set()
    for number_of_line, (line, mark) in enumerate(zip(lines, marked, strict=True), start=1):
        if not line:
            continue
        # The whole line is a name, which may end in " 1"; only in the list of one class is "000005 -1" two things.
        name, keep = annotation(line) or line, True
        first = mark[1] if mark else line.split()[0]
        if mark and not annotation(line) and is_of_one_class:
            name, keep = annotation(first) or first, mark[2] != "-1"
        elif not annotation(line) and annotation(first):
            raise DataError(
                f"{path}: line {number_of_line} is {line!r}, and there is no such annotation; leave {first!r} alone on "
                f"it (marks such as -1 belong into the list of one class, called for example car_{image_set})"
            )
        if same_name(name) in seen:
            raise DataError(f"{path}: line {number_of_line} names {name!r} a second time; remove one of the lines")
        seen.add(same_name(name))
        if keep:
            ids.append(name)
    if not ids:
        raise DataError(f"{path}: the image set names no image; put one name on each line")
    return ids


def _parse(path: Path) -> ElementTree.Element:
    """Read an annotation file, without ever resolving an entity."""
    content = b""
    try:
        content = path.read_bytes()
        tree = DefusedElementTree.fromstring(content, forbid_dtd=True)
    except defusedxml.DefusedXmlException:
        raise DataError(f"{path}: the XML declares a DTD or entities, which are never read; remove them") from None
    except (SyntaxError, ValueError, LookupError, OSError) as error:  # LookupError: an encoding nobody knows
        # What is no mistake in the XML itself is its encoding: one that is not known, or not the one that is declared.
        is_text = isinstance(error, SyntaxError | OSError) and content.decode(errors="replace").encode() == content
        remedy = "repair or replace it" if is_text else "save it as UTF-8"
        raise DataError(f"{path}: the file is not well-formed XML ({error}); {remedy}") from None
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2].lower()  # some tools write <Object>, or <voc:object>
    if tree.tag != "annotation":
        raise DataError(f"{path}: the XML holds <{tree.tag}> where VOC has <annotation>; replace the file")
    return tree


def _entries(tree: ElementTree.Element) -> list[ElementTree.Element]:
    """The objects of an annotation: its own `<object>`s, and those in one more element around them."""
    wrapped = [entry for around in tree if around.tag != "object" for entry in around.findall("object")]
    return tree.findall("object") + wrapped


def _objects(
    tree: ElementTree.Element, size: tuple[int, int], one_based: bool, where: Path, unread: list[str]
) -> list[Found | DataError]:
    """The objects of an annotation, in pixels; `size` is (height, width) of the image itself."""
    objects: list[Found | DataError] = [] if (wrong := _size_differs(tree, size, where)) is None else [wrong]
    entries = _entries(tree)
    inside = {element for entry in entries for element in entry.iter()}
    outside = [element.tag for element in tree.iter() if element not in inside]
    if (tag := next((one for one in _OF_OBJECTS if one in outside), None)) is not None:
        message = f"{where} has {outside.count(tag)} <{tag}> that belong to no <object>; put each into one"
        objects.append(DataError(message, "box of no object"))
    for k, entry in enumerate(entries, start=1):
        objects.append(attempt(_object, entry, f"{where}: object {k}", one_based, unread))
    return objects


def _size_differs(tree: ElementTree.Element, size: tuple[int, int], where: Path) -> DataError | None:
    """What is wrong with `<size>`, if anything is."""
    try:
        size_tag = _child(tree, "size", str(where))
        width, height = (number(_text(size_tag, tag, str(where)), f"{where}: {tag}") for tag in ("width", "height"))
    except DataError as error:
        return error
    if height == size[0] and width == size[1]:
        return None
    return DataError(
        f"{where}: <size> says {width:g} x {height:g}, but the image is {size[1]} x {size[0]}; check that they "
        "belong together and correct <size>",
        "size differs",
    )


def _object(entry: ElementTree.Element, where: str, one_based: bool, unread: list[str]) -> Found:
    """One object, in pixels; `where` names it ("a.xml: object 2")."""
    name = _normal(_text(entry, "name", where))
    if not name.isprintable():  # a space of no width makes two classes of one
        raise DataError(f"{where} has the <name> {name!r}, which cannot be printed; correct it", "no class name")
    label = f"{where} ({name})"
    if entry.find(".//object") is not None:
        raise DataError(f"{label} has another <object> inside; put it beside this one", "object in an object")
    box_tag = _child(entry, "bndbox", label)
    corners = {tag: number(_text(box_tag, tag, label), f"{label}: {tag}") for tag in ("xmin", "ymin", "xmax", "ymax")}
    if max(corners.values()) <= 1 and any(0 < corner < 1 for corner in corners.values()):
        raise DataError(
            f"{label} lies between 0 and 1, but VOC's boxes are in pixels; multiply it by the width and height of the "
            "image",
            "not in pixels",
        )
    first = 1 if one_based else 0
    box = (corners["xmin"] - first, corners["ymin"] - first, corners["xmax"], corners["ymax"])
    for tag in ("xmin", "ymin"):
        if one_based and corners[tag] == 0:
            raise DataError(
                f"{label} has {tag} 0, but VOC counts pixels from 1; correct it, or pass one_based=False "
                "(--zero-based) if what wrote these files counts from 0",
                "counts from 0",
                box,
            )
    check_span(corners["xmin"], corners["xmax"], "xmin", "xmax", label, box)
    check_span(corners["ymin"], corners["ymax"], "ymin", "ymax", label, box)
    flag = None if entry.find("difficult") is None else _child(entry, "difficult", label).text
    difficult = read_flag(flag)
    if difficult is None:
        unread.append(f"{label}: difficult {flag!r}")
    return Found(label, name, box, bool(difficult))


def _image_path(images: Path, image_id: str, tree: ElementTree.Element, where: Path) -> Path:
    """The image of an annotation; see `VOCDataset`."""
    filename = (tree.findtext("filename") or "").strip()
    # An annotation in a sub-folder: its image may lie in a folder of that name, or among all.
    folder, _, base = image_id.replace("\\", "/").rpartition("/")
    named = own = None
    for place, name in ((images / folder, filename), (images, filename), (images, filename.rpartition("/")[2])):
        named = named or (file_inside(place, name, str(where)) if name else None)
        own = own or image_inside(place, base, str(where))
    if named and own and same_name(named.stem) != same_name(own.stem):
        raise DataError(f"{where}: <filename> says {named.name}, but there is a {own.name} too; correct <filename>")
    path = named or own
    if path is None:
        raise DataError(
            f"{where}: the image is missing, {images} holds neither {filename or 'a <filename>'} nor {image_id} with "
            ".jpg, .jpeg or .png; add it, or remove the annotation",
            "image missing",
        )
    return path


def _child(parent: ElementTree.Element, tag: str, where: str) -> ElementTree.Element:
    """The one direct child with this tag: the parts of a person have a `name` and a `bndbox` too, one level down."""
    children = parent.findall(tag)
    if len(children) != 1:
        raise DataError(
            f"{where} has {len(children) or 'no'} <{tag}> in <{parent.tag}>; there must be one",
            f"<{tag}> missing or twice",
        )
    return children[0]


def _text(parent: ElementTree.Element, tag: str, where: str) -> str:
    text = (_child(parent, tag, where).text or "").strip()
    if not text:
        raise DataError(f"{where} has an empty <{tag}>; fill it in", f"<{tag}> empty")
    return text


def _normal(text: str | None) -> str:
    """The text on one line without outer spaces: XML that was indented by a tool may break names."""
    return " ".join((text or "").split())
