"""Number of samples in the packets of an Ogg stream, without decoding them."""

from typing import ClassVar


class OggCodec:
    """Counts the samples of an Ogg stream, packet by packet.

    Attributes:
      bare: whether the packets alone, without Ogg's pages, are a decodable file.
      strip: bytes to remove from the first packet for such a file.
      rate: Hz of the granule positions; 0 for the sound's own rate.
      longest: most samples in a packet; the end may be trimmed by so many.
      skip: samples to skip at the beginning.
      counted: samples so far; None if unknown.
    """

    bare: ClassVar[bool] = False
    strip: ClassVar[int] = 0
    rate: ClassVar[int] = 0
    longest = 2**63
    skip = 0
    counted: int | None = None

    def __init__(self, first: bytes):
        self.headers = 0

    def samples(self, packet: bytes) -> int:
        """Number of samples in the next packet."""
        raise NotImplementedError


class Vorbis(OggCodec):
    """Vorbis: overlapping blocks of two sizes; the setup header has the size of each mode."""

    def __init__(self, first: bytes):
        super().__init__(first)
        sizes = first[28] if len(first) > 28 else 0
        self._sizes = 1 << (sizes & 15), 1 << (sizes >> 4)
        self.longest = max(self._sizes)
        self._flags: list[int] = []
        self._before = 0

    def samples(self, packet: bytes) -> int:
        """See `OggCodec`."""
        if self.headers < 3:
            self.headers += 1
            if self.headers == 3:
                self._flags = _modes(packet)
                self.counted = 0 if self._flags else None
            return 0
        if not packet or packet[0] & 1 or self.counted is None:
            return 0 if self.counted is not None else 1
        mode = packet[0] >> 1 & (1 << (len(self._flags) - 1).bit_length()) - 1
        if mode >= len(self._flags):
            return 0
        size = self._sizes[self._flags[mode]]
        samples = (self._before + size) // 4 if self._before else 0
        self._before = size
        self.counted += samples
        return samples


def _modes(setup: bytes) -> list[int]:
    """Whether blocks of each mode are long. The list is at the end of the setup header and is read
    backwards: 6 bits of its length, 41 bits for each mode, and a bit that is 1."""
    bits = int.from_bytes(setup, "little")
    end = bits.bit_length() - 1
    flags: list[int] = []
    modes: list[int] = []
    while len(flags) < 64 and end - 41 * (len(flags) + 1) > 48:
        first = end - 41 * (len(flags) + 1)
        mode = bits >> first & (1 << 41) - 1
        if mode >> 1 & 0xFFFFFFFF or mode >> 33 > 63:  # window and transform are always 0
            break
        flags.insert(0, mode & 1)
        if (bits >> first - 6 & 63) + 1 == len(flags):
            modes = list(flags)
    return modes


class Opus(OggCodec):
    """Opus: frames of 2.5 to 60 ms, given by the first byte of a packet (RFC 6716, 3.1)."""

    rate = 48_000
    longest = 2 * 5760

    def __init__(self, first: bytes):
        super().__init__(first)
        self.skip = int.from_bytes(first[10:12], "little")
        self.counted: int = 0

    def samples(self, packet: bytes) -> int:
        """See `OggCodec`."""
        if self.headers < 2 or not packet:
            self.headers += 1
            return 0
        config, kind = packet[0] >> 3, packet[0] & 3
        if config < 12:
            size = (480, 960, 1920, 2880)[config & 3]
        else:
            size = (480, 960)[config & 1] if config < 16 else 120 << (config & 3)
        count = 1 if kind == 0 else 2 if kind < 3 else packet[1] & 63 if len(packet) > 1 else 0
        self.counted += size * count
        return size * count


class Flac(OggCodec):
    """FLAC: frames that have their own numbers."""

    bare = True
    strip = 9

    def samples(self, packet: bytes) -> int:
        """1 if the packet has sound, else 0; see `OggCodec`."""
        return int(packet[:1] == b"\xff" and packet[1:2] in (b"\xf8", b"\xf9"))


CODECS: dict[bytes, type[OggCodec]] = {
    b"\x01vorbis": Vorbis,
    b"OpusHead": Opus,
    b"\x7fFLAC": Flac,
}
