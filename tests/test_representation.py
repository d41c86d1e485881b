import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import config as config_module
from aejax import parts, representations, signal
from aejax.representations import (
    MDCT,
    ComplexSpectrogram,
    MelSpectrogram,
    Multichannel,
    Representation,
    Spectrogram,
    Waveform,
    eval_mel,
    valid_frames,
)
from aejax.runtime.errors import UserError

RATE, N_FFT, HOP, MELS = 8000, 64, 16, 10
FLOOR_DB = -50.0
WINDOWED = {"sample_rate": RATE, "n_fft": N_FFT, "win_length": N_FFT, "hop_length": HOP}
IN_DB = {"floor_db": FLOOR_DB, "griffin_lim_iterations": 2}
MEL = MelSpectrogram(**WINDOWED, **IN_DB, n_mels=MELS, fmin=100.0, fmax=3800.0)
ALL = {
    "waveform": Waveform(RATE, HOP),
    "samples": Waveform(RATE, 1),
    "spectrogram": Spectrogram(**WINDOWED, **IN_DB),
    "complex": ComplexSpectrogram(**WINDOWED, compression=0.5),
    "mel": MEL,
    "mdct": MDCT(RATE, HOP, compression=0.5),
    "stereo mel": Multichannel(MEL, 2),
    "stereo mdct": Multichannel(MDCT(RATE, HOP, compression=0.5), 2),
}
EXACT = ["waveform", "samples", "complex", "mdct", "stereo mdct"]
FINER = MDCT(RATE, HOP, compression=1.0)

every = pytest.mark.parametrize("representation", ALL.values(), ids=ALL.keys())
exact = pytest.mark.parametrize("representation", [ALL[name] for name in EXACT], ids=EXACT)
awkward = pytest.mark.parametrize("samples", [97, 175])


def noise(representation, samples, scale=0.1):
    shape = (2, samples, 2) if isinstance(representation, Multichannel) else (2, samples)
    return jnp.asarray(scale * np.random.default_rng(0).standard_normal(shape), jnp.float32)


def there_and_back(representation, audio):
    return jax.jit(lambda x: representation.synthesise(representation.analyse(x)))(audio)


@every
def test_it_is_a_representation(representation):
    assert isinstance(representation, Representation)
    assert hash(representation) == hash(representation)


@every
@awkward
def test_as_many_frames_and_bins_as_announced(representation, samples):
    features = jax.eval_shape(representation.analyse, noise(representation, samples))
    assert features.shape == (2, representation.frames(samples), representation.bins)


@every
def test_an_excerpt_of_so_many_frames_has_just_so_many(representation):
    for frames in range(representation.fewest_frames, representation.fewest_frames + 9):
        samples = representation.samples(frames)
        assert representation.frames(samples) == frames
        features = jax.eval_shape(representation.analyse, noise(representation, samples))
        assert features.shape[1] == frames
        back = jax.eval_shape(representation.synthesise, features)
        assert back.shape == noise(representation, samples).shape


@every
def test_arrays_of_lengths_count_frames_as_numbers_do(representation):
    lengths = [1, 15, 16, 17, 31, 32, 33, 160, 1000]
    counted = representation.frames(jnp.asarray(lengths))
    assert counted.tolist() == [representation.frames(length) for length in lengths]


@every
def test_no_sound_within_full_scale_lies_beyond_the_limits(representation):
    samples = 8 * N_FFT
    time = np.arange(samples)
    loudest = [np.sign(np.cos(np.pi * (k / N_FFT) * time + 0.1)) for k in range(0, N_FFT, 3)]
    loudest += [np.sign(np.random.default_rng(0).standard_normal(samples)), np.zeros(samples)]
    audio = np.stack(loudest).astype(np.float32)
    if isinstance(representation, Multichannel):
        audio = np.stack([audio, audio[::-1]], axis=-1)
    features = np.asarray(representation.analyse(jnp.asarray(audio)))
    lowest, highest = representation.limits()
    assert lowest.shape == highest.shape == (representation.bins,)
    assert (features >= lowest - 1e-4).all()
    assert (features <= highest + 1e-4).all()
    # And they are not much wider: 6 dB, or half of the amplitude.
    reached = features.max((0, 1))
    if representation.unit == "dB":
        assert (reached >= highest - 6).all()
        assert features.min() == lowest.min()
    else:
        assert (reached >= highest / 2).mean() > 0.9


@pytest.mark.parametrize("name", ["spectrogram", "complex", "mel"])
def test_one_frame_less_than_the_fewest_cannot_be_analysed(name):
    representation = ALL[name]
    audio = noise(representation, representation.samples(representation.fewest_frames - 1))
    with pytest.raises(ValueError, match="samples"):
        jax.eval_shape(representation.analyse, audio)


