"""Counts and durations in words, for messages."""


def plural(noun: str) -> str:
    """The plural of a noun: ``"losses"``."""
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def count(number: int, noun: str) -> str:
    """A number of things: ``"1 clip"``, ``"1,200 clips"``."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it: ``"1.5 minutes"``."""
    if seconds >= 360:
        return f"{seconds / 3600:.2f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
