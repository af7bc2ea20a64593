"""The speed promised by the course's design, measured side by side with the named peer.

Each benchmark is a script of its own, run in a fresh process: there the shape checker of the tests is off, as it is
for a user.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.benchmark
@pytest.mark.parametrize(
    "command",
    [
        "boxes.py",
        "metrics.py",
        "roi.py",
        "faster_rcnn.py",
        "selective_search.py --images 25",
        "annotations.py 200000",
        "service.py --requests 200",
    ],
)
def test_at_most_the_promised_share_of_the_peers_time(command):
    script, *options = command.split()
    run = subprocess.run([sys.executable, HERE / script, *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
