"""A finished run as an object."""

import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from conftest import most_slow, shrink
from trained_runs import model_of, small_model

import aejax
from aejax import config as config_module
from aejax import experiment
from aejax.inference import silence
from aejax.inference.windows import Windows, windows
from aejax.models import autoencoder
from aejax.runtime.errors import UserError

RNG = np.random.default_rng(0)


def audio(samples, *before, channels=()):
    return (0.1 * RNG.standard_normal((*before, samples, *channels))).astype(np.float32)


def at_once(model, sound):
    """All of a sound in one piece, with much silence behind it; between encoder and decoder, the
    latents of silence alone."""
    config, representation = model.config, model.representation
    frames = representation.frames(sound.shape[1]) + 200
    frames = -(-frames // config.model.downsampling) * config.model.downsampling
    missing = representation.samples(frames) - sound.shape[1]
    padded = np.pad(sound, [(0, 0), (0, missing), *[(0, 0)] * (sound.ndim - 2)])

    @jax.jit
    def whole(audio):
        latents = autoencoder.encode(model.model, model.variables, representation.analyse(audio))
        own, silent = model.latent_frames(sound.shape[1]), latents.shape[1] // 2 + 10
        decoded = latents.at[:, own:].set(latents[:, silent : silent + 1])
        output = autoencoder.decode(model.model, model.variables, decoded)
        return latents, representation.synthesise(output)

    latents, heard = map(np.asarray, whole(jnp.asarray(padded)))
    return latents, heard[:, : sound.shape[1]]


def test_a_model_is_shown_in_a_line_and_refuses_what_it_cannot_do():
    model = model_of()
    rates = "8 latents x 7.8125/s = 62.5 floats/s"
    assert repr(model) == f"<aejax model experiment: mel → conv → {rates}, 16 kHz>"
    coded = model_of(**{"model.bottleneck": "fsq", "model.fsq.levels": (8,) * 8})
    assert f"mel → conv → fsq → {rates}, 187.5 bit/s, 16 kHz>" in repr(coded)
    assert "mel → lstm/conv →" in repr(model_of(encoder="lstm", **{"model.decoder": "conv"}))
    with pytest.raises(ValueError, match="was not trained to remove noise"):
        model.denoise(audio(2000, 1))


@pytest.mark.parametrize(("channels", "stereo"), [(1, False), (2, False), (1, True), (2, True)])
def test_a_path_is_the_sound_in_the_file(tmp_path, channels, stereo):
    changes = {"data.channels": "stereo"} if stereo else {}
    model, path = small_model(**changes), tmp_path / "x.wav"
    sound = audio(6000, channels)
    soundfile.write(path, sound.T, 22050, subtype="FLOAT")
    array = sound if channels == 2 else sound[0]
    if stereo:
        array = np.broadcast_to(sound, (2, 6000)).T
    for given in (path, str(path)):
        np.testing.assert_array_equal(model.encode(given), model.encode(array, 22050))
    np.testing.assert_array_equal(model.reconstruct(path), model.reconstruct(array, 22050))
    with pytest.raises(ValueError, match=r"sample_rate: .*x.wav has its own; leave it out"):
        model.encode(path, 22050)


@pytest.mark.parametrize("function", ["encode", "reconstruct"])
def test_a_path_of_no_sound_is_an_invalid_argument(tmp_path, function):
    (tmp_path / "text.wav").write_text("no audio at all, and long enough to be looked at")
    soundfile.write(tmp_path / "three.wav", audio(100, 3).T, 16000)
    for model, name, says in (
        (small_model(), "none.wav", "cannot be opened: No such file"),
        (small_model(), "text.wav", "unreadable: Format not recognised"),
        (small_model(**{"data.channels": "stereo"}), "three.wav", "has 3 channels, the model 2"),
    ):
        with pytest.raises(ValueError, match=f"^audio: .*{name}:? {says}"):
            getattr(model, function)(tmp_path / name)


def masked_at_once(model, sound):
    """`at_once`, as a mask of what is heard."""
    config, representation = model.config, model.representation
    frames = -(-(representation.frames(sound.shape[1]) + 200) // config.model.downsampling)
    samples = representation.samples(frames * config.model.downsampling)
    padded = jnp.pad(sound, [(0, 0), (0, samples - sound.shape[1])])
    features = representation.analyse(padded)
    back = autoencoder.decode(
        model.model, model.variables, autoencoder.encode(model.model, model.variables, features)
    )
    return np.asarray(representation.masked(padded, back))[:, : sound.shape[1]]


@pytest.mark.parametrize("representation", most_slow(["mel", "complex_spectrogram", "mdct"], "mel"))
def test_noise_taken_away_in_windows_is_as_at_once(representation):
    model = model_of(
        representation,
        most_samples=4096,
        **{"augment.noise.kind": "white", "task": "denoise"},
    )
    assert model.denoises
    sound = audio(20011, 2)
    assert model.denoise(sound).shape == sound.shape

    def read(start, count):
        row = sound[:, start : start + count]
        return np.pad(row, ((0, 0), (0, count - row.shape[1])))

    encoded = model.encode_stream(read, sound.shape[1])
    unlimited = encoded._replace(ceilings=np.full_like(encoded.ceilings, np.inf))
    found = np.concatenate(list(model.mask_stream(unlimited, read)), axis=1)[:, : sound.shape[1]]
    wanted = masked_at_once(model, sound)
    # The last block hears what the decoder makes of silence, where this has real silence behind.
    block = 2 * model.block
    np.testing.assert_allclose(
        found[:, :-block], wanted[:, :-block], atol=1e-3 * np.abs(wanted).max()
    )
    assert model.denoise(sound[0], 44_100).shape == (20011,)
    assert model.denoise(sound[0, :1]).shape == (1,)


def test_told_who_speaks():
    model = model_of(speakers=("ann", "bob"), **{"model.speaker_label": "folder"})
    sound = audio(9000)
    plain, ann, bob = (model.reconstruct(sound, speaker=who) for who in (None, "ann", "bob"))
    assert plain.shape == ann.shape == sound.shape
    for one, other in ((plain, ann), (ann, bob)):
        assert np.abs(one - other).max() > 0.05 * np.abs(one).max()
    with pytest.raises(ValueError, match=r"no speaker 'eve'; it has ann, bob"):
        model.reconstruct(sound, speaker="eve")
    with pytest.raises(ValueError, match="was not trained with speakers"):
        model_of().reconstruct(sound, speaker="ann")


FINITE = [
    ("mel", "conv"),
    ("mel", "mlp"),
    ("spectrogram", "conv"),
    ("complex_spectrogram", "conv"),
    ("mdct", "conv"),
    ("waveform", "wave_conv"),
    ("waveform", "linear"),
]
OFTEN = [("mel", "conv"), ("waveform", "wave_conv")]


@pytest.mark.parametrize(("representation", "encoder"), most_slow(FINITE, *OFTEN))
def test_in_windows_is_as_at_once(representation, encoder):
    model = model_of(representation, encoder, most_samples=4096)
    sound = audio(20011, 2)
    latents, heard = at_once(model, sound)
    found = model.encode(sound)
    assert found.shape[1] == model.latent_frames(20011) > 3 * 4096 / model.block
    tolerance = 1e-4 * np.abs(latents).max()
    np.testing.assert_allclose(found, latents[:, : found.shape[1]], atol=tolerance)
    assert model.reconstruct(sound).shape == sound.shape
    back = model.decode(found)[:, : sound.shape[1]]
    error = np.abs(back - heard).max() / np.abs(heard).max()
    assert error < 1e-3


@pytest.mark.parametrize("encoder", ["lstm", "gru", "transformer"])
def test_what_sees_without_end_has_windows_of_an_excerpt(encoder):
    model = model_of("mel", encoder)
    sound = audio(40000)
    found = model.encode(sound)
    frames = model._excerpt
    # A change is heard no farther than a window goes.
    changed = sound.copy()
    changed[20000:20100] += 1
    differs = np.flatnonzero(np.abs(model.encode(changed) - found).max(axis=1) > 1e-6)
    edge = math.ceil(3 / model.config.model.downsampling)
    assert len(differs) <= 2 * (frames + 2 * edge)
    assert model.reconstruct(sound).shape == sound.shape


@pytest.mark.parametrize("samples", [1, 2, 997, 2048, 2049])
def test_what_comes_back_is_as_long(samples):
    model = model_of()
    for shape in ((), (3,)):
        sound = audio(samples, *shape)
        assert model.reconstruct(sound).shape == sound.shape
        assert model.reconstruct(sound, 44_100).shape == sound.shape
    latents = model.encode(sound[0])
    assert len(latents) == model.latent_frames(samples)
    assert model.decode(latents).shape == (len(latents) * model.block,)


@pytest.mark.parametrize("function", ["encode", "decode", "reconstruct", "denoise"])
def test_a_batch_is_its_rows_to_the_last_bit(function):
    changes = {"augment.noise.kind": "white", "task": "denoise"} if function == "denoise" else {}
    model = model_of(**changes)
    # A search for a phase makes much of little.
    model = model if function == "denoise" else model.with_iterations(32)
    call, rows = getattr(model, function), audio(9000, 5)
    rows = model.encode(rows) if function == "decode" else rows
    together = call(rows)
    for row, alone in zip(together, map(call, rows), strict=True):
        np.testing.assert_array_equal(row, alone)


def test_memory_goes_with_the_longest_row_and_not_with_their_number(monkeypatch):
    model, most = model_of(), []
    encoded = type(model)._encoded

    def spied(self, audio, *arguments):
        most.append(audio.shape[0])
        return encoded(self, audio, *arguments)

    monkeypatch.setattr(type(model), "_encoded", spied)
    assert model.encode(audio(9000, 5)).shape[0] == 5
    assert set(most) == {1}


@pytest.mark.parametrize("shape", [(500, 2), (44_100, 2), (44_100, 1), (1000, 64)])
def test_samples_by_channels_is_refused_with_the_way_out(shape):
    model = model_of()
    for call in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match=r"audio has .*\[samples, channels\], transpose it"):
            call(np.zeros(shape, np.float32))
    assert model.encode(audio(30, 16)).shape[0] == 16


# Silence.


def with_gap(model, *shape):
    """Noise, silence, noise; and a stretch of the silence that is blocks away from both."""
    block, apart = model.block, (model._overlap + 1) * model.block
    start, end = 2 * block + 100, 2 * block + 100 + 2 * apart + 2 * block
    sound = audio(end + 2 * block, *shape)
    sound[:, start:end] = 0
    return sound, slice(start + apart, end - apart)


SILENT = [*FINITE, ("mel", "lstm"), ("mel", "transformer")]


@pytest.mark.parametrize(("representation", "encoder"), most_slow(SILENT, *OFTEN))
def test_silence_comes_back_as_silence(representation, encoder):
    model = model_of(representation, encoder)
    for samples in (1, 3 * model.block + 1):
        nothing = np.zeros(samples, np.float32)
        assert not model.reconstruct(nothing).any()
        assert not model.decode(model.encode(nothing)).any()
    sound, inside = with_gap(model, 2)
    sound[1, :] = audio(sound.shape[1])  # a row of its own
    back = model.reconstruct(sound)
    assert not back[0, inside].any()
    assert np.abs(back[1, inside]).max() > 1e-3
    assert np.abs(back[0][sound[0] != 0]).max() > 1e-3


def test_silence_is_silence_at_other_rates_and_after_noise_was_taken_away():
    model = model_of("mdct", **{"augment.noise.kind": "white", "task": "denoise"})
    sound, inside = with_gap(model, 1)
    for function in (model.reconstruct, model.denoise):
        assert not function(np.zeros(9000, np.float32), 44_100).any()
        assert not function(sound)[0, inside].any()
    back = model.reconstruct(np.repeat(sound, 2, axis=1), 32_000)
    middle = inside.start + inside.stop
    assert np.abs(back[0, middle - model.block : middle + model.block]).max() < 1e-6


def test_decoded_audio_fades_into_silence_and_back():
    audio_, silent = np.ones((1, 4000, 2), np.float32), np.asarray([[False, True, True, False]])
    gated = silence.gated(audio_, silent, slice(0, 4), 16_000)
    for part in (slice(0, 2), slice(1, 4)):  # as stretches
        samples = slice(1000 * part.start, 1000 * part.stop)
        again = silence.gated(audio_[:, samples], silent, part, 16_000)
        np.testing.assert_array_equal(again, gated[:, samples])
    assert gated[0, 999, 0] == gated[0, 1000, 0] == gated[0, 2999, 0] == gated[0, 3000, 1] == 1
    assert not gated[0, 1080:2920].any()
    assert np.abs(np.diff(gated[0], axis=0)).max() < 0.03


def test_faint_sound_is_no_silence():
    model = model_of("complex_spectrogram", "mlp")
    sound = np.full(4 * model.block, 2.0**-20, np.float32)
    assert not model.is_silent(model.encode(sound)[None]).any()


@pytest.mark.parametrize(
    "rate",
    [0, -16_000, float("nan"), float("inf"), 44_100.5, 1e9, 999, "44100", True, b"x", [44_100]],
)
@pytest.mark.usefixtures("unchecked_types")
def test_rates_that_are_none_are_refused(rate):
    model = model_of()
    for call in (model.encode, model.reconstruct):
        with pytest.raises(ValueError, match="sample_rate must be"):
            call(audio(2000), rate)
    with pytest.raises(ValueError, match="iterations must be"):
        model.with_iterations(rate if rate != 999 else 10_001)
    with pytest.raises(ValueError, match="samples must be"):
        model.latent_frames(rate if rate not in (0, 999, 1e9) else -1)


@pytest.mark.usefixtures("unchecked_types")
def test_whole_rates_of_any_type():
    model, sound = model_of(), audio(9000)
    expected = model.encode(sound, 44_100)
    for kind in (float, np.int32, np.uint16, np.float64, np.array, jnp.asarray):
        np.testing.assert_array_equal(model.encode(sound, kind(44_100)), expected)
    assert model.with_iterations(np.float32(3)).representation.griffin_lim_iterations == 3


def test_a_model_of_stereo_has_two_channels():
    model = model_of("complex_spectrogram", "mlp", **{"data.channels": "stereo"})
    sound = audio(9000, channels=(2,))
    assert model.reconstruct(sound).shape == (9000, 2)
    assert model.encode(sound[None]).shape[0] == 1
    with pytest.raises(ValueError, match=r"\[samples, 2\]"):
        model.encode(sound[:, :1])


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (np.zeros((0,), np.float32), "at least"),
        (np.zeros((2, 3, 4), np.float32), "samples"),
        (np.zeros(100, np.int16), "int16"),
        (np.array([0.0, np.nan]), "finite"),
        (np.zeros(100, np.int16), "divide integers of 16 bits by 32768"),
        (np.full(100, 1e30), "has a peak of 1e"),
        (np.full(100, -1e300), "has a peak of 1e"),
        (np.zeros(100, np.complex64), "complex64"),
        (np.zeros(100, bool), "bool"),
        (np.array([None, 1.0]), "object"),
        (["a", "b"], "audio must be floats"),
        ([[0.0, 1.0], [0.0]], "audio cannot be converted to an array"),
        (None, "audio must be floats"),
        ("song.wav", "audio: song.wav: cannot be opened"),
        (0.5, "audio must be"),
        ([], "audio must be"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_audio_is_refused(sound, why):
    model = model_of(**{"augment.noise.kind": "white", "task": "denoise"})
    for call in (model.encode, model.reconstruct, model.denoise):
        with pytest.raises(ValueError, match=why):
            call(sound)


@pytest.mark.parametrize(
    ("latents", "why"),
    [
        (np.zeros((4, 7), np.float32), r"\[latent_frames, 8\]"),
        (np.zeros((0, 4, 8), np.float32), r"\[latent_frames, 8\]"),
        (np.zeros((4, 8), np.int32), "latents must be floats"),
        (np.full((4, 8), np.nan), "latents are not all finite"),
        (np.full((4, 8), 1e300), "latents are not all finite"),
        (None, "latents must be floats"),
        ([[1.0], [1.0, 2.0]], "latents cannot be converted"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_are_no_latents_is_refused(latents, why):
    with pytest.raises(ValueError, match=why):
        model_of().decode(latents)


def test_windows_cover_all_of_it():
    for total in (1, 5, 17, 64, 100):
        for given in (Windows(2, 16, 3, fixed=False), Windows(4, 4, 4, fixed=True)):
            covered = []
            for window, kept in given.over(total):
                size = min(given.content, 2 ** math.ceil(math.log2(total)))
                content = given.content if given.fixed else size
                assert window.stop - window.start == given.before + content + given.after
                assert window.start == max(0, kept.start - given.before)
                assert window.stop >= kept.stop + given.after
                covered += range(kept.start, kept.stop)
            assert covered == list(range(total))


@pytest.mark.parametrize(
    ("receptive_field", "expected"),
    [
        ((3, 2), Windows(4, 100, 3, fixed=False)),
        ((math.inf, 0), Windows(11, 10, 1, fixed=True)),
        ((math.inf, math.inf), Windows(6, 10, 6, fixed=True)),
    ],
)
def test_windows_by_reach(receptive_field, expected):
    assert windows(receptive_field, 1, 20, 100) == expected


# Runs.


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    experiment.run(shrink(config_module.default()), path)
    return path


def test_a_loaded_run_gives_what_the_run_gave(finished):
    model = aejax.load(finished)
    assert model.latent_rate == 16000 / 2048 * 8
    sounds = sorted((finished / "audio").glob("1_*_original.wav"))
    sound, rate = soundfile.read(sounds[0], dtype="float32")
    (heard,) = (finished / "audio").glob("1_*_experiment.wav")
    # They were put down with 16 bits, and analysed with silence behind them.
    back = model.reconstruct(sound, rate)
    expected, _ = soundfile.read(heard, dtype="float32")
    mel = model.representation.analyse
    difference = np.asarray(mel(jnp.asarray(back)) - mel(jnp.asarray(expected)))
    assert np.abs(difference).mean() < 0.5


def test_a_run_that_is_not_finished_is_refused(finished, tmp_path):
    config = json.loads((finished / "config.json").read_text())
    copy = shutil.copytree(finished, tmp_path / "copy")
    config["train"]["steps"] = 1000
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "results.json").unlink()
    with pytest.raises(UserError, match="not finished"):
        aejax.load(copy)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"config\.json is damaged"),
        ("[" * 100_000, r"config\.json is damaged"),
        ("[]", "no JSON object"),
        ('{"no_such_key": 1}', "unknown config key no_such_key"),
        ('{"model": {"latent_dim": "8"}}', "must be of type int"),
        ('{"model": {"conv": {"depth": 1000000000}}}', "config.model.conv.depth"),
        ('{"model": 3}', "unknown config key model"),
    ],
)
def test_damaged_configs_are_refused(finished, tmp_path, text, why):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=why):
        aejax.load(tmp_path)


def test_checkpoints_of_another_shape_are_refused(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["model"]["conv"]["width"] = 64
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="checkpoint"):
        aejax.load(copy)
    shutil.rmtree(copy / "checkpoints" / "6" / "state")
    with pytest.raises(UserError, match="checkpoint"):
        aejax.load(copy)


@pytest.mark.parametrize("path", [None, 3, b"runs", ["runs"], float("nan")])
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="path must be"):
        aejax.load(path)


def test_no_run_at_all(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        aejax.load(tmp_path / "nowhere")
