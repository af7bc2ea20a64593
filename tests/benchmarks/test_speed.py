"""The speed promised in the issue, measured side by side with the named peer.

Each benchmark is a script of its own, run in a fresh process: there the shape checker of the tests is off, as it is
for a user.
"""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("script", ["boxes.py"])
def test_at_most_the_promised_share_of_the_peers_time(script):
    run = subprocess.run([sys.executable, HERE / script], capture_output=True, text=True)
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
