"""The exercises of lesson 13, a tagging service.

Letters: D detections, h x w pixels of the image that the detector saw, H x W of the picture.
"""

import struct

import torch
from torch import Tensor, tensor

from frcnn_lessons.exercises.description import Exercise, Impostor, Variant, at_random, edge, on_paper, parts

# --- 13.1 ------------------------------------------------------------------------------------------------------


def best_tags(labels, scores, threshold):
    """The best score of each label, the highest first: a dict from D labels and D scores, in any order."""
    best = {}
    for label, score in zip(labels, scores, strict=True):
        if score >= threshold:
            best[label] = max(score, best.get(label, 0.0))
    return dict(sorted(best.items(), key=lambda item: -item[1]))


def in_order(function, labels, scores, threshold):
    """Keys and values as lists: two dicts are equal whatever the order of their keys."""
    answer = function(labels, scores, threshold)
    return list(answer), [float(score) for score in answer.values()]


def _labels_and_scores(count: int, draw: torch.Generator) -> tuple[list[str], list[float], float]:
    names = ["bus", "car", "cat", "train"]
    labels = [names[i] for i in torch.randint(4, (count,), generator=draw).tolist()]
    scores = torch.randperm(1000, generator=draw)[:count].tolist()  # no two alike
    return labels, [score / 1000 for score in scores], 0.3


