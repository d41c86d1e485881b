import itertools
import json
import os
import struct

import numpy as np
import pytest
import soundfile

from aejax.data import audio_file, labels, loader, packing, record, table
from aejax.data.corpus import Settings
from aejax.data.packed import PackedCorpus
from aejax.data.packing import pack
from aejax.data.record import CHUNK, Record, decode, encode
from aejax.runtime.errors import UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def sounds(audio_folder):
    """The folder with a clip of several records, one that is over full scale, and labels."""
    long = RNG.uniform(-0.9, 0.9, (3 * CHUNK + 17, 2))
    soundfile.write(audio_folder / "long.wav", long, 16000, subtype="PCM_16")
    loud = 3 * RNG.standard_normal(20000)
    soundfile.write(audio_folder / "b" / "loud.wav", loud, 16000, subtype="FLOAT")
    (audio_folder / "a" / "broken.wav").write_bytes(b"RIFF")
    (audio_folder / "labels.csv").write_text("path,who\nlong.wav,Bo\na/wav.wav,Cy\n")
    return audio_folder


def batches_of(corpus, count=6):
    options = {"excerpt": 4000, "batch_size": 4, "seed": 1}
    return list(itertools.islice(loader.train_batches(corpus, **options), count))


@pytest.mark.parametrize("encoding", record.ENCODINGS)
@pytest.mark.parametrize("channels", audio_file.CHANNEL_POLICIES)
def test_the_same_batches_as_from_the_folder(sounds, tmp_path, open_folder, encoding, channels):
    settings = {"channels": channels, "test_fraction": 0.2}
    source = open_folder(sounds, **settings)
    pack(source, tmp_path / "pack", encoding=encoding, shard_bytes=60_000)
    packed = PackedCorpus(tmp_path / "pack", Settings(**settings))
    assert len(packed.about["shards"]) > 3
    assert list(packed.clips) == list(source.clips)
    assert packed.skipped == source.skipped
    for ours, theirs in zip(batches_of(packed), batches_of(source), strict=True):
        for key in ("length", "clip", "position", "lost"):
            np.testing.assert_array_equal(ours[key], theirs[key])
        peaks = np.abs(theirs["audio"]).reshape(4, -1).max(1)
        for row, other, peak in zip(ours["audio"], theirs["audio"], peaks, strict=True):
            tolerance = 0 if encoding == "float32" else 0.5 * max(1.0, 3 * peak) / 32767
            np.testing.assert_allclose(row, other, atol=tolerance + 2e-5)


def test_exactly_what_a_cached_folder_gives(sounds, tmp_path, open_folder):
    """Float32 holds the resampled file to the bit; 16 bits hold what had no more."""
    source = open_folder(sounds, cache_bytes=10**9)
    for encoding in record.ENCODINGS:
        pack(open_folder(sounds), tmp_path / encoding, encoding=encoding)
        packed = PackedCorpus(tmp_path / encoding, Settings())
        for clip, facts in enumerate(source.clips):
            bits16 = (
                facts.sample_rate == 16000 and facts.channels == 1 and facts.name != "b/loud.wav"
            )
            if encoding == "float32" or bits16:
                args = (clip, 5000, 2 * CHUNK + 1000)
                np.testing.assert_array_equal(packed.read(*args), source.read(*args))


def test_any_stretch_can_be_read(sounds, tmp_path, open_folder):
    pack(open_folder(sounds), tmp_path / "pack", encoding="float32")
    corpus = PackedCorpus(tmp_path / "pack", Settings())
    clip = [clip.name for clip in corpus.clips].index("long.wav")
    samples = int(corpus.clips.samples[clip])
    whole = corpus.read(clip, 0, samples)
    for start, length in [(0, 1), (CHUNK - 1, 2), (CHUNK, CHUNK), (5, 3 * CHUNK), (samples - 1, 9)]:
        expected = np.zeros(length, np.float32)
        expected[: len(whole[start : start + length])] = whole[start : start + length]
        np.testing.assert_array_equal(corpus.read(clip, start, length), expected)
    assert not corpus.read(clip, samples + 5, 10).any()


