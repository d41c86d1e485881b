"""Files of every format that can be written here: read right, or refused by name."""

import os
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aejax.data import audio_file
from aejax.data.audio_file import UnusableAudio
from aejax.data.containers import Source, mpeg
from aejax.data.examination import examine

RNG = np.random.default_rng(0)
# Headerless, or kept in a resource fork: nothing that can be read without being told more.
NO_HEADER = ("RAW", "SD2")
# Their headers promise no length, so that a shorter file is as valid.
NO_LENGTH = ("IRCAM", "PAF", "PVF", "XI")
# libsndfile does not read these back, or finds fault with what it wrote.
NOT_READ_BACK = ("DWVW_12", "DWVW_16", "DWVW_24", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32")
LOSSLESS = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_16", "ALAC_20", "ALAC_24")


def written(path, kind, audio):
    """Writes the audio at the first rate that the format takes; None if it takes none."""
    for rate in (16000, 48000, 8000):
        try:
            soundfile.write(path, audio, rate, format=kind[0], subtype=kind[1])
        except (soundfile.LibsndfileError, ValueError, TypeError):
            continue
        return rate
    return None


KINDS = [
    (name, encoding)
    for name in soundfile.available_formats()
    for encoding in soundfile.available_subtypes(name)
    if name not in NO_HEADER and encoding not in NOT_READ_BACK
]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def sound():
    t = np.arange(5000) / 16000
    return 0.4 * np.sin(2 * np.pi * 440 * t) + 0.05 * RNG.standard_normal(5000)


@pytest.fixture(scope="module")
def file(kind, sound, tmp_path_factory):
    """The bytes of a file of that kind, and its sample rate."""
    path = tmp_path_factory.mktemp("kind") / "no suffix"
    rate = written(path, kind, sound)
    if rate is None:
        pytest.skip("cannot be written")
    # Some write a rate of their own, or one that their header's units can say.
    return path.read_bytes(), {"WVE": 8000, "XI": 44100}.get(kind[0], rate)


def test_every_format_is_read_whatever_it_is_called(kind, file, sound, tmp_path):
    data, rate = file
    path = tmp_path / "some.txt"
    path.write_bytes(data)
    found = examine(path)
    assert found.sample_rate == pytest.approx(rate, rel=0.01)
    assert found.channels == 1
    assert len(sound) <= found.frames <= len(sound) + 320
    read = audio_file.read_excerpt(path, 1000, 3000, sample_rate=found.sample_rate, channels="mono")
    if kind[1] in LOSSLESS:
        np.testing.assert_allclose(read, sound[1000:4000], atol=1e-4)
    else:
        # Codecs may delay; what they put out is still that sound.
        near = [np.corrcoef(read, sound[1000 - k : 4000 - k])[0, 1] for k in range(0, 1000, 8)]
        assert max(near) > (0.5 if kind[1] in ("GSM610", "OPUS") else 0.9)


def test_truncation_is_found_out_or_harmless(kind, file, tmp_path):
    """Anywhere cut, it is refused; or all of the audio is there still."""
    data, _ = file
    path = tmp_path / "cut"
    path.write_bytes(data)
    whole = examine(path)
    cuts = {1, 2, 3, 20, len(data) // 7, len(data) // 2, int(0.9 * len(data))}
    cuts |= set(RNG.integers(1, len(data), 8).tolist())
    for cut in sorted(cuts):
        path.write_bytes(data[: len(data) - cut])
        try:
            found = examine(path)
        except UnusableAudio:
            continue
        if kind[0] in NO_LENGTH:
            assert found.frames <= whole.frames
        else:
            assert found == whole, f"{cut} bytes less, and {found.frames} frames without a word"


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_mutated_header_is_refused_or_read_consistently(file, tmp_path, data):
    """Never a crash, and never other audio than was examined."""
    content, _ = file
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 300) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated"
    path.write_bytes(changed)
    try:
        found = examine(path)
    except UnusableAudio:
        return
    assert 1000 <= found.sample_rate <= 1_000_000
    assert found.frames > 0
    assert np.isfinite([found.peak, found.rms, found.clipped, found.mono]).all()
    assert found == examine(path)
    length = min(found.frames, 700)
    start = (found.frames - length) // 2
    settings = {"sample_rate": found.sample_rate, "channels": "first"}
    try:
        part = audio_file.read_excerpt(path, start, length, **settings)
        whole = audio_file.read_excerpt(path, 0, min(found.frames, 20000), **settings)
    except UnusableAudio:
        return
    assert np.isfinite(part).all()
    if start + length <= len(whole):
        np.testing.assert_allclose(part, whole[start : start + length], atol=0.02)


def wav(tmp_path, **fields):
    """A WAV of 1000 frames in stereo, with other numbers in its header."""
    path = tmp_path / "lie.wav"
    soundfile.write(path, RNG.uniform(-0.5, 0.5, (1000, 2)), 16000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    places = {"channels": (22, "<H"), "rate": (24, "<I"), "byte_rate": (28, "<I")}
    places |= {"align": (32, "<H"), "bits": (34, "<H"), "size": (40, "<I")}
    for name, value in fields.items():
        place, form = places[name]
        data[place : place + struct.calcsize(form)] = struct.pack(form, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bits": 17}, "contradicts itself: 2 channels of 17 bits in 4 bytes"),
        ({"bits": 17, "align": 6}, "64000 bytes a second"),
        ({"bits": 24}, "contradicts itself"),
        ({"bits": 1}, "contradicts itself"),
        ({"channels": 7}, "contradicts itself"),
        ({"channels": 0}, "unreadable"),
        ({"align": 9}, "contradicts itself"),
        ({"rate": 99000}, "64000 bytes a second, not 99000"),
        ({"rate": 1, "byte_rate": 4}, "a sample rate of 1 Hz"),
        ({"rate": 0}, "unreadable"),
        ({"size": 9999}, "truncated: 4000 of 9999 bytes"),
    ],
    ids=str,
)
def test_a_wav_that_lies_is_refused(tmp_path, fields, says):
    with pytest.raises(UnusableAudio, match=says):
        examine(wav(tmp_path, **fields))


def test_a_streamed_wav_is_not_truncated(tmp_path):
    assert examine(wav(tmp_path, size=0xFFFFFFFF)).frames == 1000


def test_a_flac_that_lies_about_its_length_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, RNG.uniform(-0.5, 0.5, 20000), 16000)
    data = bytearray(path.read_bytes())
    data[25] += 1  # the lowest byte of the 36 bits of total samples
    path.write_bytes(data)
    with pytest.raises(UnusableAudio, match=r"truncated|unreadable"):
        examine(path)