BEST_TAGS = Exercise(
    kind="implement",
    reference=best_tags,
    number="13.1",
    title="From detections to tags",
    minutes=10,
    points=2,
    goals=(1,),
    core=True,
    text="""\
`best_tags(labels, scores, threshold)`: a detector found `D` objects; `labels` is a list of `D` names, `scores` one of
`D` numbers, in any order. Return a dict: each label that has an object with a score of **at least** `threshold`, with
the **best** of its scores, the label with the highest score first. `D` may be 0.""",
    cases=(
        on_paper(
            "two cars and a bus",
            ["car", "bus", "car"],
            [0.6, 0.9, 0.8],
            0.5,
            gives=(["bus", "car"], [0.9, 0.8]),
            experiment=in_order,
        ),
        on_paper(
            "the better car comes first", ["car", "car"], [0.8, 0.6], 0.5, gives=(["car"], [0.8]), experiment=in_order
        ),
        on_paper(
            "the bus is surer than the car before it",
            ["car", "bus"],
            [0.6, 0.7],
            0.5,
            gives=(["bus", "car"], [0.7, 0.6]),
            experiment=in_order,
        ),
        on_paper(
            "a train after a less sure bus",
            ["bus", "train"],
            [0.6, 0.9],
            0.5,
            gives=(["train", "bus"], [0.9, 0.6]),
            experiment=in_order,
        ),
        on_paper(
            "a score of exactly the threshold",
            ["cat", "bus"],
            [0.5, 0.4],
            0.5,
            gives=(["cat"], [0.5]),
            experiment=in_order,
        ),
        on_paper(
            "a late, less sure bus",
            ["bus", "car", "bus"],
            [0.9, 0.8, 0.7],
            0.5,
            gives=(["bus", "car"], [0.9, 0.8]),
            experiment=in_order,
        ),
        edge("nothing found", [], [], 0.5, gives=([], []), experiment=in_order),
        edge("nothing sure enough", ["cat"], [0.2], 0.5, gives=([], []), experiment=in_order),
        edge("a threshold of 0", ["cat"], [0.0], 0.0, gives=(["cat"], [0.0]), experiment=in_order),
        *at_random(_labels_and_scores, experiment=in_order),
    ),
    impostors=(
        Impostor(
            "last_wins",
            "A label has the score of its *last* object, not of its best: an assignment forgets what was there.",
            change={"max(score, best.get(label, 0.0))": "score"},
        ),
        Impostor(
            "first_wins",
            "A label has the score of its *first* object, and the detections come in any order.",
            change={"max(score, best.get(label, 0.0))": "best.get(label, score)"},
        ),
        Impostor(
            "by_name",
            "The labels stand in the order of the alphabet, not of their scores.",
            change={"key=lambda item: -item[1]": "key=lambda item: item[0]"},
        ),
        Impostor(
            "as_found",
            "The labels stand in the order in which they were found, not of their scores.",
            change={"dict(sorted(best.items(), key=lambda item: -item[1]))": "best"},
        ),
        Impostor("least_first", "The least sure stands first.", change={"-item[1]": "item[1]"}),
        Impostor(
            "above_only",
            "*At least* the threshold: a score that equals it is enough.",
            change={">= threshold": "> threshold"},
        ),
        Impostor("all", "What is less sure than the threshold is left out.", change={"score >= threshold": "True"}),
        Impostor(
            "added",
            "The scores of a label are added up: two unsure cars are no sure one.",
            change={"max(score, best.get(label, 0.0))": "score + best.get(label, 0.0)"},
        ),
    ),
    hints=(
        "Which score stands beside `car` when two cars were found?",
        "Go through the detections, keep for each label the larger of what you have and what comes; sort at the end.",
        "`best[label] = max(score, best.get(label, 0.0))`, then `dict(sorted(best.items(), key=...))`.",
    ),
    variants=(
        Variant(
            "count",
            """\
`best_tags(labels, scores, threshold)`, in spite of its name: a detector found `D` objects; `labels` is a list of `D`
names, `scores` one of `D` numbers, in any order. Return a dict: each label that has an object with a score of **at
least** `threshold`, with the **sum** of the scores of these objects, the label with the highest sum first.""",
            change={
                "max(score, best.get(label, 0.0))": "score + best.get(label, 0.0)",
                "The best score": "The summed scores",
            },
            gives={
                "two cars and a bus": (["car", "bus"], [1.4, 0.9]),
                "the better car comes first": (["car"], [1.4]),
                "a late, less sure bus": (["bus", "car"], [1.6, 0.8]),
            },
            without=("last_wins", "first_wins", "added"),
            impostors=(
                Impostor(
                    "best_alone",
                    "That is the best score of each label; the sum is wanted.",
                    change={"score + best.get(label, 0.0)": "max(score, best.get(label, 0.0))"},
                ),
            ),
        ),
        Variant(
            "strictly",
            """\
`best_tags(labels, scores, threshold)`: a detector found `D` objects; `labels` is a list of `D` names, `scores` one of
`D` numbers, in any order. Return a dict: each label that has an object with a score **above** `threshold`, with the
**worst** of the scores of these objects, the label with the highest number first. `D` may be 0.""",
            change={
                ">= threshold": "> threshold",
                "max(score, best.get(label, 0.0))": "min(score, best.get(label, 1.0))",
                "The best score": "The worst score",
            },
            gives={
                "two cars and a bus": (["bus", "car"], [0.9, 0.6]),
                "the better car comes first": (["car"], [0.6]),
                "a score of exactly the threshold": ([], []),
                "a threshold of 0": ([], []),
                "a late, less sure bus": (["car", "bus"], [0.8, 0.7]),
            },
            without=("last_wins", "first_wins", "added", "above_only", "all"),
            impostors=(
                Impostor(
                    "at_least",
                    "*Above* the threshold: a score that equals it is not enough.",
                    change={"score > threshold": "score >= threshold"},
                ),
                Impostor(
                    "best",
                    "That is the best of each label; the worst is wanted.",
                    change={"min(score, best.get(label, 1.0))": "max(score, best.get(label, 0.0))"},
                ),
                Impostor("all", "What is not above the threshold is left out.", change={"score > threshold": "True"}),
            ),
        ),
    ),
)

# --- 13.2 ------------------------------------------------------------------------------------------------------


def scale_back(boxes, seen, picture):
    """Boxes (D, 4) xyxy in pixels of the picture (H, W), from those in the resized image (h, w) that was seen."""
    (h, w), (height, width) = seen, picture
    scaled = boxes * torch.tensor([width / w, height / h, width / w, height / h])
    return torch.minimum(scaled, torch.tensor([width, height, width, height]))


def _seen_boxes(count: int, draw: torch.Generator) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    h, w, height, width = torch.randint(40, 300, (4,), generator=draw).tolist()
    a, b = torch.rand(2, count, 2, generator=draw)
    corners = torch.cat([torch.minimum(a, b), torch.maximum(a, b) + 0.02], dim=1)  # may end a trace beyond the image
    return corners * torch.tensor([w, h, w, h]), (h, w), (height, width)


