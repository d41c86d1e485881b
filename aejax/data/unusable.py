"""Reasons why an audio file cannot be used."""


class UnusableAudio(Exception):
    """A file that cannot be used; the message is the reason, without the file's name."""


class NotAudio(UnusableAudio):
    """A file that does not begin as audio, and may never have been audio."""


class OutOfReach(UnusableAudio):
    """A file that cannot be opened or read; the file itself may be intact."""