def test_labels_splits_and_include_go_along(sounds, tmp_path, open_folder):
    pack(open_folder(sounds), tmp_path / "pack")
    settings = {"split_by": "folder", "include": ("a/*", "b/*", "long.wav")}
    packed = PackedCorpus(tmp_path / "pack", Settings(**settings))
    source = open_folder(sounds, **settings)
    assert list(packed.clips) == list(source.clips)
    assert {clip.name: clip.labels.get("who") for clip in packed.clips}["long.wav"] == "Bo"
    for clip in range(len(source.clips)):
        np.testing.assert_allclose(
            packed.read(clip, 0, 9000), source.read(clip, 0, 9000), atol=2e-4
        )
    with pytest.raises(UserError, match=r"nothing in .* matches data\.include"):
        PackedCorpus(tmp_path / "pack", Settings(include=("z*",)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sample_rate": 8000}, "packed with sample_rate=16000"),
        ({"channels": "stereo"}, "packed with channels=mono; set data.channels=mono"),
    ],
)
def test_it_is_read_as_it_was_packed(sounds, tmp_path, open_folder, settings, says):
    pack(open_folder(sounds), tmp_path / "pack")
    with pytest.raises(UserError, match=says):
        PackedCorpus(tmp_path / "pack", Settings(**settings))


def test_a_pack_that_was_stopped_goes_on(sounds, tmp_path, open_folder, monkeypatch):
    class Stop(Exception):
        pass

    def stop_after(count):
        def progress(items, total, what):
            for number, item in enumerate(items):
                if number == count:
                    raise Stop
                yield item

        return progress

    out, whole = tmp_path / "pack", tmp_path / "whole"
    source = open_folder(sounds)
    pack(source, whole, shard_bytes=60_000)
    for count in (0, 3, 7):
        with pytest.raises(Stop):
            pack(source, out, shard_bytes=60_000, progress=stop_after(count))
        assert not (out / "pack.json").exists()
    written = []
    write = packing._write_shard
    monkeypatch.setattr(packing, "_write_shard", lambda *a: written.append(a[2].name) or write(*a))
    pack(source, out, shard_bytes=60_000)
    assert 0 < len(written) < len(json.loads((out / "pack.json").read_text())["shards"])
    names = sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in out.iterdir()) == names
    assert not [name for name in names if name.endswith((".part", ".array_record.json"))]
    ours, theirs = PackedCorpus(out, Settings()), PackedCorpus(whole, Settings())
    for clip in range(len(ours.clips)):
        np.testing.assert_array_equal(ours.read(clip, 0, 9999), theirs.read(clip, 0, 9999))


def test_what_changed_meanwhile_is_packed_anew(sounds, tmp_path, open_folder):
    out = tmp_path / "pack"
    pack(open_folder(sounds), out)
    (out / "pack.json").rename(out / "packing.json")
    how = json.loads((out / "packing.json").read_text())
    del how["shards"]
    (out / "packing.json").write_text(json.dumps(how))
    soundfile.write(sounds / "a" / "wav.wav", np.full(16000, 0.25), 16000)
    (out / "shard-00007-of-00009.array_record").write_bytes(b"of an earlier attempt")
    pack(open_folder(sounds), out)
    assert len(list(out.glob("shard-*"))) == 1
    corpus = PackedCorpus(out, Settings())
    clip = [clip.name for clip in corpus.clips].index("a/wav.wav")
    np.testing.assert_array_equal(corpus.read(clip, 0, 9), np.full(9, 0.25, np.float32))


def test_a_file_that_vanishes_while_packing_is_left_out(sounds, tmp_path, open_folder):
    source = open_folder(sounds)
    (sounds / "a" / "wav.wav").unlink()
    pack(source, tmp_path / "pack")
    packed = PackedCorpus(tmp_path / "pack", Settings())
    assert packed.skipped["a/wav.wav"] == "cannot be opened: No such file or directory"
    assert len(packed.clips) == len(source.clips) - 1
    for clip in range(len(packed.clips)):
        packed.read(clip, 0, 9000)