SCALE_BACK = Exercise(
    kind="implement",
    reference=scale_back,
    number="13.2",
    title="Back to the picture that was sent",
    minutes=10,
    points=2,
    goals=(1,),
    core=True,
    text="""\
The detector saw a picture of `H x W` pixels resized to `h x w`. `scale_back(boxes, seen, picture)`: `boxes`, shape
`(D, 4)`, are `xyxy` in the image that was seen, `seen` is `(h, w)`, `picture` is `(H, W)`. Return the boxes in pixels
of the picture, shape `(D, 4)`. Sides are rounded when a picture is resized, so the two factors may differ by a trace,
and an edge may come out a trace beyond the picture: bring it back to the border. `D` may be 0.""",
    cases=(
        on_paper("a picture of twice the size", tensor([[1.0, 2, 3, 4]]), (10, 20), (20, 40), gives=[[2, 4, 6, 8]]),
        on_paper(
            "twice as wide, as high as before", tensor([[1.0, 2, 3, 4]]), (10, 10), (10, 20), gives=[[2, 2, 6, 4]]
        ),
        on_paper("a smaller picture", tensor([[2.0, 4, 6, 8]]), (40, 20), (20, 10), gives=[[1, 2, 3, 4]]),
        on_paper(
            "a trace beyond the border", tensor([[0.0, 0, 10.1, 20.2]]), (20, 10), (40, 20), gives=[[0, 0, 20, 40]]
        ),
        on_paper(
            "the whole image, 3 x 7 seen of 30 x 71", tensor([[0.0, 0, 7, 3]]), (3, 7), (30, 71), gives=[[0, 0, 71, 30]]
        ),
        edge("no boxes", torch.zeros(0, 4), (10, 10), (20, 20), gives=torch.zeros(0, 4)),
        *at_random(_seen_boxes),
    ),
    impostors=(
        Impostor(
            "height_first",
            "x was scaled by the heights and y by the widths: sizes are written (height, width), boxes x first.",
            change={"[width / w, height / h, width / w, height / h]": "[height / h, width / w, height / h, width / w]"},
        ),
        Impostor(
            "one_factor",
            "One factor for both directions: the rounded sides give two that differ.",
            change={"[width / w, height / h, width / w, height / h]": "4 * [height / h]"},
        ),
        Impostor(
            "upside_down",
            "The boxes were scaled the wrong way: they were found in the *resized* image.",
            change={"[width / w, height / h, width / w, height / h]": "[w / width, h / height, w / width, h / height]"},
        ),
        Impostor(
            "not_clipped",
            "An edge beyond the picture is to be brought back to its border.",
            change={"torch.minimum(scaled, torch.tensor([width, height, width, height]))": "scaled"},
        ),
        Impostor(
            "clipped_to_seen",
            "The boxes were cut off at the size of the image that was *seen*.",
            change={"torch.tensor([width, height, width, height])": "torch.tensor([w, h, w, h])"},
        ),
        Impostor(
            "first_corner_only",
            "Only the first corner was scaled.",
            change={"[width / w, height / h, width / w, height / h]": "[width / w, height / h, 1, 1]"},
        ),
    ),
    hints=(
        "By which factor does x grow? And y?",
        "x1 and x2 times W / w, y1 and y2 times H / h; then no number above W or H.",
        "`boxes * torch.tensor([W / w, H / h, W / w, H / h])`, then `torch.minimum` with `[W, H, W, H]`.",
    ),
    variants=(
        Variant(
            "padded",
            """\
The detector saw a picture of `H x W` pixels resized to `h x w`. `scale_back(boxes, seen, picture)`: `boxes`, shape
`(D, 4)`, are `xyxy` in the image that was seen, `seen` is **`(w, h)`**, `picture` is **`(W, H)`**. Return the boxes in
pixels of the picture, shape `(D, 4)`; an edge a trace beyond the picture is brought back to its border.""",
            change={"(h, w), (height, width) = seen, picture": "(w, h), (width, height) = seen, picture"},
            inputs=lambda boxes, seen, picture: (boxes, seen[::-1], picture[::-1]),
            gives={"twice as wide, as high as before": [[2, 2, 6, 4]]},
            without=("height_first",),
            impostors=(
                Impostor(
                    "width_last",
                    "Here sizes are written (width, height).",
                    change={"(w, h), (width, height) = seen, picture": "(h, w), (height, width) = seen, picture"},
                ),
            ),
        ),
        Variant(
            "shares",
            """\
The detector saw a picture resized to `h x w`. `scale_back(boxes, seen, picture)`: `boxes`, shape `(D, 4)`, are `xyxy`
in the image that was seen, `seen` is `(h, w)`, `picture` is `(H, W)`. Return the boxes as **shares of the picture**,
0 to 1, shape `(D, 4)`; an edge a trace beyond the picture is brought back to its border.""",
            change={
                "[width / w, height / h, width / w, height / h]": "[1 / w, 1 / h, 1 / w, 1 / h]",
                "torch.minimum(scaled, torch.tensor([width, height, width, height]))": "scaled.clamp(max=1)",
                "in pixels of the picture (H, W)": "as shares of the picture (H, W)",
            },
            gives={
                "a picture of twice the size": [[0.05, 0.2, 0.15, 0.4]],
                "a trace beyond the border": [[0, 0, 1, 1]],
            },
            without=(
                "height_first",
                "one_factor",
                "upside_down",
                "not_clipped",
                "clipped_to_seen",
                "first_corner_only",
            ),
            impostors=(
                Impostor(
                    "of_the_picture",
                    "The boxes lie in the image that was *seen*: divide by its sides.",
                    change={"[1 / w, 1 / h, 1 / w, 1 / h]": "[1 / width, 1 / height, 1 / width, 1 / height]"},
                ),
                Impostor(
                    "not_clipped",
                    "An edge beyond the picture is to be brought back to 1.",
                    change={".clamp(max=1)": ""},
                ),
                Impostor(
                    "height_first",
                    "x was divided by the height: sizes are written (height, width), boxes x first.",
                    change={"[1 / w, 1 / h, 1 / w, 1 / h]": "[1 / h, 1 / w, 1 / h, 1 / w]"},
                ),
            ),
        ),
    ),
)

