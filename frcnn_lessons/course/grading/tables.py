"""Read the tables that an instructor keeps (students.csv, accepted.csv, by_hand.csv), as spreadsheets save them."""

import csv
from pathlib import Path


class TableError(ValueError):
    """A table of the instructor's cannot be read; the message says which line, and what to do."""


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file below its head; none where there is no file, or nothing in it.

    Args:
        path: of a file in UTF-8, with commas or semicolons between its cells.
        columns: those that its head has to name, in any order; others are left out.

    Raises:
        TableError: it is not in UTF-8, its head lacks a column, or a row has too few cells.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise TableError(f'{path} is not in UTF-8; save it as "CSV UTF-8"') from None
    if not any(lines):
        return []
    reader = csv.reader(lines, delimiter=";" if ";" in lines[0] else ",")
    head = [name.strip() for name in next(reader, [])]
    if not set(columns) <= set(head):
        raise TableError(f"{path}: its first line has to be {','.join(columns)}")
    rows = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        cells = dict(zip(head, (cell.strip() for cell in row), strict=False))
        if not set(columns) <= set(cells):
            raise TableError(f"{path}, line {reader.line_num}: it has to say {','.join(columns)}")
        rows.append({name: cells[name] for name in columns})
    return rows
