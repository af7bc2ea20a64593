"""The linter: a lesson in good order passes, and every damage is found and named."""

import nbformat
import pytest
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from frcnn_lessons.course.lint import EXEMPT, RAISES, lint, minutes_to_read, normalise, unstable

TWO_MINUTES = 260 * " word"  # to read


def good(*more) -> NotebookNode:
    """A lesson that has nothing wrong with it, with more cells at its end."""
    goals = "You will be able to draw one. See [the next](02_next.ipynb#start) and $f[x](y)$."
    cells = [
        new_markdown_cell(f"# Boxes\n{goals}\n**Time** about 3 minutes to read; a second to run. {TWO_MINUTES}"),
        *[new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")]) for _ in range(3)],
        new_code_cell("1/0", metadata={"tags": [RAISES]}, outputs=[error()]),
        new_code_cell(""),
        new_markdown_cell("## What you should remember\n![](../docs/picture.png) [site](https://x.org/a) `[a](b)`"),
        *more,
    ]
    counts = iter(range(1, 100))
    for position, cell in enumerate(cells):
        cell.id = f"cell-{position}"
        if cell.cell_type == "code" and cell.source:
            cell.execution_count = next(counts)
    return normalise(new_notebook(cells=cells))


def error() -> NotebookNode:
    return new_output("error", ename="ValueError", evalue="no", traceback=["ValueError: no"])


def text(content: str) -> NotebookNode:
    return new_output("stream", text=content)


def shown(content: str) -> NotebookNode:
    return new_output("display_data", data={"text/plain": content})


def picture(kind: str = "image/png") -> NotebookNode:
    return new_output("display_data", data={kind: "", "text/plain": "<Figure>"})


@pytest.fixture
def place(tmp_path):
    """A repository in which the links of the good lesson lead somewhere."""
    for name in ("notebooks/02_next.ipynb", "docs/picture.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path.parent / "outside.txt").touch()
    return tmp_path


def test_a_good_lesson_passes_the_linter(place):
    assert lint(good(), place / "notebooks", place) == []
    exempt = new_code_cell("t", metadata={"tags": [EXEMPT]}, outputs=[text("0.1 s")])
    assert lint(good(exempt), place / "notebooks", place) == [], "one in five cells with output may vary"


def code_cell(source: str = "f()", *outputs: NotebookNode, tags: tuple[str, ...] = ()) -> NotebookNode:
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)} if tags else {})


@pytest.mark.parametrize(
    ("cells", "complaint"),
    [
        ([code_cell("1/0", error())], "code cell 6 stores an error"),
        ([code_cell("\n" * 25 + "x")], "more than 25 lines"),
        ([code_cell("x", tags=("nbval-skip",))], "code cell 6 is skipped"),
        ([code_cell("# NBVAL_IGNORE_OUTPUT\nx")], "marked by a comment"),
        ([code_cell("open('/home/ada/x.jpg')")], "cell 8 holds an absolute path (/home/ada"),
        ([new_markdown_cell(r"it lies in C:\Users\ada")], r"absolute path (C:\Users\ada"),
        ([code_cell("x", text("read /root/x/1.jpg"))], "a path of this machine (/root/x"),
        ([code_cell("x", text("<object object at 0x7f00aa>"))], "memory address"),
        ([code_cell("x;")], "ends with ';'"),
        ([code_cell("x = " + 97 * "1")], "a line of more than 100 characters: x = 111"),
        ([code_cell("x", picture())], "code cell 6 stores a picture without alternative text"),
        ([code_cell("x", picture()), new_markdown_cell("A street.")], "a picture without alternative text"),
        (
            [code_cell("x", shown("VBox(children=(IntSlider(value=3, max=9), Image(value=b'')))"))],
            "a bare widget (VBox)",
        ),
        ([code_cell("x", shown("Image(value=b'')"))], "a bare widget (Image)"),
        ([code_cell("x", shown("train:   0%|          | 0/40 [00:00<?, ?it/s]"))], "not as `frcnn-lessons build`"),
        ([code_cell("x", text("1"), tags=(EXEMPT,))] * 2, "2 of 6 cells with output are exempt"),
        ([code_cell("x", text("a" * 1_600_000))], "larger than 1500000 bytes"),
        ([new_markdown_cell("[go](03_none.ipynb)")], "the link to 03_none.ipynb leads nowhere"),
        ([new_markdown_cell("![a](missing.png 'title')")], "the link to missing.png"),
        ([new_markdown_cell('<img width="3" src="missing.png">')], "the link to missing.png"),
        ([new_markdown_cell("[go](../../outside.txt)")], "the link to ../../outside.txt"),
    ],
)
def test_the_linter_refuses_a_bad_cell(place, cells, complaint):
    cells = [nbformat.from_dict(cell) for cell in cells]  # copies: each needs an id of its own
    notebook = good(*cells)
    for damaged, cell in zip(notebook.cells[-len(cells) :], cells, strict=True):
        damaged.outputs = cell.get("outputs", [])  # `good` drops bars
    found = lint(notebook, place / "notebooks", place)
    assert len(found) == 1, found
    assert complaint in found[0]