def test_nothing_is_overwritten(sounds, tmp_path, open_folder):
    source = open_folder(sounds)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    (tmp_path / "file").write_text("")
    for name in ("photos", "file"):
        with pytest.raises(UserError, match="exists and is not a pack"):
            pack(source, tmp_path / name)
    pack(source, tmp_path / "pack")
    with pytest.raises(UserError, match="holds a finished pack"):
        pack(source, tmp_path / "pack")
    (tmp_path / "pack" / "pack.json").unlink()
    (tmp_path / "pack" / "packing.json").write_text("{}")
    with pytest.raises(UserError, match="unfinished pack with other settings"):
        pack(source, tmp_path / "pack")


def test_a_damaged_shard_is_found_out(sounds, tmp_path, open_folder):
    pack(open_folder(sounds), tmp_path / "pack")
    corpus = PackedCorpus(tmp_path / "pack", Settings())
    quiet = lambda items, total, what: items  # noqa: E731
    assert corpus.damage(quiet) == {}
    path = tmp_path / "pack" / corpus.about["shards"][0]["name"]
    data = bytearray(path.read_bytes())
    for place in range(1000, len(data), 5000):
        data[place] ^= 1
    path.write_bytes(data)
    damaged = PackedCorpus(tmp_path / "pack", Settings())
    assert list(damaged.damage(quiet)) == [path.name]
    for clip in range(len(damaged.clips)):
        with pytest.raises(audio_file.UnusableAudio):
            damaged.read(clip, 0, 9000)


def test_a_copy_is_there_where_it_alone_is_included(sounds, tmp_path, open_folder):
    audio, rate = soundfile.read(sounds / "a" / "wav.wav", dtype="int16")
    for name in ("c/copy.wav", "z.wav"):
        soundfile.write(sounds / name, audio, rate)
    pack(open_folder(sounds), tmp_path / "pack", encoding="float32")
    for include in (("c/copy.wav",), ("z.wav", "c/copy.wav"), ("*",)):
        packed = PackedCorpus(tmp_path / "pack", Settings(include=include))
        source = open_folder(sounds, include=include)
        assert list(packed.clips) == list(source.clips)
        assert packed.skipped == source.skipped
        for clip in range(len(source.clips)):
            np.testing.assert_allclose(
                packed.read(clip, 100, 5000), source.read(clip, 100, 5000), atol=2e-5
            )


def test_where_the_first_vanished_its_copies_are_left_out_too(sounds, tmp_path, open_folder):
    audio, rate = soundfile.read(sounds / "a" / "wav.wav", dtype="int16")
    soundfile.write(sounds / "z.wav", audio, rate)
    source = open_folder(sounds)
    (sounds / "a" / "wav.wav").unlink()
    pack(source, tmp_path / "pack")
    packed = PackedCorpus(tmp_path / "pack", Settings())
    assert {"a/wav.wav", "z.wav"} <= packed.skipped.keys()
    for clip in range(len(packed.clips)):
        packed.read(clip, 0, 9000)


def test_a_shard_that_was_damaged_meanwhile_is_written_anew(sounds, tmp_path, open_folder):
    class Stop(Exception):
        pass

    def stop_late(items, total, what):
        for number, item in enumerate(items):
            if number == 9:
                raise Stop
            yield item

    source, out = open_folder(sounds), tmp_path / "pack"
    with pytest.raises(Stop):
        pack(source, out, shard_bytes=60_000, progress=stop_late)
    first = min(out.glob("*.array_record"))
    first.write_bytes(first.read_bytes()[:100])
    pack(source, out, shard_bytes=60_000)
    packed = PackedCorpus(out, Settings())
    assert packed.damage(lambda items, total, what: items) == {}
    for clip in range(len(packed.clips)):
        packed.read(clip, 0, 9000)


def test_many_shards_need_few_open_files(sounds, tmp_path, open_folder, monkeypatch):
    monkeypatch.setattr("aejax.data.packed._MOST_READERS", 2)
    pack(open_folder(sounds), tmp_path / "pack", shard_bytes=10_000)
    packed = PackedCorpus(tmp_path / "pack", Settings())
    assert len(packed.about["shards"]) > 8
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(2):
        for clip in range(len(packed.clips)):
            packed.read(clip, 0, 9000)
    assert len(packed._readers) == 2
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 4


