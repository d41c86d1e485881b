import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import config as config_module
from aejax import losses, objective, parts, signal
from aejax.models.autoencoder import standardise
from aejax.objective import Comparison, Objective, weighted_sum
from aejax.representations import MDCT, Multichannel, Waveform

RATE, HOP, FRAMES = 8000, 16, 80
SAMPLES = HOP * FRAMES
WAVEFORM = Waveform(RATE, HOP)
CONSTANTS = {"mean": jnp.linspace(-0.1, 0.1, HOP), "scale": jnp.asarray(0.3)}
LENGTH = jnp.asarray([SAMPLES, SAMPLES - 200])
MASK = jnp.arange(FRAMES)[None] < jnp.asarray([FRAMES, FRAMES - 12])[:, None]

FEATURES = [name for name, loss in parts.losses.items() if issubclass(loss, losses.FeatureLoss)]
AUDIO = [name for name, loss in parts.losses.items() if issubclass(loss, losses.AudioLoss)]
DISTANCES = {
    "waveform_l1": signal.waveform_l1,
    "si_sdr": lambda x, y, **options: -signal.si_sdr(x, y, **options),
    "multi_resolution_stft": signal.multi_resolution_stft,
    "auraloss_multi_resolution_stft": signal.auraloss_multi_resolution_stft,
    "multi_scale_mel": lambda x, y: signal.multi_scale_mel(x, y, sample_rate=RATE),
    "dac_mel": lambda x, y: signal.dac_mel(x, y, sample_rate=RATE),
    "a_weighted": lambda x, y: signal.a_weighted_spectral_distance(x, y, sample_rate=RATE),
}


@pytest.fixture
def pair():
    """Audio, and another not far from it, silent behind the end of each row."""
    rng = np.random.default_rng(0)
    there = np.arange(SAMPLES) < np.asarray(LENGTH)[:, None]
    audio = 0.1 * rng.standard_normal((2, SAMPLES)) * there
    estimate = 0.7 * audio + 0.05 * rng.standard_normal((2, SAMPLES)) * there
    return jnp.asarray(estimate, jnp.float32), jnp.asarray(audio, jnp.float32)


def with_weights(weights, representation=WAVEFORM, rate=RATE):
    used = {name: parts.losses[name](weight=weight) for name, weight in weights.items()}
    return Objective(used, representation, rate)


def terms_of(names, estimate, audio, representation=WAVEFORM, constants=CONSTANTS, length=LENGTH):
    learnt = with_weights(dict.fromkeys(names, 1.0), representation)

    @jax.jit
    def terms(estimate, audio):
        features = representation.analyse(audio)
        output = representation.analyse(estimate)
        mask = jnp.arange(features.shape[1])[None] < representation.frames(length)[:, None]
        x, target = (standardise(each, constants) for each in (output, features))
        compared = Comparison(x, target, mask, audio, length)
        return learnt.terms(compared, constants)

    return {name: float(value) for name, value in terms(estimate, audio).items()}


def test_every_loss_of_the_config_is_of_features_or_of_audio():
    assert sorted([*FEATURES, *AUDIO]) == sorted(parts.losses)
    assert sorted(parts.losses) == sorted(config_module.default().loss)
    assert set(DISTANCES) == set(AUDIO)


@pytest.mark.parametrize(("name", "distance"), [("l1", np.abs), ("l2", np.square)])
def test_a_loss_of_features_is_in_units_of_the_scale(pair, name, distance):
    error = np.asarray(WAVEFORM.analyse(pair[0]) - WAVEFORM.analyse(pair[1])) / 0.3
    expected = distance(error[np.asarray(MASK)]).mean()
    assert terms_of([name], *pair) == {name: pytest.approx(expected, rel=1e-5)}


@pytest.mark.parametrize("name", AUDIO)
def test_a_loss_of_audio_is_the_distance_of_that_name(pair, name):
    learnt = with_weights({name: 1.0})

    # In one program, so that the transforms are compiled once.
    @jax.jit
    def both(estimate, audio):
        output, features = WAVEFORM.analyse(estimate), WAVEFORM.analyse(audio)
        compared = Comparison(
            *(standardise(each, CONSTANTS) for each in (output, features)), MASK, audio, LENGTH
        )
        estimate = signal.until_end(estimate, LENGTH)
        knows = name in ("waveform_l1", "si_sdr")
        options = {"length": LENGTH} if knows else {}
        expected = DISTANCES[name](estimate, audio, **options).mean()
        return learnt.terms(compared, CONSTANTS), expected

    found, expected = both(pair[0] + 0.01, pair[1])
    assert {key: float(value) for key, value in found.items()} == {
        name: pytest.approx(float(expected), rel=1e-3)
    }
    assert float(expected) != 0


def test_the_ratio_is_turned_over_so_that_less_is_better(pair):
    assert terms_of(["si_sdr"], pair[1], pair[1])["si_sdr"] == pytest.approx(-100, abs=1e-3)


