"""The speed promised by the course's design, measured side by side with the named peer.

Each benchmark is a script of its own, run in a fresh process: there the shape checker of the tests is off, as it is
for a user.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["boxes.py", "metrics.py", "roi.py", "faster_rcnn.py", "selective_search.py --images 25"]
)
def test_at_most_the_promised_share_of_the_peers_time(command):
    script, *options = command.split()
    # Up to three times: other work on the machine can make ours slower than it is, never quicker.
    for _ in range(3):
        run = subprocess.run([sys.executable, HERE / script, *options], capture_output=True, text=True)
        print(run.stdout)
        if run.returncode == 0:
            return
    pytest.fail(run.stdout + run.stderr)
