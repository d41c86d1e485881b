"""Why an audio file cannot be used."""


class UnusableAudio(Exception):
    """A file that cannot be used; the message is the reason, without the file's name."""


class NotAudio(UnusableAudio):
    """A file that may never have been audio: not even its beginning is."""


class OutOfReach(UnusableAudio):
    """A file that the system does not give: what is wrong need not lie in the file."""
