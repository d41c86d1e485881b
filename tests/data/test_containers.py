"""Headers that say other than what is there: all of it is read, or the file is refused by name."""

import io
import re
import struct

import numpy as np
import pytest
import soundfile

from aejax.data import audio_file, containers, streams
from aejax.data.audio_file import UnusableAudio
from aejax.data.containers import Source
from aejax.data.containers.ogg import crc
from aejax.data.examination import examine

RNG = np.random.default_rng(0)
SOUND = (0.3 * np.sin(np.arange(20_000) * 0.05) + 0.02 * RNG.standard_normal(20_000)).clip(-1, 1)
LIST = b"LIST\5\0\0\0INFOx"  # of an odd size
ID3 = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)
ID3V1 = b"TAG" + b"a" * 125


def made(kind, encoding="PCM_16", *, frames=1000, rate=16_000, **options):
    """The bytes of a good file."""
    memory = io.BytesIO()
    soundfile.write(memory, SOUND[:frames], rate, format=kind, subtype=encoding, **options)
    return memory.getvalue()


def put(data, at, form, value):
    """The bytes with another number in them."""
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


def size_of(data, name, form, value, behind=4):
    return put(data, data.index(name) + behind, form, value)


def total(flac, frames):
    return put(put(flac, 21, "B", flac[21] & 0xF0 | frames >> 32), 22, ">I", frames % 2**32)


def pages(data):
    at = 0
    while at < len(data):
        end = at + 27 + data[at + 26]
        end += sum(data[at + 27 : end])
        yield data[at:end]
        at = end


