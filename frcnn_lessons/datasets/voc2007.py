"""Fetch PASCAL VOC 2007: 9,963 photographs, 24,640 objects of 20 classes, some 900 MB.

torchvision's `VOCDetection` downloads both archives, with a progress bar, and compares their checksums. It all happens
in a folder beside the final one, which appears when everything is unpacked: whatever stops the run, half a data set is
never taken for a whole one, and the next run goes on with the archives that are there. Lesson 12.
"""

import http.client
import shutil
import urllib.error
from pathlib import Path

from torchvision.datasets import VOCDetection, voc

from frcnn_lessons.datasets.sample import DataError
from frcnn_lessons.files import explained, user_path

FOLDER = "VOCdevkit"
# The image set that each archive is named by, in torchvision's own table.
ARCHIVES = {"trainval": "2007", "test": "2007-test"}


def fetch_voc2007(folder: Path | str) -> Path:
    """Put VOC 2007 into `folder`, unless it is there.

    Args:
        folder: where `VOCdevkit` goes; some 2 GB are needed while it is unpacked.

    Returns:
        The folder `VOCdevkit/VOC2007`, which `VOCDataset` and `open_data` read.

    Raises:
        DataError: the archives cannot be fetched; the message says how to do it by hand.
        OSError: the folder cannot be written to.
    """
    folder = user_path(folder)
    whole, work = folder / FOLDER, folder / f".{FOLDER}-unfinished"
    if (whole / "VOC2007").is_dir():
        return whole / "VOC2007"
    if whole.exists():
        raise DataError(
            f"{whole}: this folder holds no VOC2007 and is in the way; move it, or choose another with --to"
        )
    with explained(work):
        work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / FOLDER, ignore_errors=True)  # what an interrupted run has unpacked
    for image_set in ARCHIVES:
        try:
            VOCDetection(work, year="2007", image_set=image_set, download=True)
        # RuntimeError is torchvision's, of a checksum.
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, RuntimeError) as error:
            raise DataError(_by_hand(work, error)) from None
    (work / FOLDER).rename(whole)
    shutil.rmtree(work)
    return whole / "VOC2007"


def _by_hand(work: Path, error: Exception) -> str:
    entries = [voc.DATASET_YEAR_DICT[key] for key in ARCHIVES.values()]
    steps = "\n".join(f"  {entry['url']} (MD5 {entry['md5']})" for entry in entries)
    return (
        f"VOC 2007 cannot be fetched ({error}); try again later, or download these two files in any other way, put "
        f"them into {work} under the names that they have, and run the command again:\n{steps}"
    )
