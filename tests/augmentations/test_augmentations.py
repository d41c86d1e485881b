"""What each augmentation does to level, spectrum and length; and that off means off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import welch

from aejax import augmentations, config, signal
from aejax.augmentations import VTLP, Example, FrequencyMasks, Mix, TimeMasks, measuring
from aejax.augmentations.eq import random_eq
from aejax.augmentations.noise import add_noise, coloured_noise

KEY = jax.random.key(0)
ROWS, SAMPLES = 200, 4000


@pytest.fixture(scope="module", params=[(), (2,)], ids=["mono", "stereo"])
def audio(request):
    shape = (ROWS, SAMPLES, *request.param)
    return 0.1 * jax.random.normal(jax.random.key(1), shape)


def level_db(x):
    return 20 * np.log10(np.sqrt(np.mean(np.square(x), axis=tuple(range(1, x.ndim)))))


# Of a config, so that nothing is on.
OFF = {
    "speed.range": (1.0, 1.0),
    "speed.probability": 1.0,
    "mix.probability": 0.0,
    "eq.db": 0.0,
    "gain.db": 0.0,
    "cut.probability": 0.0,
}


def chain(task="reconstruct", samples=SAMPLES, **amount):
    """What these keys describe, with ``__`` for the dots: ``eq__db=3.0``."""
    keys = OFF | {key.replace("__", "."): value for key, value in amount.items()}
    keys = {f"augment.{key}": value for key, value in keys.items()} | {"task": task}
    return augmentations.from_config(config.override(config.default(), keys), samples)


def both(audio, length=None, place=None, key=KEY, noise=None, **amount):
    length = jnp.full(len(audio), audio.shape[1], jnp.int32) if length is None else length
    place = jnp.zeros(len(audio)) if place is None else place
    return chain(**amount)(key, Example(audio, audio, length, place, noise), SAMPLES)


def augmented(*given, **amount):
    """What is heard, and its length; it is what is to be given back."""
    found = both(*given, **amount)
    np.testing.assert_array_equal(found.input, found.target)
    return found.input, found.length


def test_off_is_off(audio):
    out, length = augmented(audio)
    np.testing.assert_array_equal(out, audio)
    np.testing.assert_array_equal(length, SAMPLES)


KINDS = {
    "speed": {"speed__range": (0.7, 1.4)},
    "mix": {"mix__probability": 0.5},
    "noise": {"noise__kind": "pink"},
    "eq": {"eq__db": 3.0},
    "gain": {"gain__db": 6.0},
    "polarity": {"polarity__probability": 0.5},
    "cut": {"cut__probability": 0.5},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_seeded_and_changes_no_other(audio, kind):
    audio = audio[:20]
    one, _ = augmented(audio, **KINDS[kind])
    np.testing.assert_array_equal(one, augmented(audio, **KINDS[kind])[0])
    assert not np.array_equal(one, augmented(audio, key=jax.random.key(3), **KINDS[kind])[0])
    assert not np.array_equal(one, audio)
    # The last in the chain is drawn alike, whether the one before it is on or off.
    if kind != "polarity":
        turned, _ = augmented(audio, polarity__probability=0.5, **KINDS[kind])
        alone, _ = augmented(audio, polarity__probability=0.5)
        axes = tuple(range(1, audio.ndim))
        signs = [np.sign((x * y).sum(axes)) for x, y in ((turned, one), (alone, audio))]
        np.testing.assert_array_equal(*signs)


def test_gain_moves_the_level_by_so_much(audio):
    change = level_db(augmented(audio, gain__db=6.0)[0]) - level_db(audio)
    assert -6.01 < change.min() < -5.6
    assert 5.6 < change.max() < 6.01
    assert np.abs(np.mean(change)) < 0.8


def test_polarity_turns_some_over_and_nothing_else(audio):
    out, _ = augmented(audio, polarity__probability=0.3)
    turned = np.asarray((out == -audio).reshape(ROWS, -1).all(1))
    assert 0.2 < turned.mean() < 0.4
    np.testing.assert_array_equal(out[~turned], audio[~turned])


def test_mix_adds_the_neighbour_softer():
    audio = jnp.eye(1000)
    mixed = Mix(0.5).change(KEY, audio, jnp.full(1000, 1000)) - audio
    added = mixed[mixed > 0]
    assert 400 < added.size < 600
    assert -40.1 < 20 * np.log10(added.min()) < -39
    assert -1 < 20 * np.log10(added.max()) <= 0


@pytest.mark.parametrize("kind", ["white", "pink", "folder"])
def test_noise_comes_at_the_ratio_it_says(audio, kind):
    options = {"noise__kind": kind, "noise__snr_db": (3.0, 12.0)}
    if kind == "folder":
        options["noise"] = 7 * jax.random.normal(jax.random.key(5), audio.shape)
    out, _ = augmented(audio, noise__probability=1.0, **options)
    ratio = level_db(audio) - level_db(out - audio)
    assert 2.99 < ratio.min() < 3.6
    assert 11.4 < ratio.max() < 12.01
    some, _ = augmented(audio, noise__probability=0.5, **options)
    changed = np.asarray((some != audio).reshape(ROWS, -1).any(1))
    assert 0.4 < changed.mean() < 0.6


@pytest.mark.parametrize(("pink", "slope"), [(False, 0.0), (True, -3.01)])
def test_the_colour_of_noise(pink, slope):
    noise = coloured_noise(KEY, jnp.zeros((50, 8192)), pink=pink)
    frequency, power = welch(noise, nperseg=8192)
    power_db = 10 * np.log10(power.mean(0))
    octaves = [(2.0**-k) for k in range(2, 9)]
    levels = [power_db[(frequency > f / 2) & (frequency <= f)].mean() for f in octaves]
    per_octave = -np.polyfit(range(len(levels)), levels, 1)[0]
    assert per_octave == pytest.approx(slope, abs=0.15)
    assert np.abs(np.corrcoef(noise)[~np.eye(50, dtype=bool)]).mean() < 0.1


def test_noise_on_silence_is_silence_and_finite():
    zeros, ones, length = jnp.zeros((4, 100)), jnp.ones((4, 100)), jnp.asarray([0, 1, 50, 100])
    out = add_noise(KEY, zeros, length, ones, (0.0, 0.0), 1.0)
    np.testing.assert_array_equal(out, 0)
    out = add_noise(KEY, ones, length, zeros, (0.0, 0.0), 1.0)
    np.testing.assert_array_equal(out, 1)


def test_the_ratio_is_that_to_the_clip_and_not_to_the_silence_behind_it():
    length = jnp.full(ROWS, 400, jnp.int32)
    clip = jnp.broadcast_to(jnp.where(jnp.arange(4000) < 400, 0.1, 0.0), (ROWS, 4000))
    noise = jax.random.normal(KEY, clip.shape)
    out = add_noise(KEY, clip, length, noise, (10.0, 10.0), 1.0)
    ratio = level_db(clip[:, :400]) - level_db((out - clip)[:, :400])
    np.testing.assert_allclose(ratio, 10, atol=0.02)


@pytest.mark.parametrize("kind", ["white", "folder"])
def test_whatever_was_done_before_the_ratio_is_as_asked_and_the_padding_silent(audio, kind):
    """Of clips that fill a fifth of their row, and of noise that is louder behind them."""
    fifth = SAMPLES // 5
    rise = jnp.where(jnp.arange(SAMPLES) < fifth, 0.01, 1.0)
    rise = rise.reshape(1, SAMPLES, *[1] * (audio.ndim - 2))
    options = {"noise__kind": kind, "noise__snr_db": (10.0, 10.0), "noise__probability": 1.0}
    if kind == "folder":
        options["noise"] = rise * jax.random.normal(jax.random.key(5), audio.shape)
    # Every other clip fills its row, and is mixed into its neighbour.
    length = jnp.where(jnp.arange(ROWS) % 2 == 0, fifth, SAMPLES).astype(jnp.int32)
    options |= {"mix__probability": 1.0, "eq__db": 6.0, "task": "denoise"}
    found = both(signal.until_end(audio, length), length, **options)
    heard, target = np.asarray(found.input), np.asarray(found.target)
    for row in range(20):
        end = int(length[row])
        noise = (heard - target)[row : row + 1, :end]
        ratio = level_db(target[row : row + 1, :end]) - level_db(noise)
        np.testing.assert_allclose(ratio, 10, atol=0.02)
        np.testing.assert_array_equal(heard[row, end:], 0)
        np.testing.assert_array_equal(target[row, end:], 0)


def test_eq_has_the_spread_it_says():
    impulses = jnp.zeros((500, 256)).at[:, 0].set(1.0)
    response_db = 20 * np.log10(np.abs(np.fft.rfft(random_eq(KEY, impulses, 3.0))))
    assert np.abs(response_db.mean()) < 0.3
    # Evenly along the logarithmic axis on which the response is drawn.
    places = np.exp(np.linspace(0, np.log(33), 50)) - 1
    rows = [np.interp(places / 64, np.fft.rfftfreq(256), row) for row in response_db]
    assert np.std(rows) == pytest.approx(3.0, rel=0.15)


def test_eq_is_the_same_in_both_channels():
    audio = jax.random.normal(KEY, (3, 500))
    both = random_eq(KEY, jnp.stack([audio, 2 * audio], axis=2), 3.0)
    one = random_eq(KEY, audio, 3.0)
    np.testing.assert_allclose(both, np.stack([one, 2 * one], axis=2), atol=1e-5)


def test_speed_moves_the_pitch_by_so_much():
    span, hz = 8000, 0.05  # cycles per sample
    tone = jnp.broadcast_to(
        jnp.sin(2 * np.pi * hz * jnp.arange(span, dtype=jnp.float32)), (ROWS, span)
    )
    out, length = augmented(tone, speed__range=(0.5, 2.0))
    np.testing.assert_array_equal(length, SAMPLES)
    spectra = np.abs(np.fft.rfft(np.asarray(out) * np.hanning(SAMPLES)))
    peaks = spectra.argmax(1) / SAMPLES / hz
    assert 0.5 <= peaks.min() < 0.53
    assert 1.9 < peaks.max() <= 2.01
    # Log-uniform: as often slower as faster; and as loud as before.
    assert np.median(peaks) == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(level_db(out), level_db(tone), atol=0.1)


def test_some_are_left_at_their_speed():
    audio = jax.random.normal(KEY, (ROWS, 6000))
    out, _ = augmented(audio, speed__range=(0.5, 1.5), speed__probability=0.4)
    kept = np.isclose(out, audio[:, :SAMPLES], atol=1e-5).all(1)
    assert 0.5 < kept.mean() < 0.7


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_speed_takes_its_stretch_where_the_row_lies(place):
    """At the end of its clip, the end of the row: so that all of a clip is heard equally often."""
    span, length = 8000, 7000
    ramp = jnp.broadcast_to(jnp.arange(span, dtype=jnp.float32) / span, (ROWS, span))
    ramp = jnp.where(jnp.arange(span) < length, ramp, 0.0)
    out, there = augmented(
        ramp,
        speed__range=(0.5, 1.5),
        length=jnp.full(ROWS, length, jnp.int32),
        place=jnp.full(ROWS, place),
    )
    np.testing.assert_array_equal(there, SAMPLES)
    out = np.asarray(out) * span
    first, last = out[:, 20], out[:, -20]
    used = last - first
    assert used.min() > 0.49 * SAMPLES
    np.testing.assert_allclose(first, place * (length - used * 1.01), atol=130)


def test_a_clip_that_ends_is_shorter_when_it_is_faster():
    audio = jnp.ones((ROWS, 8000))
    length = jnp.full(ROWS, 2000, jnp.int32).at[:5].set(0)
    out, there = augmented(audio.at[:, 2000:].set(0.0), speed__range=(0.5, 2.0), length=length)
    there = np.asarray(there)
    np.testing.assert_array_equal(there[:5], 0)
    assert 1000 <= there[5:].min() < 1060
    assert 3800 < there[5:].max() <= SAMPLES
    for row, count in zip(np.asarray(out), there, strict=True):
        if count:
            assert np.abs(row[10 : count - 20] - 1).max() < 0.02
            assert np.abs(row[count + 60 :]).max(initial=0) < 0.05


def test_masks_hide_so_many_stretches_and_no_more():
    features = jax.random.normal(KEY, (300, 60, 40))
    fill = jnp.arange(100.0, 140.0)
    masks = TimeMasks(count=1, frames=10)
    hidden = np.asarray(masks.change_features(KEY, features, fill, 1) != features)
    frames = hidden.all(2)
    assert (hidden == frames[:, :, None]).all()
    assert set(frames.sum(1)) == set(range(11))
    assert (np.diff(frames, axis=1, prepend=0, append=0) == 1).sum(1).max() == 1
    assert frames.any(0).all()
    masks = FrequencyMasks(count=2, bins=5)
    masked = np.asarray(masks.change_features(KEY, features, fill, 1))
    bins = (masked != features).all(1)
    assert bins.sum(1).max() <= 10
    assert bins.sum(1).mean() > 3
    both = masks.change_features(KEY, features, fill, 2) != features
    both = np.asarray(both).all(1)
    np.testing.assert_array_equal(both[:, :20], both[:, 20:])
    assert both.sum(1).max() <= 20
    row, place = np.argwhere(bins)[0]
    np.testing.assert_array_equal(masked[row, :, place], 100 + place)


def test_the_span_is_what_the_highest_speed_needs():
    assert chain(speed__range=(0.5, 1.6)).span(1000) == 1600
    assert chain(speed__range=(0.5, 0.9)).span(1000) == 1000
    assert chain().span(1000) == 1000


@pytest.mark.parametrize("kind", ["white", "folder"])
def test_noise_to_be_taken_away_is_in_what_is_heard_alone(audio, kind):
    options = {"noise__kind": kind, "noise__snr_db": (0.0, 0.0), "noise__probability": 1.0}
    if kind == "folder":
        options["noise"] = 3 * jax.random.normal(jax.random.key(5), audio.shape)
    found = both(audio, task="denoise", **options)
    np.testing.assert_array_equal(found.target, audio)
    ratio = level_db(np.asarray(audio)) - level_db(np.asarray(found.input - audio))
    np.testing.assert_allclose(ratio, 0, atol=0.01)
    # What changes speech changes it in both; the level, of all that is heard.
    more = {"eq__db": 3.0, "gain__db": 6.0, "polarity__probability": 0.5}
    found = both(audio, task="denoise", **options, **more)
    ratio = level_db(np.asarray(found.target)) - level_db(np.asarray(found.input - found.target))
    np.testing.assert_allclose(ratio, 0, atol=0.01)
    assert np.std(level_db(np.asarray(found.target))) > 2


def test_noise_from_a_folder_is_changed_by_draws_of_its_own():
    tone = jnp.broadcast_to(jnp.sin(0.5 * jnp.arange(2.0 * SAMPLES)), (50, 2 * SAMPLES))
    options = {"noise__kind": "folder", "noise__probability": 1.0, "task": "denoise"}
    found = both(tone, noise=tone, speed__range=(0.5, 2.0), **options)

    def pitch(x):
        return np.abs(np.fft.rfft(x, axis=1)).argmax(1)

    clean, noise = pitch(found.target), pitch(found.input - found.target)
    assert len(np.unique(noise)) > 20
    assert np.abs(np.corrcoef(clean, noise)[0, 1]) < 0.5


def test_what_a_model_hears_where_it_is_measured(audio):
    batch = windows(audio)
    np.testing.assert_array_equal(measuring.evaluation_input(batch, noise=None), audio)
    noise = noise_of(noise__kind="white", noise__probability=0.0, noise__snr_db=(6.0, 6.0))
    heard = measuring.evaluation_input(batch, noise=noise)
    np.testing.assert_array_equal(heard, measuring.evaluation_input(batch, noise=noise))
    ratio = level_db(np.asarray(audio)) - level_db(np.asarray(heard - audio))
    np.testing.assert_allclose(ratio, 6, atol=0.01)


def noise_of(**amount):
    """The part of a chain that adds what is to be taken away."""
    ((_, noise),) = chain(task="denoise", **amount).parts
    return noise


def windows(audio):
    """Two windows of each clip, as a batch on the devices."""
    rows = jnp.arange(len(audio))
    return {
        "audio": audio,
        "length": jnp.full(len(audio), audio.shape[1], jnp.int32),
        "clip": rows // 2,
        "start": (rows % 2 * audio.shape[1]).astype(jnp.uint32),
    }


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_the_noise_of_a_window_is_its_own_wherever_it_stands(audio, kind):
    part = noise_of(noise__kind=kind, noise__snr_db=(0.0, 30.0))
    batch = windows(audio)

    def noise(chosen):
        rows = {name: value[chosen] for name, value in batch.items()}
        return np.asarray(measuring.evaluation_input(rows, noise=part) - rows["audio"])

    whole = noise(np.arange(ROWS))
    order = np.random.default_rng(0).permutation(ROWS)
    np.testing.assert_allclose(noise(order), whole[order], atol=1e-6)
    np.testing.assert_allclose(noise(np.asarray([7])), whole[7:8], atol=1e-6)
    # No two windows have the same, be it louder or softer, nor the same ratio.
    flat = whole[:50].reshape(50, -1)
    assert np.abs(np.corrcoef(flat)[~np.eye(50, dtype=bool)]).max() < 0.5
    assert len(np.unique(np.round(level_db(audio) - level_db(whole), 3))) > 0.95 * ROWS


def test_seen_through_another_equaliser(audio):
    found = both(audio, input_eq__db=6.0)
    np.testing.assert_array_equal(found.target, audio)
    assert not np.allclose(found.input, audio, atol=1e-3)
    # The key of the equaliser that both go through stays as it was.
    np.testing.assert_array_equal(
        both(audio, input_eq__db=6.0, eq__db=3.0).target, both(audio, eq__db=3.0).target
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_stretched_bins(channels):
    own = 60
    bump = jnp.exp(-0.5 * ((jnp.arange(float(own)) - 20.0) / 2) ** 2)
    features = jnp.broadcast_to(jnp.tile(bump, channels), (100, 3, own * channels))
    stretched = VTLP((0.5, 2.0)).change_features(KEY, features, jnp.zeros(own * channels), channels)
    assert stretched.shape == features.shape
    parts = np.asarray(stretched).reshape(100, 3, channels, own)
    np.testing.assert_array_equal(parts, np.broadcast_to(parts[:, :1, :1], parts.shape))
    peaks = parts[:, 0, 0].argmax(1)
    assert peaks.min() < 12
    assert peaks.max() > 36
    np.testing.assert_allclose(parts.max(axis=-1), 1, atol=0.15)
    same = VTLP((1.0, 1.0)).change_features(KEY, features, jnp.zeros(own * channels), channels)
    np.testing.assert_allclose(same, features, atol=1e-5)


def test_cuts_leave_silence_at_the_ends_and_nothing_else(audio):
    out, length = augmented(audio, cut__probability=0.5)
    np.testing.assert_array_equal(length, SAMPLES)
    silent = np.asarray(out == 0).reshape(ROWS, SAMPLES, -1).all(-1)
    np.testing.assert_array_equal(np.asarray(out)[~silent], np.asarray(audio)[~silent])
    start, end = silent.argmin(1), SAMPLES - silent[:, ::-1].argmin(1)
    within = (np.arange(SAMPLES) >= start[:, None]) & (np.arange(SAMPLES) < end[:, None])
    np.testing.assert_array_equal(silent, ~within)
    assert start.max() < SAMPLES // 2 <= end.min()
    # Half of the rows, of which a quarter lose nothing, and half one end.
    for share, expected in (
        ((start > 0) | (end < SAMPLES), 3 / 8),
        (start > 0, 1 / 4),
        (end < SAMPLES, 1 / 4),
        ((start > 0) & (end < SAMPLES), 1 / 8),
    ):
        assert abs(share.mean() - expected) < 0.1
