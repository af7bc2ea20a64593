"""What people's own VOC folders hold, from public bug reports: each kind of fault with the value that is right."""

import pytest

from frcnn_lessons.datasets.reading import read_flag


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (("1", "1.0", " 1 ", "True", "TRUE", "yes", "Yes"), True),
        (("0", "0.0", "False", "no", "NO", "", "  ", None), False),
        (("Unspecified", "2", "-1", "maybe"), None),
    ],
)
def test_flags_are_read_as_tools_write_them(texts, value):
    assert [read_flag(text) for text in texts] == [value] * len(texts)