@pytest.mark.parametrize(
    ("name", "frame_rate", "bins"),
    [
        ("waveform", 500, 16),
        ("samples", 8000, 1),
        ("spectrogram", 500, 33),
        ("complex", 500, 66),
        ("mel", 500, 10),
        ("mdct", 500, 16),
        ("stereo mel", 500, 20),
        ("stereo mdct", 500, 32),
    ],
)
def test_frames_a_second_and_values_a_frame(name, frame_rate, bins):
    assert ALL[name].frame_rate == frame_rate
    assert ALL[name].bins == bins


@pytest.mark.parametrize(
    ("name", "channels"), [("waveform", 1), ("samples", 1), ("mdct", 1), ("stereo mdct", 2)]
)
def test_waveform_and_mdct_have_as_many_values_as_samples(name, channels):
    assert ALL[name].bins * ALL[name].frame_rate == channels * RATE


@every
def test_the_config_counts_the_same_bins(representation):
    one = representation.inner if isinstance(representation, Multichannel) else representation
    config = config_module.default()
    name = next(k for k, v in parts.representations.items() if type(one) is v)
    config.representation.name = name
    sizes = {"n_fft": N_FFT, "hop_length": one.hop_length, "n_mels": MELS}
    own = config.representation[name]
    own.update({key: size for key, size in sizes.items() if key in own})
    config.data.channels = "stereo" if one is not representation else "mono"
    made = representations.build(config)
    assert made.bins == representation.bins
    assert made.bins_keys == representation.bins_keys
    words = made.bins_keys.replace(" x 2 channels", "").replace("2 (", "2 * (")
    counted = eval(words, {}, sizes)  # the keys that messages name
    assert counted == one.bins


@exact
@awkward
def test_the_exact_ones_give_audio_back(representation, samples):
    audio = noise(representation, samples)
    back = there_and_back(representation, audio)
    both = min(back.shape[1], samples)
    assert both > samples - HOP
    np.testing.assert_allclose(back[:, :both], audio[:, :both], atol=3e-6)
    np.testing.assert_allclose(back[:, both:], 0, atol=3e-6)


@pytest.mark.parametrize("name", ["complex", "mdct"])
@pytest.mark.parametrize("compression", [0.3, 1.0])
def test_compression_is_undone_at_every_level(name, compression):
    if name == "mdct":
        representation = MDCT(RATE, HOP, compression)
    else:
        representation = ComplexSpectrogram(**WINDOWED, compression=compression)
    scale = jnp.asarray([[1.0], [1e-4]])
    audio = noise(representation, 160, 1.0) * scale
    back = there_and_back(representation, audio)[:, :160]
    np.testing.assert_allclose(back / scale, audio / scale, atol=1e-5)


