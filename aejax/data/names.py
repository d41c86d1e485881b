"""One spelling for names that are the same to a reader: paths in tables and patterns, label values.

macOS takes letters and their accents apart (Unicode NFD) where others keep them together (NFC),
Windows separates folders by backslashes, and spreadsheets add blanks.
"""

import posixpath
import unicodedata
from collections.abc import Sequence


def nfc(text: str) -> str:
    """The text with every letter and its accents as one character, where there is one."""
    return unicodedata.normalize("NFC", text)


def canonical(path: str) -> str:
    """A path in NFC with forward slashes, without ``./`` and without blanks around it."""
    return posixpath.normpath(nfc(path.strip()).replace("\\", "/"))


def value(text: str) -> str:
    """A label's value in NFC that UTF-8 can express, with single blanks inside and none around."""
    return visible(nfc(" ".join(text.split())))


def index(text: str, known: Sequence[str]) -> int | None:
    """Where in ``known`` the text is, or else that which differs from it in spelling alone."""
    if text in known:
        return known.index(text)
    alike = [place for place, each in enumerate(known) if value(each) == value(text)]
    return alike[0] if len(alike) == 1 else None


def visible(text: str) -> str:
    r"""The text, with ``\udceb`` for the byte EB of a name that is not UTF-8: it can be written
    to any file."""
    return text.encode("utf-8", "backslashreplace").decode()