def test_a_header_that_promises_years_is_refused_at_once(tmp_path):
    """libsndfile goes on decoding past the end, as long as the header says."""
    path = tmp_path / "a.w64"
    soundfile.write(path, RNG.uniform(-0.5, 0.5, 3000), 8000, format="W64", subtype="GSM610")
    data = bytearray(path.read_bytes())
    place = data.rindex(b"data") + 16
    data[place : place + 8] = struct.pack("<q", -4107282860161891664)
    path.write_bytes(data)
    with pytest.raises(UnusableAudio):
        examine(path)


def test_long_silence_in_few_bytes_is_no_lie(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros(10**6), 16000)
    soundfile.write(tmp_path / "a.ogg", np.zeros(10**6), 16000)
    assert examine(tmp_path / "a.flac").frames == 10**6
    assert examine(tmp_path / "a.ogg").frames == 10**6


@pytest.fixture
def uneven():
    """Loud noise, then near silence, then a tone: where a variable bit rate varies."""
    t = np.arange(96000)
    loud, quiet = RNG.uniform(-0.6, 0.6, 96000), 0.001 * RNG.standard_normal(144000)
    return np.concatenate([loud, quiet, 0.3 * np.sin(0.05 * t)])


def mp3(path, audio, mode):
    kind = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": mode}
    soundfile.write(path, audio, 44100, compression_level=0.3, **kind)


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_any_stretch_of_an_mp3_is_that_of_the_whole(tmp_path, uneven, mode):
    mp3(tmp_path / "a.mp3", uneven, mode)
    found = examine(tmp_path / "a.mp3")
    assert found.frames == len(uneven)
    assert found.seeks == (mode == "CONSTANT")
    whole = soundfile.read(tmp_path / "a.mp3", dtype="float32")[0]
    rms = np.sqrt(np.mean(np.square(whole, dtype=np.float64)))
    assert found.rms == pytest.approx(rms, rel=1e-5)
    for start in range(1000, 300_000, 13_337):
        part = audio_file.read_excerpt(
            tmp_path / "a.mp3",
            start,
            4000,
            sample_rate=44100,
            channels="mono",
            seeks=found.seeks,
        )
        np.testing.assert_allclose(part, whole[start : start + 4000], atol=1e-4)


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_an_mp3_without_a_xing_header(tmp_path, uneven, mode):
    """libsndfile guesses its length from the first frame, and reads no further."""
    path = tmp_path / "a.mp3"
    mp3(path, uneven, mode)
    with path.open("rb") as file:
        source = Source(file.fileno())
        frames = [frame for _, frame in mpeg.frames(source, 0, source.size)]
    assert b"".join(frames) == path.read_bytes()
    path.write_bytes(b"".join(frames[1:]))
    if mode == "CONSTANT":
        assert examine(path).frames == pytest.approx(len(uneven), abs=3 * 1152)
    else:
        with pytest.raises(UnusableAudio, match="variable bit rate and unknown length"):
            examine(path)