# --- 13.3 ------------------------------------------------------------------------------------------------------

WHICH_STATUS = Exercise(
    kind="predict",
    name="which_status",
    number="13.3",
    title="Which status?",
    minutes=5,
    points=2,
    goals=(2,),
    core=True,
    text="""\
What does the service of the lesson answer? Set `which_status` to the six numbers, in this order:

1. a photograph in which nothing is found
2. an SVG drawing named `bus.jpg`
3. a JPEG of 30 MB, where 20 MB are allowed
4. a JPEG whose second half is missing
5. two photographs in one request
6. the 65th photograph in a queue that holds 64""",
    answer=(200, 415, 413, 422, 400, 503),
    stub="(..., ..., ..., ..., ..., ...)",
    cases=parts(
        "nothing found", "an SVG named .jpg", "30 MB", "half of it missing", "two in one request", "the queue is full"
    ),
    impostors=(
        Impostor(
            "nothing_is_404",
            "Nothing found is an answer like any other, with an empty list: nothing went wrong.",
            answer=(404, 415, 413, 422, 400, 503),
        ),
        Impostor(
            "all_400",
            "400 is right for a request put together wrongly; the others have a word of their own: what it is (415), "
            "how large (413), what is wrong inside (422).",
            answer=(200, 400, 400, 400, 400, 503),
        ),
        Impostor(
            "server_is_to_blame",
            "500 says that the *service* is at fault; a damaged or strange file is the sender's affair.",
            answer=(200, 500, 413, 500, 400, 503),
        ),
        Impostor(
            "name_believed",
            "The name says .jpg; the service looks at the first bytes instead.",
            answer=(200, 422, 413, 422, 400, 503),
        ),
        Impostor(
            "too_many_is_429",
            "429 is for one client that asks too often; here all together are too many, and the service says: later.",
            answer=(200, 415, 413, 422, 400, 429),
        ),
    ),
    hints=(
        "Whose fault is it, the sender's (4..) or the service's (5..)? Or nobody's (200)?",
        "415 another kind of file, 413 too large, 422 the right kind but unreadable, 400 a request put together badly.",
        "Try them on the server of the lesson.",
    ),
    variants=(
        Variant(
            "other_order",
            """\
What does the service of the lesson answer? Set `which_status` to the six numbers, in this order:

1. a request without any file
2. a ZIP archive named `cats.png`
3. a PNG of 40 kB that claims 400 million pixels
4. a PNG with 16 bits a channel
5. a photograph in which two cats are found
6. a photograph, while the queue is full""",
            answer=(400, 415, 413, 422, 200, 503),
            cases=parts(
                "no file", "a ZIP named .png", "400 million pixels", "16 bits", "two cats", "the queue is full"
            ),
            without=("nothing_is_404", "all_400", "server_is_to_blame", "name_believed", "too_many_is_429"),
            impostors=(
                Impostor(
                    "size_of_the_file",
                    "The file is small, and its picture is not: 413 is about what would have to be carried.",
                    answer=(400, 415, 422, 422, 200, 503),
                ),
                Impostor(
                    "bits_are_a_kind",
                    "A PNG it is, so the kind is right; what is inside cannot be used: 422.",
                    answer=(400, 415, 413, 415, 200, 503),
                ),
            ),
        ),
        Variant(
            "who_is_to_blame",
            """\
Who is at fault? Set `which_status` to six numbers, 200, 400 (for any 4..: the sender) or 500 (for any 5..: the
service), in this order:

1. a photograph in which nothing is found
2. an empty file
3. a bug in the detector
4. a threshold of 1.5
5. the queue is full
6. an animated PNG, whose first frame is tagged""",
            answer=(200, 400, 500, 400, 500, 200),
            cases=parts(
                "nothing found", "an empty file", "a bug", "a threshold of 1.5", "the queue is full", "animated"
            ),
            without=("nothing_is_404", "all_400", "server_is_to_blame", "name_believed", "too_many_is_429"),
            impostors=(
                Impostor(
                    "queue_is_the_senders",
                    "The sender did nothing wrong: the service has too much to do.",
                    answer=(200, 400, 500, 400, 400, 200),
                ),
                Impostor(
                    "nothing_is_wrong",
                    "Nothing found is an answer: nobody is at fault.",
                    answer=(400, 400, 500, 400, 500, 200),
                ),
            ),
        ),
    ),
)

