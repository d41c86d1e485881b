"""CONTRIBUTING.md is a map, and names what is there."""

import re

import pytest
from conftest import REPOSITORY

NAMED = sorted(
    set(
        re.findall(
            r"`((?:aejax|experiments|tests|benchmarks|docs)/[A-Za-z0-9_./]+)`",
            (REPOSITORY / "CONTRIBUTING.md").read_text(),
        )
    )
)


def test_there_are_places_to_go_to():
    assert len(NAMED) > 20


@pytest.mark.parametrize("name", NAMED)
def test_it_is_there(name):
    assert (REPOSITORY / name).exists()