def page(flags, granule, serial, number, packets):
    lacing = b"".join(b"\xff" * (len(p) // 255) + bytes([len(p) % 255]) for p in packets)
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, serial, number, 0)
    return sealed(head + bytes([len(lacing)]) + lacing + b"".join(packets))


def sealed(data):
    return put(data, 22, "<I", crc(data[:22] + bytes(4) + data[26:]))


def moved(ogg, change):
    """The same pages at other positions."""
    numbered = [(p, *struct.unpack("<q", p[6:14])) for p in pages(ogg)]
    return b"".join(sealed(put(p, 6, "<q", change(at))) if at > 0 else p for p, at in numbered)


def muxed(ogg):
    """With a stream of pictures that begins before it, and never ends."""
    sound = list(pages(ogg))
    pictures = [page(0, k, 7, k + 1, [bytes(50)]) for k in range(len(sound))]
    first = page(2, 0, 7, 0, [b"\x80theora" + bytes(35)])
    rest = b"".join(a + b for a, b in zip(pictures, sound[1:], strict=False))
    return first + sound[0] + rest


def in_ogg(flac):
    """Native FLAC, a frame to a page."""
    starts = [m.start() for m in re.finditer(b"\xff\xf8", flac)]
    starts = [s for s in starts if s > 42 and flac[s + 2] == flac[starts[0] + 2] or s == starts[0]]
    frames, block = [], int.from_bytes(flac[8:10], "big")
    for start in starts:
        if flac[start + 4] == len(frames):
            frames.append(start)
    bodies = [flac[a:b] for a, b in zip(frames, [*frames[1:], len(flac)], strict=True)]
    head = b"\x7fFLAC\1\0\0\1" + flac[:4] + bytes([flac[4] & 0x7F]) + flac[5:42]
    out = page(2, 0, 5, 0, [head]) + page(0, 0, 5, 1, [flac[42 : frames[0]]])
    for k, body in enumerate(bodies):
        last = k == len(bodies) - 1
        out += page(4 * last, min((k + 1) * block, 20_000), 5, k + 2, [body])
    return out


WAV, W64, AIFF, AU, CAF = (made(kind) for kind in ("WAV", "W64", "AIFF", "AU", "CAF"))
RF64, RIFX, AU_LE = made("RF64"), made("WAV", endian="BIG"), made("AU", endian="LITTLE")
SVX, ALAC = made("SVX"), made("CAF", "ALAC_16")
FLAC = made("FLAC", frames=20_000)
DATA = W64.index(b"data")
SSND = AIFF.index(b"SSND")

# Files of 1000 frames, all of which can be read.
WHOLE = {
    "data 0": size_of(WAV, b"data", "<I", 0),
    "data 0, RIFF 0": put(size_of(WAV, b"data", "<I", 0), 4, "<I", 0),
    "data 2**32 - 1": size_of(WAV, b"data", "<I", 2**32 - 1),
    "data of sox": size_of(WAV, b"data", "<I", 0x7FFFF000),
    "data 0, and LIST": size_of(WAV, b"data", "<I", 0) + LIST + b"\0",
    "data 2**32 - 1, and LIST": size_of(WAV, b"data", "<I", 2**32 - 1) + LIST + b"\0",
    "RIFF too small": put(WAV, 4, "<I", 100),
    "RIFF too large": put(WAV, 4, "<I", 9999),
    "garbage behind": WAV + b"\1\2\3\4garbage" * 9,
    "zeros behind": WAV + bytes(999),
    "ID3 before": ID3 + WAV,
    "ID3v1 behind": WAV + ID3V1,
    "odd chunk": WAV[:36] + LIST + b"\0" + WAV[36:],
    "odd chunk that is not made even": WAV[:36] + LIST + WAV[36:],
    "fmt behind": WAV[:12] + WAV[36:] + WAV[12:36],
    "an empty data before": WAV[:36] + b"data" + bytes(4) + WAV[36:],
    "two data": WAV[:40] + struct.pack("<I", 800) + WAV[44:844] + b"data\xb0\4\0\0" + WAV[844:],
    "a LIST cut off": WAV + b"LIST\xff\0\0\0INFOabc",
    "RIFX, data 0": size_of(RIFX, b"data", "<I", 0),
    "fact too small": size_of(made("WAV", "FLOAT"), b"fact", "<I", 5, 8),
    "fact too large": size_of(made("WAV", "FLOAT"), b"fact", "<I", 99_999, 8),
    "ds64 of more samples": put(RF64, 36, "<Q", 99_999),
    "ds64 of no samples": put(RF64, 36, "<Q", 0),
    "ds64 of no bytes": put(RF64, 28, "<Q", 0),
    "ds64 of 2**64 - 1 bytes": put(RF64, 28, "<Q", 2**64 - 1),
    "BW64": b"BW64" + RF64[4:],
    "W64, data -1": put(W64, DATA + 16, "<q", -1),
    "W64, data 0": put(W64, DATA + 16, "<q", 0),
    "W64, a chunk behind": W64 + b"list" + W64[DATA + 4 : DATA + 16] + b" ".ljust(16, b"\0"),
    "COMM of 0": size_of(AIFF, b"COMM", ">I", 0, 10),
    "COMM of more": size_of(AIFF, b"COMM", ">I", 9999, 10),
    "COMM of fewer": size_of(AIFF, b"COMM", ">I", 500, 10),
    "SSND 0": put(AIFF, SSND + 4, ">I", 0),
    "SSND 8": put(AIFF, SSND + 4, ">I", 8),
    "SSND -1": put(AIFF, SSND + 4, ">i", -1),
    "AIFF, ID3 before": ID3 + AIFF,
    "BODY 0": size_of(SVX, b"BODY", ">I", 0),
    "AU -1": put(AU, 8, ">i", -1),
    "AU 0": put(AU, 8, ">I", 0),
    "AU 0, little": put(AU_LE, 8, "<I", 0),
    "AU, ID3v1 behind": AU + ID3V1,
    "CAF -1": size_of(CAF, b"data", ">q", -1),
    "CAF 0": size_of(CAF, b"data", ">q", 0),
    "CAF 4": size_of(CAF, b"data", ">q", 4),
}
# Two of them, one behind the other.
TWICE = {"WAV": WAV, "AIFF": AIFF, "AU": AU, "CAF": CAF, "ALAC": ALAC, "W64": W64}
# Files of 20,000 frames.
LONG = {
    "total 0": total(FLAC, 0),
    "total too small": total(FLAC, 5000),
    "total of whole frames": total(FLAC, 16_384),
    "total too small, ID3": ID3 + total(FLAC, 19_999) + ID3V1,
    "FLAC, ID3v1 behind": FLAC + ID3V1,
    "FLAC, garbage behind": FLAC + RNG.bytes(3000),
    "FLAC of 24 bits": total(made("FLAC", "PCM_24", frames=20_000), 100),
    "FLAC in Ogg": in_ogg(FLAC),
}


def assert_read(path, expected):
    """That all of it is, by whoever asks for all or for a part."""
    found = examine(path)
    assert found.frames == len(expected)
    with streams.reading(path, found.sample_rate) as file:
        whole = file.read(0, found.frames + 5)[0]
    np.testing.assert_allclose(whole[:-5], expected, atol=2e-4)
    assert not whole[-5:].any()
    for start in (0, found.frames // 3, found.frames * 2 // 3, found.frames - 40):
        part = audio_file.read_excerpt(
            path,
            start,
            30,
            sample_rate=found.sample_rate,
            channels="first",
            seeks=found.seeks,
        )
        np.testing.assert_allclose(part, whole[start : start + 30], atol=2e-4)


@pytest.mark.parametrize("name", [*WHOLE, *LONG])
def test_all_that_can_be_read_is_read(tmp_path, name):
    path = tmp_path / "a"
    path.write_bytes(WHOLE.get(name) or LONG[name])
    assert_read(path, SOUND[: 1000 if name in WHOLE else 20_000])


@pytest.mark.parametrize("name", TWICE)
def test_two_files_in_one_are_read_one_behind_the_other(tmp_path, name):
    (tmp_path / "a").write_bytes(TWICE[name] * 2)
    assert_read(tmp_path / "a", np.tile(SOUND[:1000], 2))


BEHIND = {
    "junk": WAV + b"\1\2\3garbage",
    "zeros": WAV + bytes(99),
    "a tag": WAV + ID3V1,
    "an odd end": made("W64", "PCM_U8", frames=999),
    "Amiga's": made("SVX"),
    "FLAC": made("FLAC"),
}


@pytest.mark.parametrize("other", [WAV, AIFF, FLAC])
@pytest.mark.parametrize("name", BEHIND)
def test_a_sound_is_read_whatever_is_before_it(tmp_path, name, other):
    (tmp_path / "a").write_bytes(BEHIND[name] + other)
    frames = [999 if "odd" in name else 1000, 20_000 if other == FLAC else 1000]
    whole = np.concatenate([SOUND[:count] for count in frames])
    found = examine(tmp_path / "a")
    assert found.frames == len(whole)
    with streams.reading(tmp_path / "a", found.sample_rate) as file:
        np.testing.assert_allclose(file.read(0, len(whole))[0], whole, atol=0.02)


@pytest.mark.parametrize("kind", ["AU", "SVX", "NIST", "VOC", "IRCAM", "PVF", "PAF", "AVR", "XI"])
def test_a_tag_beside_a_sound_is_not_heard(tmp_path, kind):
    data = made(kind, {"XI": "DPCM_16", "AU": "G721_32"}.get(kind, "PCM_16"))
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(ID3 + data + ID3V1)
    assert examine(tmp_path / "a").digest == examine(tmp_path / "b").digest


@pytest.mark.parametrize("first", [WAV, AIFF, W64])
def test_mpeg_audio_behind_or_before_another_sound_is_refused(tmp_path, first):
    mp3 = made("MP3", "MPEG_LAYER_III", frames=20_000)
    for data in (first + mp3, mp3 + first):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(UnusableAudio, match="after"):
            examine(tmp_path / "a")


@pytest.mark.parametrize("kind", ["NIST", "AVR"])
def test_an_old_container_with_more_than_it_says_is_refused(tmp_path, kind):
    (tmp_path / "a").write_bytes(made(kind) * 2)
    with pytest.raises(UnusableAudio, match="1000 frames, of which"):
        examine(tmp_path / "a")


def test_a_chain_of_flac_has_totals_of_its_own(tmp_path):
    (tmp_path / "a").write_bytes(total(FLAC, 0) + made("FLAC", frames=7000) + total(FLAC, 9))
    assert_read(tmp_path / "a", np.concatenate([SOUND, SOUND[:7000], SOUND]))


def test_sounds_of_two_kinds_are_not_taken_for_one(tmp_path):
    (tmp_path / "a").write_bytes(WAV + made("WAV", rate=8000))
    with pytest.raises(UnusableAudio, match="of 16000 Hz and 1 channels, then of 8000 Hz"):
        examine(tmp_path / "a")


@pytest.mark.parametrize(
    ("data", "says"),
    {
        "data low": (size_of(WAV, b"data", "<I", 500), "1500 bytes after the sound"),
        "data of 3 GB": (size_of(WAV, b"data", "<I", 3 << 30), "truncated: 2000 of"),
        "empty": (WAV[:40] + bytes(4), "no audio in it"),
        "empty, and LIST": (WAV[:40] + bytes(4) + LIST, "no audio in it"),
        "ds64 low": (put(RF64, 28, "<Q", 500), "1500 bytes after the sound"),
        "ds64 high": (put(RF64, 28, "<Q", 9999), "truncated: 2000 of 9999 bytes"),
        "W64 low": (put(W64, DATA + 16, "<q", 524), "bytes after the sound"),
        "W64 high": (put(W64, DATA + 16, "<q", 9999), "truncated"),
        "SSND low": (put(AIFF, SSND + 4, ">I", 508), "bytes after the sound"),
        "SSND high": (put(AIFF, SSND + 4, ">I", 9999), "truncated"),
        "AU low": (put(AU, 8, ">I", 500), "500 bytes of sound, and 1500 more"),
        "AU high": (put(AU, 8, ">I", 9999), "truncated"),
        "CAF low": (size_of(CAF, b"data", ">q", 504), "bytes after the sound"),
        "CAF high": (size_of(CAF, b"data", ">q", 9999), "truncated: 2004 of 9999"),
        "FLAC high": (total(FLAC, 30_000), "truncated: 20000 of 30000"),
        "FLAC cut": (total(FLAC, 0)[:-900], "incomplete last frame"),
    }.values(),
)
def test_what_may_be_lost_is_said(tmp_path, data, says):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UnusableAudio, match=says):
        examine(tmp_path / "a")


@pytest.fixture(scope="module", params=[("VORBIS", 44_100), ("OPUS", 48_000), ("OPUS", 16_000)])
def ogg(request):
    """The bytes of a file of several pages, and what is decoded of it from beginning to end."""
    memory, sound = io.BytesIO(), np.tile(SOUND, 3)
    encoding, rate = request.param
    soundfile.write(memory, sound, rate, format="OGG", subtype=encoding)
    data = memory.getvalue()
    return data, soundfile.read(io.BytesIO(data), dtype="float32")[0]


def test_ogg_is_read_whatever_is_behind_or_beside_it(ogg, tmp_path):
    data, sound = ogg
    path = tmp_path / "a"
    for count, variant in ((2, data * 2), (3, data * 3), (1, muxed(data)), (2, muxed(data) * 2)):
        path.write_bytes(variant)
        assert_read(path, np.tile(sound, count))
    for variant in (ID3 + data, data + ID3V1):
        path.write_bytes(variant)
        assert_read(path, sound)


def test_ogg_cut_out_of_a_longer_one_is_read(ogg, tmp_path):
    data, sound = ogg
    path = tmp_path / "a"
    path.write_bytes(moved(data, lambda at: at + 960_000))
    found = examine(path)
    with streams.reading(path, found.sample_rate) as file:
        whole = file.read(0, found.frames)[0]
    extra = len(whole) - len(sound)  # what the encoder put before
    assert 0 <= extra <= 312
    np.testing.assert_allclose(whole[extra:][2000:], sound[2000:], atol=0.02)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: moved(data, lambda at: at * 2), "granule positions count"),
        (lambda data: moved(data, lambda at: at // 3), "granule positions count"),
        (lambda data: data + data[:-20], "truncated"),
        (lambda data: data + made("OGG", "OPUS", rate=24_000), "then of 24000 Hz"),
        (lambda data: b"".join(a + b for a, b in zip(pages(data), pages(
            made("OGG", frames=20_000, encoding="VORBIS")), strict=False)), "side by side|no end"),
    ],
)  # fmt: skip
def test_ogg_that_contradicts_itself_is_refused(ogg, tmp_path, change, says):
    (tmp_path / "a").write_bytes(change(ogg[0]))
    with pytest.raises(UnusableAudio, match=says):
        examine(tmp_path / "a")


