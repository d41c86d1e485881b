"""A finished run as an object."""

import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from conftest import shrink
from trained_runs import model_of

import aejax
from aejax import config as config_module
from aejax import experiment
from aejax.errors import UserError
from aejax.models import autoencoder
from aejax.trained import Windows, windows

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
    assert "\n" not in repr(model)
    assert "experiment: mel, 16000 Hz, 62.5 latent floats/s" in repr(model)
    with pytest.raises(ValueError, match="did not learn to take noise away"):
        model.denoise(audio(2000, 1))
    for rate in (0, -16_000):
        with pytest.raises(ValueError, match=f"sample_rate={rate} must be above 0"):
            model.encode(audio(2000, 1), rate)


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


@pytest.mark.parametrize("representation", ["mel", "complex_spectrogram", "mdct"])
def test_noise_taken_away_in_windows_is_as_at_once(representation):
    model = model_of(
        representation,
        most_samples=4096,
        **{"augment.noise": "white", "augment.target": "clean"},
    )
    assert model.denoises
    sound = audio(20011, 2)
    found, wanted = model.denoise(sound), masked_at_once(model, sound)
    assert found.shape == sound.shape
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
    with pytest.raises(ValueError, match=r"no speaker 'eve'; it knows ann, bob"):
        model.reconstruct(sound, speaker="eve")
    with pytest.raises(ValueError, match="was not trained to tell speakers apart"):
        model_of().reconstruct(sound, speaker="ann")


FINITE = [
    ("mel", "conv"),
    ("mel", "mlp"),
    ("spectrogram", "conv"),
    ("complex_spectrogram", "conv"),
    ("complex_spectrogram", "mask"),
    ("mdct", "conv"),
    ("waveform", "wave_conv"),
    ("waveform", "linear"),
]


@pytest.mark.parametrize(("representation", "encoder"), FINITE)
def test_in_windows_is_as_at_once(representation, encoder):
    model = model_of(representation, encoder, most_samples=4096)
    sound = audio(20011, 2)
    latents, heard = at_once(model, sound)
    found = model.encode(sound)
    assert found.shape[1] == model.latent_frames(20011) > 3 * 4096 / model.block
    tolerance = 1e-4 * np.abs(latents).max()
    np.testing.assert_allclose(found, latents[:, : found.shape[1]], atol=tolerance)
    back = model.reconstruct(sound)
    assert back.shape == sound.shape
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


def test_a_batch_is_its_rows():
    model, sound = model_of(), audio(9000, 3)
    together = model.encode(sound)
    for row, alone in zip(together, map(model.encode, sound), strict=True):
        np.testing.assert_allclose(row, alone, atol=1e-4)
    for row, alone in zip(model.decode(together), map(model.decode, together), strict=True):
        np.testing.assert_allclose(row, alone, atol=1e-3)


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
    ],
)
def test_what_is_no_audio_is_refused(sound, why):
    with pytest.raises(ValueError, match=why):
        model_of().encode(sound)


def test_latents_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\[latent_frames, 8\]"):
        model_of().decode(np.zeros((4, 7), np.float32))


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
    ("reach", "expected"),
    [
        ((3, 2), Windows(4, 100, 3, fixed=False)),
        ((math.inf, 0), Windows(11, 10, 1, fixed=True)),
        ((math.inf, math.inf), Windows(6, 10, 6, fixed=True)),
    ],
)
def test_windows_by_reach(reach, expected):
    assert windows(reach, 1, 20, 100) == expected


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
    with pytest.raises(UserError, match="not finished"):
        aejax.load(copy)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no config"),
        ('{"no_such_key": 1}', "unknown config key no_such_key"),
        ('{"model": {"latent_dim": "8"}}', "must be of type int"),
        ('{"model": {"depth": 1000000000}}', "config.model.depth"),
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
    config["model"]["width"] = 64
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="checkpoint"):
        aejax.load(copy)
    shutil.rmtree(copy / "checkpoints" / "6" / "state")
    with pytest.raises(UserError, match="checkpoint"):
        aejax.load(copy)


def test_no_run_at_all(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        aejax.load(tmp_path / "nowhere")