# --- 13.4 ------------------------------------------------------------------------------------------------------


def claims_too_much(header, most):
    """Whether a PNG claims more than `most` pixels, from its first 24 bytes; True as well for what is no PNG."""
    if len(header) < 24 or header[:8] != b"\x89PNG\r\n\x1a\n":
        return True
    width, height = struct.unpack(">II", header[16:24])
    return width * height > most


def png_header(width: int, height: int) -> bytes:
    """The first 24 bytes of a PNG: signature, length and name of the first chunk, width and height."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)


def _any_header(_count: int, draw: torch.Generator) -> tuple[bytes, int]:
    width, height = torch.randint(1, 5000, (2,), generator=draw).tolist()
    return png_header(width, height), 4_000_000


CLAIMS_TOO_MUCH = Exercise(
    kind="implement",
    reference=claims_too_much,
    number="13.4",
    title="A guard against a bomb",
    stars=2,
    minutes=15,
    points=3,
    goals=(2,),
    core=True,
    text="""\
A PNG of 40 kB can claim 400 million pixels. Its size stands in its first 24 bytes: 8 bytes
`b"\\x89PNG\\r\\n\\x1a\\n"`, 4 bytes with a length, 4 bytes `IHDR`, then **width** and **height**, 4 bytes each, whole
numbers with the **most significant byte first**.