@pytest.mark.parametrize("rate", [8000, 48_000])
def test_any_stretch_of_vorbis_is_that_of_the_whole(tmp_path, rate):
    """libsndfile goes astray when it seeks into the last page."""
    path, sound = tmp_path / "a.ogg", np.tile(SOUND, 4)
    soundfile.write(path, sound, rate)
    whole = soundfile.read(path, dtype="float32")[0]
    for start in [
        *range(0, len(sound) - 50, 4999),
        *range(len(sound) - 3000, len(sound) - 50, 501),
    ]:
        part = audio_file.read_excerpt(path, start, 50, sample_rate=rate, channels="mono")
        np.testing.assert_allclose(part, whole[start : start + 50], atol=1e-4)


@pytest.mark.parametrize("kind", ["WAV", "W64", "AIFF", "AU", "CAF"])
def test_more_than_4_gib_whose_length_the_header_does_not_say(tmp_path, kind):
    """A hole on the disk: nothing is there but the header, and the last samples."""
    path, frames = tmp_path / "big", 2_200_000_000
    data = {"WAV": size_of(WAV, b"data", "<i", -1), "W64": put(W64, DATA + 16, "<q", -1)}
    data |= {"AIFF": put(AIFF, SSND + 4, ">i", -1), "AU": put(AU, 8, ">i", -1)}
    data |= {"CAF": size_of(CAF, b"data", ">q", -1)}
    head = len(data[kind]) - 2000
    with path.open("wb") as file:
        file.write(data[kind][:head])
        file.seek(head + 2 * frames - 2000)
        file.write(data[kind][head:])
    with path.open("rb") as file:
        (link,) = containers.links(Source(file.fileno()))
    assert link.frames == frames
    last = audio_file.read_excerpt(
        path,
        frames - 900,
        950,
        sample_rate=16_000,
        channels="mono",
        seeks=link.parts is None,
    )
    np.testing.assert_allclose(last[:900], SOUND[100:1000], atol=1e-4)
    assert not last[900:].any()


def xing(data, frames):
    """An MP3 with another count in its first frame."""
    at = max(data.find(b"Xing"), data.find(b"Info"))
    return put(data, at + 8, ">I", frames)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_is_as_long_as_its_frames(tmp_path, mode):
    path = tmp_path / "a.mp3"
    data = made("MP3", "MPEG_LAYER_III", frames=20_000, rate=44_100, bitrate_mode=mode)
    for good in (data, ID3 + data + ID3V1):
        path.write_bytes(good)
        assert examine(path).frames == 20_000
    count = struct.unpack(">I", data[max(data.find(b"Xing"), data.find(b"Info")) + 8 :][:4])[0]
    for wrong in (xing(data, count - 1), xing(data, count // 2), data + ID3 + data):
        path.write_bytes(wrong)
        with pytest.raises(UnusableAudio, match="its header counts"):
            examine(path)
    path.write_bytes(xing(data, count * 2))
    with pytest.raises(UnusableAudio, match="truncated"):
        examine(path)