def test_two_mp3s_in_one_file_are_refused(tmp_path, uneven):
    mp3(tmp_path / "a.mp3", uneven, "CONSTANT")
    (tmp_path / "b.mp3").write_bytes(2 * (tmp_path / "a.mp3").read_bytes())
    with pytest.raises(UnusableAudio, match="its header counts 293 MPEG frames, but it has 587"):
        examine(tmp_path / "b.mp3")


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_a_damaged_ogg_is_refused(tmp_path, codec):
    path = tmp_path / "a.ogg"
    soundfile.write(path, RNG.uniform(-0.5, 0.5, 300_000), 48000, format="OGG", subtype=codec)
    data = path.read_bytes()
    for place in range(60, len(data), len(data) // 9):
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(UnusableAudio):
            examine(path)
    pages = [b"OggS" + page for page in data.split(b"OggS")[1:]]
    path.write_bytes(b"".join(pages[:4] + pages[5:]))
    with pytest.raises(UnusableAudio, match="is missing"):
        examine(path)


TITLES = ["truncated take", "Frames : 480000", "data : 5 should be 9", "*** truncated"]
TITLES += ["a\n" + title + "\nb" for title in TITLES[1:]]
TITLES += ["=> WAVE_FORMAT_PCM\n  Bit Width : 7\n  Block Align : 3\n  Channels : 5\nData Size : 5"]


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "AIFF", "FLAC", "OGG", "CAF", "MP3"])
@pytest.mark.parametrize("title", TITLES)
def test_what_a_file_is_called_is_no_header(tmp_path, kind, title):
    path = tmp_path / "a"
    with soundfile.SoundFile(path, "w", 16000, 1, format=kind) as file:
        file.title = file.artist = title
        if kind != "MP3":
            file.comment = title
        file.write(RNG.uniform(-0.5, 0.5, 5000))
    assert examine(path).frames == 5000


@pytest.mark.parametrize("title", TITLES)
def test_no_chunk_of_text_is_a_header(tmp_path, title):
    """Broadcast WAV and AIFF have chunks of text that libsndfile shows line by line."""
    text, path = title.encode().ljust(602, b"\0"), tmp_path / "a"
    for kind, name, order in (("WAV", b"bext", "little"), ("AIFF", b"ANNO", "big")):
        soundfile.write(path, RNG.uniform(-0.5, 0.5, 5000), 16000, format=kind)
        data = path.read_bytes()
        path.write_bytes(data[:12] + name + len(text).to_bytes(4, order) + text + data[12:])
        assert examine(path).frames == 5000