def no_kernel(notebook):
    notebook.metadata.kernelspec.name = "conda-env-py"


def no_id(notebook):
    del notebook.cells[1]["id"]


def same_id(notebook):
    notebook.cells[1].id = notebook.cells[2].id


def wrong_order(notebook):
    notebook.cells[1].execution_count, notebook.cells[2].execution_count = 2, 1


def never_run(notebook):
    notebook.cells[3].execution_count = None


def no_title(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("# ", "")


def no_goals(notebook):
    notebook.cells[0].source = "# Boxes"


def no_time(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("**Time**", "Time")


def twice_the_words(notebook):
    notebook.cells[6].source += 2 * TWO_MINUTES


def half_the_time(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("3 minutes", "1 minutes")


def no_memory(notebook):
    notebook.cells[6].source = "## The end"


def times(notebook):
    notebook.cells[1].metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00"}


def widget_state(notebook):
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def long_traceback(notebook):
    notebook.cells[4].outputs[0].traceback = ["Traceback ...", "ValueError: no"]


def stderr(notebook):
    notebook.cells[1].metadata.tags = [EXEMPT]
    notebook.cells[1].outputs = [new_output("stream", name="stderr", text="warning")]


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (no_kernel, "the kernel is not python3"),
        (no_id, "no ids"),
        (same_id, "the same id"),
        (wrong_order, "execution counts are [2, 1, 3, 4]"),
        (never_run, "execution counts are [1, 2, None, 4]"),
        (no_title, "no title"),
        (no_goals, "'you will be able to' is missing"),
        (no_time, "no time to read is stated"),
        (twice_the_words, "stated as 3 minutes, and is 7"),
        (half_the_time, "stated as 1 minutes, and is 3"),
        (no_memory, "'what you should remember' is missing"),
        (times, "not as `frcnn-lessons build` stores it"),
        (widget_state, "not as `frcnn-lessons build` stores it"),
        (long_traceback, "not as `frcnn-lessons build` stores it"),
        (stderr, "stores stderr"),
    ],
)
def test_the_linter_refuses_a_damaged_lesson(place, damage, complaint):
    notebook = good()
    damage(notebook)
    found = lint(notebook, place / "notebooks", place)
    assert any(complaint in sentence for sentence in found), found


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_the_sentence_below_a_picture_becomes_its_alternative_text(place, kind):
    cells = [code_cell("x", picture(kind)), code_cell("y"), new_markdown_cell("*A `bus`, and\na car.* Look at *both*.")]
    notebook = good(*cells)
    assert notebook.cells[-3].outputs[0].metadata == {kind: {"alt": "A bus, and a car."}}
    assert lint(notebook, place / "notebooks", place) == []
    html, _ = HTMLExporter(template_name="classic").from_notebook_node(notebook)
    assert 'alt="A bus, and a car."' in html
    # Another sentence and the old words: whoever cannot see the picture would be told what is not there.
    notebook.cells[-1].source = "*A truck.*"
    assert "words for pictures" in lint(notebook, place / "notebooks", place)[0]


def test_bold_words_or_a_list_below_a_picture_are_no_description():
    for text in ("**Look** at it.", "* first\n* second", "It is *new*."):
        notebook = normalise(new_notebook(cells=[code_cell("x", picture()), new_markdown_cell(text)]))
        assert notebook.cells[0].outputs[0].metadata["image/png"]["alt"] == ""


def test_the_time_to_read_is_made_of_words_lines_and_figures():
    # 260 words, 15 lines and 3 figures: 2 + 1.5 + 1.5 minutes.
    slider = new_output("display_data", data={"text/plain": "VBox(...)"})
    cells = [
        new_markdown_cell(130 * "word | a=1 -- "),  # of these four, two are words
        code_cell(5 * "x\n\n", picture(), text(1000 * "printed ")),
        code_cell(10 * "x\n", picture(), picture(), slider),
    ]
    assert minutes_to_read(new_notebook(cells=cells)) == pytest.approx(2 + 1.5 + 1.5)


@pytest.mark.parametrize("time", ["about 40 minutes to read; a minute to run", "15 minutes; a few seconds to run"])
def test_the_time_to_read_is_found_however_it_is_said(place, time):
    notebook = good()
    notebook.cells[0].source = notebook.cells[0].source.replace("about 3 minutes to read; a second to run", time)
    (found,) = lint(notebook, place / "notebooks", place)
    assert f"stated as {time.removeprefix('about ')[:2]} minutes, and is 3" in found


@pytest.mark.parametrize("text", ["1/2", "image/png", "POST /tag", "https://x.org/home/a", "a/tmp/b", "0x7f", "at 0.5"])
def test_text_that_only_looks_like_a_path_or_an_address_is_stored(text):
    notebook = new_notebook(cells=[new_code_cell("print(...)", outputs=[new_output("stream", text=text)])])
    assert unstable(notebook) == []
