import unicodedata

import pytest

from aejax.data import names


def test_of_what_is_spelt_otherwise_there_must_be_one():
    apart = unicodedata.normalize("NFD", "é")
    assert names.index("é", ["x", apart]) == 1
    assert names.index(" x\u00a0", ["x", apart]) == 0
    assert names.index(apart, ["é", apart]) == 1
    assert names.index("é ", ["é", apart]) is None
    assert names.index("X", ["x"]) is None


@pytest.mark.parametrize("text", ["caf\udce9", "\ud800", "a\nb", "é"])
def test_what_is_visible_can_be_written_and_stays_apart(text):
    assert names.visible(text).encode("utf-8")
    assert (names.visible(text) == text) == text.isascii() or text == "é"