def test_compression_raises_magnitudes_of_the_mdct_to_its_power_and_keeps_signs():
    audio = noise(FINER, 160)
    plain, compressed = FINER.analyse(audio), ALL["mdct"].analyse(audio)
    np.testing.assert_allclose(
        compressed, np.sign(plain) * np.sqrt(np.abs(plain)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(plain, signal.mdct(audio, win_length=2 * HOP), atol=1e-6)


def test_compression_raises_magnitudes_of_the_stft_to_its_power_and_keeps_phases():
    audio = noise(ALL["complex"], 160)
    real, imaginary = np.split(np.asarray(ALL["complex"].analyse(audio)), 2, axis=-1)
    expected = np.asarray(signal.stft(audio, n_fft=N_FFT, hop_length=HOP))
    expected = np.sqrt(np.abs(expected)) * np.exp(1j * np.angle(expected))
    np.testing.assert_allclose(real + 1j * imaginary, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["spectrogram", "mel", "stereo mel"])
def test_decibels_never_lie_below_the_floor(name):
    representation = ALL[name]
    silence = jnp.zeros_like(noise(representation, 160))
    np.testing.assert_allclose(representation.analyse(silence), FLOOR_DB, atol=1e-4)
    loud = representation.analyse(noise(representation, 160))
    assert FLOOR_DB - 1e-4 <= float(loud.min()) < float(loud.max())


@pytest.mark.parametrize("name", ["spectrogram", "mel"])
def test_ten_times_the_amplitude_is_twenty_decibels_more(name):
    soft = ALL[name].analyse(noise(ALL[name], 160, 1.0))
    loud = ALL[name].analyse(noise(ALL[name], 160, 10.0))
    np.testing.assert_allclose(loud - soft, 20, atol=1e-3)


def test_a_spectrogram_is_the_power_of_the_stft():
    audio = noise(MEL, 160)
    power = np.square(np.abs(signal.stft(audio, n_fft=N_FFT, hop_length=HOP)))
    expected = np.maximum(10 * np.log10(power), FLOOR_DB)
    np.testing.assert_allclose(ALL["spectrogram"].analyse(audio), expected, atol=1e-2)


@pytest.mark.parametrize("name", ["spectrogram", "mel"])
def test_twenty_decibels_less_are_a_tenth_of_the_audio(name):
    db = jnp.full((2, 11, ALL[name].bins), FLOOR_DB) + jnp.asarray([0.0, -20.0])[:, None, None]
    soft, softer = np.asarray(jax.jit(ALL[name].synthesise)(db)).std(axis=1)
    assert softer == pytest.approx(0.1 * soft, rel=0.5)
    assert soft < 0.02


def test_a_tone_comes_back_at_its_frequency_and_level():
    tone = 0.5 * jnp.sin(2 * jnp.pi * 1000 * jnp.arange(1600, dtype=jnp.float32) / RATE)
    back = np.asarray(there_and_back(ALL["spectrogram"], tone[None])[0])
    assert np.abs(np.fft.rfft(back)).argmax() == 200
    assert back.std() == pytest.approx(float(tone.std()), rel=0.1)


@every
def test_gradients_are_finite_at_silence(representation):
    def pulled_back(x):
        features, back = jax.vjp(representation.analyse, x)
        gradients = [back(jnp.ones_like(features))[0]]
        if representation.exact:
            audio, back = jax.vjp(representation.synthesise, features)
            gradients.append(back(jnp.ones_like(audio))[0])
        return gradients

    silence = jnp.zeros_like(noise(representation, 96))
    for gradient in jax.jit(pulled_back)(silence):
        assert bool(jnp.isfinite(gradient).all())


@exact
def test_gradients_pass_from_audio_to_features_and_back(representation):
    audio = noise(representation, 160)
    energy = jax.jit(jax.grad(lambda x: jnp.square(there_and_back(representation, x)).sum() / 2))
    np.testing.assert_allclose(energy(audio), audio, atol=1e-5)


def test_channels_lie_side_by_side_and_do_not_meet():
    both = ALL["stereo mdct"]
    audio = noise(both, 160)
    features = both.analyse(audio)
    for channel in range(2):
        alone = both.inner.analyse(audio[..., channel])
        ours = features[..., channel * HOP : (channel + 1) * HOP]
        np.testing.assert_allclose(ours, alone, atol=1e-6)


def test_channels_without_a_batch():
    audio = noise(ALL["stereo mdct"], 160)[0]
    features = ALL["stereo mdct"].analyse(audio)
    assert features.shape == (11, 2 * HOP)
    np.testing.assert_allclose(ALL["stereo mdct"].synthesise(features), audio, atol=3e-6)


def test_channels_take_all_else_from_what_is_inside():
    both, one = ALL["stereo mel"], MEL
    for name in ("frame_rate", "fewest_frames", "unit", "exact"):
        assert getattr(both, name) == getattr(one, name)


@every
def test_what_is_in_decibels_is_not_exact(representation):
    assert (representation.unit == "dB") == (not representation.exact)


@every
@pytest.mark.parametrize("downsampling", [1, 3])
def test_the_frames_that_count_are_whole_blocks_over_the_clip(representation, downsampling):
    lengths = [0, 1, 15, 16, 17, 48, 100, 160]
    frames = -(-representation.frames(160) // downsampling) * downsampling
    mask = np.asarray(valid_frames(representation, jnp.asarray(lengths), frames, downsampling))
    for length, row in zip(lengths, mask, strict=True):
        counted = int(row.sum())
        covered = representation.frames(length) if length else 0
        assert row[:counted].all()
        assert counted % downsampling == 0
        assert covered <= counted < covered + downsampling


@pytest.mark.parametrize("name", ["waveform", "mdct"])
def test_frames_that_do_not_count_hold_nothing_of_the_clip(name):
    representation = ALL[name]
    audio = noise(representation, 160).at[:, 70:].set(0)
    mask = valid_frames(representation, jnp.asarray([70, 70]), representation.frames(160), 1)
    features = jnp.where(mask[..., None], 0.0, representation.analyse(audio))
    np.testing.assert_allclose(features, 0, atol=1e-3)
    assert not bool(mask.all())


@pytest.mark.parametrize("name", list(parts.representations))
@pytest.mark.parametrize("channels", ["mono", "stereo"])
def test_a_config_becomes_the_representation_that_it_names(name, channels):
    config = config_module.default()
    config.representation.name = name
    config.data.channels = channels
    made = representations.from_config(config)
    if channels == "stereo":
        assert isinstance(made, Multichannel)
        assert made.channels == 2
        made = made.inner
    assert type(made) is parts.representations[name]
    assert made.sample_rate == 16000
    assert made.hop_length == 256
    if name == "mel":
        assert (made.win_length, made.fmin, made.fmax) == (1024, 0.0, 8000.0)


@pytest.mark.parametrize("name", list(parts.representations))
def test_a_representation_takes_the_keys_that_the_config_says(name):
    fields = {field.name for field in dataclasses.fields(parts.representations[name])}
    assert fields == {"sample_rate", *config_module.default().representation[name]}


def test_a_window_of_its_own_and_a_highest_frequency_are_taken():
    config = config_module.default()
    config.representation.mel.update(win_length=800, fmax=4000.0)
    made = representations.from_config(config)
    assert (made.n_fft, made.win_length, made.fmax) == (1024, 800, 4000.0)


def test_more_bands_than_can_be_filled_are_refused():
    config = config_module.default()
    config.representation.mel.n_mels = 500
    with pytest.raises(UserError, match=r"config\.representation: .*n_mels"):
        representations.from_config(config)


@pytest.mark.parametrize(
    ("sample_rate", "n_fft"), [(16000, 1024), (22050, 2048), (44100, 4096), (48000, 4096)]
)
def test_the_yardstick_is_a_power_of_two_of_at_least_64_ms(sample_rate, n_fft):
    made = eval_mel(sample_rate)
    assert (made.n_fft, made.win_length, made.hop_length) == (n_fft, n_fft, n_fft // 4)
    assert (made.bins, made.fmin, made.fmax) == (80, 0.0, sample_rate / 2)
    assert made.floor_db == -60


STFTS = [
    Spectrogram(8000, 256, 256, 64, -60.0, 4),
    ComplexSpectrogram(8000, 256, 256, 64, 0.5),
    MelSpectrogram(8000, 256, 256, 64, -60.0, 4, n_mels=20, fmin=0.0, fmax=4000.0),
]


@pytest.mark.parametrize("representation", STFTS, ids=lambda one: type(one).__name__)
def test_masks_make_softer_and_keep_the_phase(representation):
    samples = representation.samples(80)
    rng = np.random.default_rng(0)
    noise = jnp.asarray(0.1 * rng.standard_normal((2, samples)), jnp.float32)
    features = representation.analyse(noise)
    # Its own features leave it as it is; louder ones too.
    np.testing.assert_allclose(representation.masked(noise, features), noise, atol=1e-5)
    louder = representation.analyse(2 * noise)
    np.testing.assert_allclose(representation.masked(noise, louder), noise, atol=1e-5)
    # 20 dB softer everywhere is a tenth of it.
    softer = representation.analyse(0.1 * noise)
    np.testing.assert_allclose(representation.masked(noise, softer), 0.1 * noise, atol=2e-3)
    # What is in one band alone is what is left.
    tone = 0.3 * jnp.sin(2 * np.pi * 1000 / 8000 * jnp.arange(float(samples))[None])
    left = representation.masked(noise + tone, representation.analyse(jnp.tile(tone, (2, 1))))
    before = float(jnp.square(noise).mean())
    assert float(jnp.square(left - tone).mean()) < 0.15 * before


@pytest.mark.parametrize(("degrees", "left"), [(0, 1), (60, 0.5), (-60, 0.5), (90, 0), (180, 0)])
@pytest.mark.parametrize("compression", [0.5, 1.0])
def test_of_features_with_phases_counts_what_points_along_the_sound(degrees, left, compression):
    representation = ComplexSpectrogram(8000, 256, 256, 64, compression)
    noise = 0.1 * jax.random.normal(jax.random.key(0), (1, representation.samples(40)))
    real, imaginary = jnp.split(representation.analyse(noise), 2, axis=-1)
    cos, sin = (np.float32(f(np.radians(degrees))) for f in (np.cos, np.sin))
    turned = jnp.concatenate([cos * real - sin * imaginary, sin * real + cos * imaginary], axis=-1)
    found = representation.masked(noise, turned)
    np.testing.assert_allclose(found, left ** (1 / compression) * noise, atol=1e-4)


def test_masks_of_what_is_no_stft_are_the_features_themselves():
    audio = jnp.ones((1, 256))
    for representation in (Waveform(8000, 64), MDCT(8000, 64, 0.5)):
        features = representation.analyse(0.5 * audio)
        found = representation.masked(
            audio[:, : representation.samples(features.shape[1])], features
        )
        np.testing.assert_allclose(found[:, 64:192], 0.5, atol=1e-4)


def test_masks_of_several_channels():
    inner = STFTS[0]
    both = Multichannel(inner, 2)
    audio = jax.random.normal(jax.random.key(0), (1, inner.samples(20), 2))
    features = both.analyse(0.3 * audio)
    found = both.masked(audio, features)
    for channel in range(2):
        alone = inner.masked(audio[..., channel], inner.analyse(0.3 * audio[..., channel]))
        np.testing.assert_allclose(found[..., channel], alone, atol=1e-5)
