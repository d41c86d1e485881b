"""The file format ``.aej``: a header, range-coded latents, and a checksum.

All numbers are little-endian. The checksum is CRC-32C (RFC 3720, appendix B.4) over all bytes
before it.
"""

import dataclasses
import stat
import struct
from pathlib import Path

import numpy as np

from aejax.data.audio_file import NotAudio, UnusableAudio
from aejax.data.examination import HIGHEST_RATE, LOWEST_RATE
from aejax.runtime.errors import UserError

SUFFIX = ".aej"
_MAGIC = b"AEJ\x00"
_PLAIN, _WITH_SILENCE = _VERSIONS = 3, 4
# Magic, version, bytes of the name, model, rate, channels, codebooks, samples, scale, bytes of the
# payload. The name, a ceiling for each channel and the payload follow.
_HEADER = struct.Struct("<4sBB16sIHHQdI")
_CEILING = np.dtype("<f4")
_CHECKSUM = struct.Struct("<I")
_MOST_BYTES = 1 << 30
_MOST_CHANNELS = 1024


@dataclasses.dataclass(frozen=True)
class Compressed:
    """The content of an ``.aej`` file.

    Attributes:
      name: name of the run, for messages.
      model: hash of all that decoding depends on, 16 bytes.
      sample_rate: Hz, of the sound.
      channels: of the sound.
      samples: of each channel.
      codebooks: number of codebooks used; 0 for a model without codebooks.
      scale: factor of the step sizes of latents.
      payload: coded latents.
      has_silence: whether the payload marks the latent frames of digital silence.
      ceilings: ``[channels]``, peak limits of the output, full scale being 1.
    """

    name: str
    model: bytes
    sample_rate: int
    channels: int
    samples: int
    codebooks: int
    scale: float
    payload: bytes
    has_silence: bool
    ceilings: np.ndarray

    def pack(self) -> bytes:
        """The bytes of the file."""
        name = self.name.encode("ascii")
        header = _HEADER.pack(
            _MAGIC,
            _WITH_SILENCE if self.has_silence else _PLAIN,
            len(name),
            self.model,
            self.sample_rate,
            self.channels,
            self.codebooks,
            self.samples,
            self.scale,
            len(self.payload),
        )
        body = header + name + self.ceilings.astype(_CEILING).tobytes() + self.payload
        return body + _CHECKSUM.pack(_crc32c(body))


def read(path: Path) -> Compressed:
    """Reads an ``.aej`` file, in time and memory proportional to its size.

    Raises:
      UnusableAudio: it has another format, is damaged, or has impossible values.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
            raise NotAudio("not a regular file")
        if status.st_size > _MOST_BYTES:
            raise UnusableAudio(f"larger than {_MOST_BYTES >> 20} MB")
        return unpack(path.read_bytes())
    except OSError as error:
        raise UnusableAudio(f"cannot be opened: {error.strerror or error}") from None


def unpack(data: bytes) -> Compressed:
    """Inverse of `Compressed.pack`.

    Raises:
      UnusableAudio: see `read`.
    """
    if data[:4] != _MAGIC:
        raise NotAudio(f"not a file of aejax compress ({SUFFIX})")
    if len(data) < _HEADER.size + _CHECKSUM.size:
        raise UnusableAudio("truncated: its header is not complete")
    _, version, name_size, model, rate, channels, codebooks, samples, scale, size = (
        _HEADER.unpack_from(data)
    )
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise UnusableAudio(f"version {version} of the format; this aejax reads {known}")
    after_name = _HEADER.size + name_size
    start = after_name + _CEILING.itemsize * channels
    total = start + size + _CHECKSUM.size
    if len(data) != total:
        word = "truncated" if len(data) < total else "too long"
        raise UnusableAudio(f"{word}: {len(data)} of {total} bytes")
    (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
    if checksum != _crc32c(data[: -_CHECKSUM.size]):
        raise UnusableAudio("damaged: its checksum is wrong")
    name = data[_HEADER.size :][:name_size].decode("ascii", "replace")
    payload = data[start : -_CHECKSUM.size]
    ceilings = np.frombuffer(data[after_name:start], _CEILING).astype(np.float32)
    has_silence = version == _WITH_SILENCE
    compressed = Compressed(
        name, model, rate, channels, samples, codebooks, scale, payload, has_silence, ceilings
    )
    if not LOWEST_RATE <= compressed.sample_rate <= HIGHEST_RATE:
        raise UnusableAudio(f"damaged: a sample rate of {compressed.sample_rate} Hz")
    if not 1 <= compressed.channels <= _MOST_CHANNELS:
        raise UnusableAudio(f"damaged: {compressed.channels} channels")
    if not compressed.samples:
        raise UnusableAudio("damaged: no samples")
    if not 0 < compressed.scale < float("inf"):
        raise UnusableAudio(f"damaged: steps of {compressed.scale}")
    if not np.isfinite(ceilings).all() or (ceilings < 0).any():
        raise UnusableAudio("damaged: impossible peak limits")
    return compressed


def _crc32c(data: bytes) -> int:
    try:
        import google_crc32c
    except ImportError:
        raise UserError("this needs google-crc32c: pip install 'aejax[compress]'") from None
    return int(google_crc32c.value(data))