def places(**columns):
    def change(arrays):
        arrays["places"] = arrays["places"].copy()
        for name, value in columns.items():
            arrays["places"][name][1] = value  # the first is of a file that cannot be used

    return change


def facts(**columns):
    def change(arrays):
        arrays["facts"] = arrays["facts"].copy()
        for name, value in columns.items():
            arrays["facts"][name][arrays["facts"]["frames"] > 0] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        places(shard=99),
        places(shard=-1),
        places(first=-1),
        places(owner=10**6),
        places(owner=-1),
        places(owner=0),
        facts(sample_rate=0),
        facts(frames=-5),
        facts(frames=2**62),
        facts(channels=2_000_000_000),
        lambda arrays: arrays.pop("places"),
        lambda arrays: arrays.update(places=np.zeros((3, 3))),
    ],
)
def test_a_hostile_index_is_refused(sounds, tmp_path, open_folder, change):
    pack(open_folder(sounds), tmp_path / "pack")
    path = tmp_path / "pack" / "index.npz"
    arrays = table.load_arrays(path)
    change(arrays)
    table.save_arrays(path, arrays)
    with pytest.raises(UserError, match=r"index\.npz is damaged"):
        PackedCorpus(tmp_path / "pack", Settings(channels="mono"))


@pytest.mark.parametrize(
    "change",
    [
        {"shards": [{"name": "../../secret", "sha256": "", "bytes": 1}]},
        {"shards": [{"name": "/etc/passwd", "sha256": "", "bytes": 1}]},
        {"version": 99},
        {"channels": "seven"},
        {"sample_rate": "fast"},
        {"sample_rate": 0},
        {"shards": [{"name": "a\0b", "sha256": "", "bytes": 1}]},
    ],
    ids=str,
)
def test_a_hostile_pack_is_refused(sounds, tmp_path, open_folder, change):
    pack(open_folder(sounds), tmp_path / "pack")
    path = tmp_path / "pack" / "pack.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="is damaged"):
        PackedCorpus(tmp_path / "pack", Settings())


@pytest.mark.parametrize("encoding", record.ENCODINGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_record_comes_back(encoding, channels):
    audio = RNG.uniform(-1, 1, (1000, channels)).astype(np.float32)
    name = "caf\udce9 \n[2]"
    found = decode(encode(Record(encoding, 44100, 7 * CHUNK, audio, name)))
    assert (found.encoding, found.sample_rate, found.start) == (encoding, 44100, 7 * CHUNK)
    assert found.name == name
    np.testing.assert_allclose(
        found.audio, audio, atol=0 if encoding == "float32" else 0.51 / 32767
    )


@pytest.mark.parametrize("encoding", ["pcm16", "flac"])
def test_sixteen_bits_are_kept_exactly(encoding):
    coded = np.asarray([-32768, 32767, 0, 1, -1, 12345], np.float32)[:, None]
    found = decode(encode(Record(encoding, 16000, 0, coded / 32768, "a")))
    np.testing.assert_array_equal(found.audio * 32768, coded)


def test_a_record_that_is_not_whole_is_refused():
    data = encode(Record("pcm16", 16000, 0, np.zeros((100, 1), np.float32), "a"))
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 0x40
        with pytest.raises(audio_file.UnusableAudio):
            decode(bytes(changed))
        with pytest.raises(audio_file.UnusableAudio):
            decode(data[:place])


def test_a_header_that_asks_for_memory_is_refused():
    import zlib

    body = struct.pack("<4sBBHIQIfI", b"AEJR", 1, 0, 65535, 16000, 0, CHUNK, 1.0, 0)
    with pytest.raises(audio_file.UnusableAudio, match="another length"):
        decode(body + struct.pack("<I", zlib.crc32(body)))


def test_labels_table_is_kept_whole(sounds, tmp_path, open_folder):
    pack(open_folder(sounds), tmp_path / "pack")
    assert labels.load(tmp_path / "pack" / "labels.csv") == labels.load(sounds / "labels.csv")
