"""A lesson as it is stored: what is dropped, what is refused and what must be there.

A lesson is stored *with* its outputs, and the tests run it again and compare. That only works when what is stored
depends on nothing but the lesson: no times, no paths of one machine, no memory addresses, no random identifiers.
`normalise` drops what a notebook file holds beside the lesson, `unstable` names the outputs that another run could not
repeat, and `lint` names all that is wrong with a stored lesson.
"""

import os
import re
import sys
import urllib.parse
from collections.abc import Iterator
from itertools import filterfalse
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from frcnn_lessons.files import CHECKOUT

EXEMPT = "nbval-ignore-output"  # the cell tag: run by the tests, its output not compared
RAISES = "raises-exception"  # the cell tag: this cell shows an error on purpose

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
CELL_METADATA = {"tags", "jupyter", "slideshow", "editable", "deletable", "nbgrader"}  # what belongs to the lesson

# The text of a progress bar, "train:   0%|          | 0/40 [00:00<?, ?it/s]", and of a widget, "VBox(children=(...".
BAR = re.compile(r"[^\n]*\d+%\|[^\n]*\| \d+/\d+ \[")
WIDGET = re.compile(r"[A-Z]\w+\((?:children|value|description)=")

ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")
# Folders that start an absolute path on the usual machines; "/tag" or "image/png" is none.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~<-])/(?:home|Users|root|tmp|var|usr|opt|mnt|srv|private|work|workspace|workspaces|builds)/[\w.@+-]+"
    r"|\b[A-Z]:\\+Users\\+\w+"
)

PICTURE = re.compile("image/(png|jpeg)$")
# The sentence in italics with which the text below a picture begins: "*A street with two boxes.* Look at ...".
CAPTION = re.compile(r"\*([^*\s].*?)\*(?=\s|$)", re.DOTALL)

LARGEST = 1_500_000  # bytes of a notebook
LONGEST, WIDEST = 25, 100  # lines of a code cell, and characters of a line

# What somebody reads in a minute who wants to understand it.
WORDS, LINES, FIGURES = 130, 10, 2
TIME = re.compile(r"\*\*Time\*\*[^.;]*?\b(\d+) minutes")

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|<(?:img|a)\b[^>]*?\b(?:src|href)=[\"']([^\"']+)")
NOT_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", re.DOTALL)  # code and formulas hold no links


def unstable(notebook: NotebookNode) -> list[str]:
    """Name every output that another run or another machine could not repeat, one sentence each with its cure.

    These are refused and not cleaned: a pattern that blanks part of an output may blank the number that matters.
    """
    machine = [str(CHECKOUT), str(Path.home()), sys.prefix]
    found = []
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        if cell.source.rstrip().endswith(";"):
            # nbval runs cells without history, and without it IPython does not see the semicolon.
            found.append(f"code cell {number} ends with ';', which the tests do not honour: use plt.show() or _ = ...")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                # nbval compares stderr too, so a dropped warning would fail there with a less helpful message.
                if EXEMPT not in cell.metadata.get("tags", []):
                    line = output.text.strip().partition("\n")[0]
                    found.append(f"code cell {number} writes to stderr ({line}): remove the cause of the warning")
                continue
            for text in texts(output):
                if match := ADDRESS.search(text):
                    found.append(
                        f"code cell {number} shows a memory address ({match[0]}): end it with plt.show() or _ = ..."
                    )
                match = ABSOLUTE_PATH.search(text)
                path = match[0] if match else next((path for path in machine if f"{path}{os.sep}" in text), None)
                if path:
                    found.append(f"code cell {number} shows a path of this machine ({path}): print a relative one")
    return found