def test_a_loss_of_audio_goes_through_the_way_back(pair):
    mdct = MDCT(RATE, 32, compression=0.5)
    constants = {"mean": jnp.full(32, 0.2), "scale": jnp.asarray(0.7)}
    expected = float(signal.waveform_l1(*pair, length=LENGTH).mean())
    found = terms_of(["waveform_l1"], *pair, mdct, constants)
    assert found["waveform_l1"] == pytest.approx(expected, rel=1e-4)


def test_each_channel_is_a_row_of_audio(pair):
    stereo = Multichannel(WAVEFORM, 2)
    constants = {"mean": jnp.zeros(2 * HOP), "scale": jnp.asarray(1.0)}
    estimate, audio = (jnp.stack([x, jnp.roll(x, 1, axis=0)], axis=-1) for x in pair)
    long = jnp.full(2, SAMPLES)
    found = terms_of(["si_sdr"], estimate, audio, stereo, constants, long)
    expected = -float(signal.si_sdr(*pair).mean())
    assert found["si_sdr"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("names", [["l1", "l2"], ["waveform_l1", "si_sdr"]])
def test_what_lies_behind_the_end_of_a_clip_does_not_count(pair, names):
    estimate, audio = pair
    behind = jnp.arange(SAMPLES)[None] >= (jnp.asarray(WAVEFORM.frames(LENGTH)) * HOP)[:, None]
    other = jnp.where(behind, 0.9, estimate)
    assert bool(behind.any())
    assert terms_of(names, other, audio) == pytest.approx(terms_of(names, estimate, audio))


def test_samples_behind_the_end_within_the_last_frame_do_not_count_in_audio(pair):
    estimate, audio = pair
    length = jnp.asarray([SAMPLES, SAMPLES - 201])
    within = estimate.at[1, SAMPLES - 201].set(0.9)
    whole = terms_of(["waveform_l1"], estimate, audio, length=length)
    assert terms_of(["waveform_l1"], within, audio, length=length) == whole


@pytest.mark.parametrize("name", AUDIO)
def test_rows_that_only_fill_the_batch_are_none(pair, name):
    """The term of a batch that is not full is that of a batch of those that are there."""
    full = jnp.full(2, SAMPLES)
    padded = [jnp.concatenate([x, jnp.zeros_like(x), jnp.zeros_like(x)]) for x in pair]
    length = jnp.concatenate([full, jnp.zeros(4, full.dtype)])
    found = terms_of([name], padded[0], padded[1], length=length)
    assert found == pytest.approx(terms_of([name], *pair, length=full), rel=1e-5)


def test_the_total_is_the_weighted_sum():
    terms = {"l1": jnp.float32(3), "l2": jnp.float32(5), "kl": jnp.float32(7)}
    weights = {"l1": jnp.float32(0.5), "l2": 2.0}
    assert float(weighted_sum(terms, {**weights, "kl": 0.1})) == pytest.approx(1.5 + 10 + 0.7)
    assert float(weighted_sum(terms, {**weights, "kl": jnp.float32(0)})) == pytest.approx(11.5)
    assert float(weighted_sum({}, {})) == 0


def test_a_term_without_a_weight_is_a_mistake():
    with pytest.raises(KeyError, match="kl"):
        weighted_sum({"kl": jnp.float32(1)}, {})


def test_only_what_has_a_weight_is_computed(pair, monkeypatch, unchecked_types):
    def refuse(*_, **__):
        raise AssertionError("computed for nothing")

    config = config_module.default()
    config.loss.waveform_l1.weight = 3.0
    found = objective.from_config(config, WAVEFORM)
    assert found == with_weights({"l2": 1.0, "waveform_l1": 3.0}, rate=16000)
    for name in set(parts.losses) - {"l2", "waveform_l1"}:
        monkeypatch.setattr(parts.losses[name], "__call__", refuse)
    assert set(terms_of(found.weights, *pair)) == {"l2", "waveform_l1"}


def test_losses_of_features_alone_need_no_way_back(pair):
    class OneWay(Waveform):
        def synthesise(self, features):
            raise AssertionError("synthesised for nothing")

    terms_of(["l1"], *pair, OneWay(RATE, HOP))


@pytest.mark.parametrize("name", [*FEATURES, "waveform_l1", "si_sdr"])
def test_gradients_are_finite_where_all_is_silent(name):
    learnt = with_weights({name: 1.0})
    audio = jnp.zeros((2, SAMPLES))

    @jax.jit
    @jax.grad
    def gradient(output):
        both = (standardise(each, CONSTANTS) for each in (output, WAVEFORM.analyse(audio)))
        compared = Comparison(*both, MASK, audio, LENGTH)
        return learnt.terms(compared, CONSTANTS)[name]

    assert bool(jnp.isfinite(gradient(WAVEFORM.analyse(audio))).all())
