"""Canonical spelling of names: paths in tables and patterns, and label values.

macOS decomposes letters with accents (Unicode NFD) where others compose them (NFC), Windows
separates folders by backslashes, and spreadsheets add blanks.
"""

import posixpath
import unicodedata
from collections.abc import Sequence


def nfc(text: str) -> str:
    """The text in NFC: letters with their accents as single characters where possible."""
    return unicodedata.normalize("NFC", text)


def canonical(path: str) -> str:
    """A path in NFC with forward slashes, without ``./`` and without blanks around it."""
    return posixpath.normpath(nfc(path.strip()).replace("\\", "/"))


def value(text: str) -> str:
    """A label's value in NFC, encodable as UTF-8, with single blanks inside and none around."""
    return visible(nfc(" ".join(text.split())))


def index(text: str, known: Sequence[str]) -> int | None:
    """Index of the text in ``known``; else of the only name that differs just in spelling."""
    if text in known:
        return known.index(text)
    matches = [i for i, name in enumerate(known) if value(name) == value(text)]
    return matches[0] if len(matches) == 1 else None


def visible(text: str) -> str:
    r"""The text with bytes that are not UTF-8 escaped: ``\udceb`` for the byte EB."""
    return text.encode("utf-8", "backslashreplace").decode()