`claims_too_much(header, most)`: `header` are the first bytes of a file, 24 or fewer; return `True` if it claims
**more than** `most` pixels, and also if it is no PNG or cut off, for then nobody knows; else `False`.
Do it without Pillow.""",
    cases=(
        on_paper("3 x 5 pixels of 15", png_header(3, 5), 15, gives=False),
        on_paper("3 x 5 pixels of 14", png_header(3, 5), 14, gives=True),
        on_paper("20,000 x 20,000 of 25 million", png_header(20_000, 20_000), 25_000_000, gives=True),
        on_paper("256 x 1 of 300", png_header(256, 1), 300, gives=False),
        on_paper("1 x 100,000 of 50,000", png_header(1, 100_000), 50_000, gives=True),
        on_paper("100,000 x 1 of 50,000", png_header(100_000, 1), 50_000, gives=True),
        on_paper("16,777,216 x 16,777,216 of 1,000", png_header(2**24, 2**24), 1000, gives=True),
        on_paper("a JPEG", b"\xff\xd8\xff\xe0" + bytes(20), 1000, gives=True),
        edge("cut off after 20 bytes", png_header(3, 5)[:20], 1000, gives=True),
        edge("no bytes at all", b"", 1000, gives=True),
        edge("one pixel of one", png_header(1, 1), 1, gives=False),
        *at_random(_any_header),
    ),
    impostors=(
        Impostor(
            "least_first",
            "The bytes were read with the least significant first: 3 became 50,331,648.",
            change={'">II"': '"<II"'},
        ),
        Impostor(
            "signature_forgotten",
            "The first 8 bytes were not looked at: what is no PNG has other numbers there.",
            change={' or header[:8] != b"\\x89PNG\\r\\n\\x1a\\n"': ""},
        ),
        Impostor(
            "one_side", "Only the width was compared with the limit.", change={"width * height > most": "width > most"}
        ),
        Impostor(
            "each_side",
            "Each side was compared with the limit; it is the product that takes memory.",
            change={"width * height > most": "max(width, height) > most"},
        ),
        Impostor(
            "exactly_is_too_much", "*More than* the limit: exactly so many are allowed.", change={"> most": ">= most"}
        ),
        Impostor(
            "trusts_strangers",
            "What is no PNG is to be refused: nobody knows its size.",
            change={"return True": "return False"},
        ),
        Impostor(
            "eight_bytes_early",
            "Width and height begin at byte 16: before them stand a length and the word IHDR.",
            change={"header[16:24]": "header[8:16]"},
        ),
    ),
    hints=(
        "Print `header` for a picture of 3 x 5 pixels and count the bytes.",
        '`int.from_bytes(header[16:20], "big")` is the width.',
        "Refuse first what is shorter than 24 bytes or begins otherwise; then compare width times height with `most`.",
    ),
    forbidden=("PIL",),
)

# --- 13.5 ------------------------------------------------------------------------------------------------------

ANSWERS_A_SECOND = Exercise(
    kind="predict",
    name="answers_a_second",
    number="13.5",
    title="What batching gives",
    stars=2,
    minutes=8,
    points=2,
    goals=(3,),
    core=True,
    text="""\
A pass of the detector takes 20 ms whatever it looks at, and 10 ms more for each image in it. Eight clients each send a
photograph, wait for the answer, and send the next. Set `answers_a_second` to four numbers (two per cent are near
enough):

1. answers a second, all clients together, when each photograph has a pass of its own
2. answers a second, when all eight go through in one pass
3. how many milliseconds a client waits for an answer in the first case, once all eight are at it
4. and in the second""",
    answer=(1000 / 30, 80.0, 240.0, 100.0),
    stub="(..., ..., ..., ...)",
    tolerance=0.02,
    cases=parts("answers a second, one by one", "eight in a pass", "waiting, one by one", "waiting, eight in a pass"),
    impostors=(
        Impostor(
            "own_pass_only",
            "A client waits for the seven before it, too: eight passes, not one.",
            answer=(1000 / 30, 80.0, 30.0, 100.0),
        ),
        Impostor(
            "a_pass_is_an_answer",
            "A pass over eight images gives eight answers.",
            answer=(1000 / 30, 10.0, 240.0, 100.0),
        ),
        Impostor(
            "fixed_part_each",
            "The 20 ms are spent once a pass, not once an image.",
            answer=(1000 / 30, 1000 / 30, 240.0, 240.0),
        ),
        Impostor(
            "everything_shared",
            "Eight images in a pass take 20 + 8 x 10 ms: the work for each image stays.",
            answer=(1000 / 30, 8000 / 30, 240.0, 30.0),
        ),
    ),
    hints=(
        "How long does a pass take with one image in it, and with eight?",
        "30 ms and 100 ms. How many passes fit into a second, and how many answers does each give?",
        "One by one, a client's answer comes after the passes of all eight.",
    ),
    variants=(
        Variant(
            "gpu",
            """\
