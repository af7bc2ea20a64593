"""Time our function against a named peer, side by side in one run, with torch's own timer.

`torch.utils.benchmark` waits for a GPU to finish, which a clock beside it would not, and repeats what is short until
the clock's own error does not count.
"""

from collections.abc import Callable

import torch
from torch.utils.benchmark import Timer


def seconds(function: Callable[[], object], at_least: float = 0.01) -> float:
    """Best time of a call: after a warm-up, of one that is long, or of as many as fit into so many seconds."""
    # The timer would take a single thread if it is not told.
    timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=at_least).times)


def ratio(ours: Callable[[], object], peer: Callable[[], object], repeats: int = 30) -> float:
    """Our best time over the peer's best time. The best of many, because noise only ever adds.

    Args:
        repeats: calls of each, every second one a warm-up; more where a call is short.
    """
    # In turns, so that a slow moment of the machine meets both.
    rounds = [(seconds(ours), seconds(peer)) for _ in range(max(2, repeats // 2))]
    return min(mine for mine, _ in rounds) / min(theirs for _, theirs in rounds)


def report(rows: list[tuple[str, str, Callable[[], float], float]]) -> int:
    """Measure and print (work, peer, ratio, limit) as a table; return 1 if a limit is passed, as an exit code.

    What is too slow is measured again, up to three times in all: other work on the machine can make ours slower than
    it is, never quicker.
    """
    print(f"{'work':44} {'against':34} {'ratio':>6} {'limit':>6}")
    too_slow = 0
    for work, peer, measure, limit in rows:
        measured = measure()
        for _ in range(2):
            measured = measured if measured <= limit else min(measured, measure())
        print(
            f"{work:44} {peer:34} {measured:6.2f} {limit:6.2f}{'' if measured <= limit else '  TOO SLOW'}", flush=True
        )
        too_slow |= measured > limit
    return int(too_slow)