def test_noise_on_the_disk_is_no_sound(tmp_path):
    """libsndfile takes anything that begins with 01 04 for a sampler's."""
    path = tmp_path / "a.bin"
    for _ in range(300):
        path.write_bytes(b"\x01\x04" + RNG.bytes(3000))
        with pytest.raises(UnusableAudio):
            examine(path)


@pytest.mark.parametrize("bits", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2, 5, 16])
def test_widths_and_channels(tmp_path, bits, channels):
    audio = RNG.uniform(-0.9, 0.9, (300, channels))
    soundfile.write(tmp_path / "a.wav", audio, 192_000, subtype=bits)
    found = examine(tmp_path / "a.wav")
    assert (found.frames, found.channels, found.sample_rate) == (300, channels, 192_000)
    assert found.peak == pytest.approx(np.abs(audio).max(), abs=0.01)
    assert found.rms == pytest.approx(np.sqrt(np.mean(audio**2)), rel=0.02)
    power = np.mean(audio.mean(1) ** 2) / np.mean(audio**2)
    assert found.mono == pytest.approx(power if channels > 1 else 1, rel=0.02)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e25])
def test_what_is_no_sound_is_refused(tmp_path, value):
    audio = RNG.uniform(-0.5, 0.5, 5000)
    audio[1234] = value
    soundfile.write(
        tmp_path / "a.wav", audio, 16000, subtype="DOUBLE" if value == 1e25 else "FLOAT"
    )
    with pytest.raises(UnusableAudio, match=r"non-finite|samples up to 1e\+25"):
        examine(tmp_path / "a.wav")


def test_short_and_empty_files(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "header.wav", np.zeros((0, 1)), 16000)
    soundfile.write(tmp_path / "one.wav", np.asarray([0.5]), 16000)
    for name, says in {"empty.wav": "empty file", "header.wav": "no audio in it"}.items():
        with pytest.raises(UnusableAudio, match=says):
            examine(tmp_path / name)
    assert examine(tmp_path / "one.wav").frames == 1
    excerpt = audio_file.read_excerpt(
        tmp_path / "one.wav", 0, 4, sample_rate=44100, channels="mono"
    )
    assert excerpt.shape == (4,)


def test_clipping_and_content(tmp_path):
    t = np.arange(16000) / 16000
    sine = 32768 * np.sin(2 * np.pi * 100 * t)
    clean, clipped = (np.clip(gain * sine, -32768, 32767).astype(np.int16) for gain in (0.99, 2))
    soundfile.write(tmp_path / "clean.wav", clean, 16000)
    soundfile.write(tmp_path / "clipped.wav", clipped, 16000)
    soundfile.write(tmp_path / "clean.flac", clean, 16000)
    clean, clipped = examine(tmp_path / "clean.wav"), examine(tmp_path / "clipped.wav")
    assert clean.clipped == 0
    assert clipped.clipped == pytest.approx(2 / 3, abs=0.02)
    assert clean.digest == examine(tmp_path / "clean.flac").digest != clipped.digest


def test_loud_floats_are_not_clipped_unless_their_tops_are_flat(tmp_path):
    path, sine = tmp_path / "a.wav", 5 * np.sin(np.arange(16000) * 0.05)
    for level in (1, 3):
        for sound, part in ((sine, 0), (np.clip(sine, -level, level), np.mean(abs(sine) > level))):
            soundfile.write(path, sound, 16000, subtype="FLOAT")
            assert examine(path).clipped == pytest.approx(part, abs=0.04)
            assert (examine(path).clipped == 0) == (part == 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(10) / 2, 16000)
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(UnusableAudio, match="Permission denied"):
        examine(tmp_path / "a.wav")