def texts(output: NotebookNode) -> Iterator[str]:
    """Yield what a reader can read in one output: stream text, text of any kind, an error's name and message."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield f"{output.ename}: {output.evalue}"
    else:
        for kind, data in output.data.items():
            if kind.startswith("text/") or kind == "image/svg+xml":
                yield data


def is_bar(output: NotebookNode) -> bool:
    """Tell whether an output is a progress bar (which is never stored, nor compared)."""
    return bool(BAR.match(output.get("data", {}).get("text/plain", "")))


def caption_below(notebook: NotebookNode, position: int) -> str:
    """Return the words for the pictures of a cell: the sentence in italics with which the next text begins, or ""."""
    text = next((cell.source for cell in notebook.cells[position + 1 :] if cell.cell_type == "markdown"), "")
    match = CAPTION.match(text)
    return " ".join(match[1].replace("`", "").split()) if match else ""


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of an executed notebook with nothing in it but the lesson and its outputs.

    Dropped: execution times and other metadata of front ends, the state of widgets, versions, stderr, progress bars
    (all that is left of one is how it looked at 0 %), and frames of tracebacks (the last line, which tests compare,
    stays). Pieces of one stream that follow each other become one:
    where a stream is cut depends on timing. (nbclient's `coalesce_streams` would also carry what is printed below a
    figure to above it.) A widget is stored as its text only: its view is a random number that
    means nothing once the kernel is gone, and JupyterLab shows the text then anyway.

    Added: the sentence below a picture as its alternative text, at `metadata["image/png"]["alt"]`, where nbconvert's
    classic pages take it from (its lab pages, and JupyterLab 4.6, show no alternative text of an output at all).
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": LANGUAGE})
    for position, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in CELL_METADATA})
        if cell.cell_type != "code":
            continue
        outputs: list[NotebookNode] = []
        for output in filterfalse(is_bar, cell.outputs):
            if output.output_type == "stream":
                if output.name == "stderr":
                    continue
                if outputs and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text
                    continue
            elif output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
            else:
                output.data.pop("application/vnd.jupyter.widget-view+json", None)
                for kind in filter(PICTURE.match, output.data):
                    output.metadata[kind] = {**output.metadata.get(kind, {}), "alt": caption_below(notebook, position)}
            outputs.append(output)
        cell.outputs = outputs
    return notebook


def minutes_to_read(notebook: NotebookNode) -> float:
    """Return how many minutes a lesson takes to read: its words, its lines of code and its figures.

    A word is what stands between spaces and has a letter or a digit in it. Blank lines and printed outputs are free.
    """
    words = lines = figures = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            words += sum(any(map(str.isalnum, word)) for word in cell.source.split())
        elif cell.cell_type == "code":
            lines += sum(bool(line.strip()) for line in cell.source.splitlines())
            figures += sum(any(kind.startswith("image/") for kind in output.get("data", ())) for output in cell.outputs)
    return words / WORDS + lines / LINES + figures / FIGURES


def lint(notebook: NotebookNode, folder: Path, root: Path) -> list[str]:
    """Return what is wrong with a stored lesson, one sentence each; nothing is run.

    Args:
        notebook: as read from the file.
        folder: where it lies; links are relative to it.
        root: the repository, which no link may leave.
    """
    found = unstable(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    tags = {id(cell): cell.metadata.get("tags", []) for cell in notebook.cells}

    if notebook.metadata.get("kernelspec") != KERNELSPEC:
        found.append(f"the kernel is not {KERNELSPEC['name']}")
    ids = [cell.get("id") for cell in notebook.cells]
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5) or None in ids:
        found.append("cells have no ids")
    if len(set(ids)) < len(ids):
        found.append("two cells have the same id")
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"execution counts are {counts}: run it in order from a fresh kernel")
    if len(nbformat.v4.writes(notebook).encode()) > LARGEST:
        found.append(f"larger than {LARGEST} bytes: smaller figures, photographs as JPEG")
    if not notebook.cells or not re.match(r"# \S", notebook.cells[0].source):
        found.append("the first cell is no title")
    for phrase in ("you will be able to", "what you should remember"):
        if phrase not in prose.lower():
            found.append(f"'{phrase}' is missing")
    minutes, stated = minutes_to_read(notebook), TIME.search(prose)
    if stated is None:
        found.append("no time to read is stated: '**Time** about 50 minutes to read'")
    elif abs(int(stated[1]) - minutes) > minutes / 3:
        found.append(f"the time to read is stated as {stated[1]} minutes, and is {minutes:.0f}")

    for number, cell in enumerate(code, start=1):
        kinds = {output.get("name", output.output_type) for output in cell.outputs}
        if "error" in kinds and RAISES not in tags[id(cell)]:
            found.append(f"code cell {number} stores an error and is not tagged {RAISES}")
        if "stderr" in kinds:
            found.append(f"code cell {number} stores stderr")
        for shown in (output.data.get("text/plain", "") for output in cell.outputs if "data" in output):
            if WIDGET.match(shown):
                found.append(
                    f"code cell {number} stores a bare widget ({shown.partition('(')[0]}): show it with "
                    "plots.follow_sliders or plots.follow_training, which say something to a reader without a kernel"
                )
        described = [data.get("alt") for output in cell.outputs for data in output.get("metadata", {}).values()]
        pictures = [kind for output in cell.outputs for kind in output.get("data", {}) if PICTURE.match(kind)]
        if len(list(filter(None, described))) < len(pictures):
            found.append(
                f"code cell {number} stores a picture without alternative text: begin the text below it with a "
                "sentence in italics that says what is to be seen, and build the lesson"
            )
        if wide := [line for line in cell.source.splitlines() if len(line) > WIDEST]:
            found.append(f"code cell {number} has a line of more than {WIDEST} characters: {wide[0].strip()[:40]} ...")
        if len(cell.source.splitlines()) > LONGEST:
            found.append(f"code cell {number} has more than {LONGEST} lines: move code to the package")
        if "nbval-skip" in tags[id(cell)] or "NBVAL_" in cell.source:
            found.append(f"code cell {number} is skipped or marked by a comment: the only exemption is {EXEMPT}")
    for position, cell in enumerate(notebook.cells, start=1):
        if match := ABSOLUTE_PATH.search(cell.source):
            found.append(f"cell {position} holds an absolute path ({match[0]})")

    shown = [cell for cell in code if cell.outputs]
    exempt = [cell for cell in shown if EXEMPT in tags[id(cell)]]
    if 4 * len(exempt) > len(shown):
        found.append(f"{len(exempt)} of {len(shown)} cells with output are exempt from comparison: at most a quarter")

    for target in (match[0] or match[1] for match in LINK.findall(NOT_PROSE.sub("", prose))):
        if not re.match(r"[a-z]+:|#", target):  # https:, mailto:, attachment:, a heading of this notebook
            place = (folder / urllib.parse.unquote(target.partition("#")[0])).resolve()
            if not place.is_relative_to(root.resolve()) or not place.exists():
                found.append(f"the link to {target} leads nowhere")

    if not found and normalise(notebook) != notebook:
        found.append("not as `frcnn-lessons build` stores it (times, bars, versions, words for pictures ...)")
    return found
