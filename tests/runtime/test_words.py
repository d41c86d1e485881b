"""Counts and durations as messages print them."""

import pytest

from aejax.runtime import words


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "clip", "1 clip"),
        (0, "clip", "0 clips"),
        (1200, "compiled program", "1,200 compiled programs"),
        (1, "loss", "1 loss"),
        (2, "loss", "2 losses"),
    ],
)
def test_one_is_singular(number, noun, text):
    assert words.count(number, noun) == text


def test_durations():
    assert [words.duration(x) for x in (1, 90, 5400)] == [
        "1.0 seconds",
        "1.5 minutes",
        "1.50 hours",
    ]