A pass of the detector takes 40 ms whatever it looks at, and 2 ms more for each image in it. Ten clients each send a
photograph, wait for the answer, and send the next. Set `answers_a_second` to four numbers (two per cent are near
enough):

1. answers a second, all clients together, when each photograph has a pass of its own
2. answers a second, when all ten go through in one pass
3. how many milliseconds a client waits for an answer in the first case, once all ten are at it
4. and in the second""",
            answer=(1000 / 42, 1000 / 6, 420.0, 60.0),
            without=("own_pass_only", "a_pass_is_an_answer", "fixed_part_each", "everything_shared"),
            impostors=(
                Impostor(
                    "own_pass_only",
                    "A client waits for the nine before it, too: ten passes, not one.",
                    answer=(1000 / 42, 1000 / 6, 42.0, 60.0),
                ),
                Impostor(
                    "a_pass_is_an_answer",
                    "A pass over ten images gives ten answers.",
                    answer=(1000 / 42, 1000 / 60, 420.0, 60.0),
                ),
            ),
        ),
        Variant(
            "nothing_to_share",
            """\
A pass of the detector takes no time by itself, and 25 ms for each image in it. Four clients each send a photograph,
wait for the answer, and send the next. Set `answers_a_second` to four numbers (two per cent are near enough):

1. answers a second, all clients together, when each photograph has a pass of its own
2. answers a second, when all four go through in one pass
3. how many milliseconds a client waits for an answer in the first case, once all four are at it
4. and in the second""",
            answer=(40.0, 40.0, 100.0, 100.0),
            without=("own_pass_only", "a_pass_is_an_answer", "fixed_part_each", "everything_shared"),
            impostors=(
                Impostor(
                    "always_better",
                    "Where nothing is shared, a pass over four takes four times as long: nothing is gained.",
                    answer=(40.0, 160.0, 100.0, 25.0),
                ),
                Impostor(
                    "own_pass_only",
                    "A client waits for the three before it, too: four passes, not one.",
                    answer=(40.0, 40.0, 25.0, 100.0),
                ),
            ),
        ),
    ),
)

# --- 13.6 ------------------------------------------------------------------------------------------------------

WHAT_THRESHOLD = Exercise(
    kind="explain",
    name="what_threshold",
    number="13.6",
    title="Which threshold?",
    minutes=8,
    points=2,
    goals=(4,),
    core=False,
    text="""\
Two customers use your service. One sorts a private photo album: a wrong tag is a nuisance, a missing one is not
noticed. The other looks for people on a railway line before a train is let in. Which threshold would you recommend to
each, how would you find the number, and why should the service not decide for them? (At most 100 words.)""",
    answer="""\
The album wants few wrong tags: a high threshold, where precision on the album's own kind of pictures is good enough.
The railway wants to miss nobody: a low one, where recall is high enough, and a person looks at what is found. Both are
read off the precision-recall curve on images of *their own*, that nobody trained or chose on; a score is no
probability, least of all on other pictures than it learned from. What a mistake costs only the customer knows, so the
service gives scores, and the threshold is a parameter.""",
    guide="""\
1 point: high for the album (precision), low for the railway (recall), with the reason. Half a point: found on their own
images with a precision-recall curve. Half a point: what a mistake costs is the customer's to say, or a score is no
probability.""",
    hints=(
        "What does a wrong tag cost each of them, and what does a missing one?",
        "Which curve shows both kinds of mistake for every threshold?",
        "Lesson 04, the precision-recall curve; and on whose images?",
    ),
)

EXERCISES: tuple[Exercise, ...] = (
    BEST_TAGS,
    SCALE_BACK,
    WHICH_STATUS,
    CLAIMS_TOO_MUCH,
    ANSWERS_A_SECOND,
    WHAT_THRESHOLD,
)
