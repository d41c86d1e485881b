import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from signal_cases import relative_error, scipy_window, stft_parameters

from aejax import signal

RNG = np.random.default_rng(0)
MEL = {"sample_rate": 16000, "n_fft": 1024, "n_mels": 80}


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mel_scale_agrees_with_librosa(scale):
    hz = np.geomspace(1, 20_000, 200)
    mel = signal.hz_to_mel(hz, scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(hz, htk=scale == "htk"), rtol=1e-12)
    np.testing.assert_allclose(signal.mel_to_hz(mel, scale), hz, rtol=1e-12)
    assert signal.hz_to_mel(0.0, scale) == 0
    traced = jax.jit(lambda hz: signal.mel_to_hz(signal.hz_to_mel(hz, scale), scale))
    np.testing.assert_allclose(traced(jnp.asarray(hz, jnp.float32)), hz, rtol=1e-4)


@settings(deadline=None, max_examples=100)
@given(
    sample_rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    n_fft=st.integers(400, 4096),
    n_mels=st.integers(1, 60),
    ends=st.tuples(st.floats(0, 0.3), st.floats(0.7, 1)),
    scale=st.sampled_from(["slaney", "htk"]),
    norm=st.sampled_from(["slaney", None]),
)
def test_filterbank_agrees_with_librosa(sample_rate, n_fft, n_mels, ends, scale, norm):
    fmin, fmax = (end * sample_rate / 2 for end in ends)
    sizes = {"n_fft": n_fft, "n_mels": n_mels, "fmin": fmin, "fmax": fmax, "norm": norm}
    try:
        ours = signal.mel_filterbank(sample_rate=sample_rate, scale=scale, **sizes)
    except ValueError as error:
        assert "would be empty" in str(error)  # noqa: PT017  only then may it raise
        assume(False)
    theirs = librosa.filters.mel(sr=sample_rate, htk=scale == "htk", **sizes)
    np.testing.assert_allclose(ours.T, theirs, atol=2e-6 * theirs.max())


@settings(deadline=None, max_examples=60)
@given(
    n_fft=st.integers(1, 300),
    n_mels=st.integers(1, 300),
    fmin=st.floats(0, 3000),
    scale=st.sampled_from(["slaney", "htk"]),
)
def test_no_empty_filter_passes_and_the_smallest_n_fft_is_named(n_fft, n_mels, fmin, scale):
    sizes = {"sample_rate": 8000, "n_mels": n_mels, "fmin": fmin, "scale": scale}

    def filters(n_fft):
        return signal.mel_filterbank(n_fft=n_fft, **sizes)

    try:
        assert (filters(n_fft).sum(axis=0) > 0).all()
    except ValueError as error:
        enough = int(str(error).rpartition("n_fft=")[2])
        assert enough > n_fft
        assert (filters(enough).sum(axis=0) > 0).all()
        for shorter in {max(n_fft, enough - 1), (n_fft + enough) // 2}:
            with pytest.raises(ValueError, match=f"at least n_fft={enough}"):
                filters(shorter)


@settings(deadline=None, max_examples=10)
@given(stft_parameters(), st.booleans(), st.sampled_from([1.0, 2.0]))
def test_mel_spectrogram_and_db_agree_with_librosa(drawn, htk, power):
    sizes, shape = drawn
    assume(shape[-1] >= 2 * sizes["n_fft"] and sizes["n_fft"] > 100)
    x = RNG.standard_normal(shape).astype(np.float32)
    ours = signal.mel_spectrogram(
        jnp.asarray(x),
        sample_rate=8000,
        n_mels=10,
        power=power,
        scale="htk" if htk else "slaney",
        **sizes,
    )
    theirs = librosa.feature.melspectrogram(
        y=x.astype(np.float64),
        sr=8000,
        n_mels=10,
        power=power,
        htk=htk,
        **sizes | {"window": scipy_window(sizes["window"])},
    ).swapaxes(-1, -2)
    assert relative_error(ours, theirs) < 2e-6
    if power == 2:
        db = librosa.power_to_db(theirs, top_db=None)
        np.testing.assert_allclose(signal.power_to_db(ours), db, atol=1e-4)


@pytest.mark.parametrize("lifter", [0.0, 22.0])
def test_mfcc_agrees_with_librosa(lifter):
    x = RNG.standard_normal((2, 8000)).astype(np.float32)
    ours = signal.mfcc(jnp.asarray(x), **MEL, hop_length=256, n_mfcc=13, lifter=lifter)
    for mine, audio in zip(ours, x, strict=True):
        theirs = librosa.feature.mfcc(
            y=audio,
            sr=16000,
            n_fft=1024,
            hop_length=256,
            n_mels=80,
            n_mfcc=13,
            lifter=lifter,
            pad_mode="reflect",
        )
        assert relative_error(mine, theirs.T) < 2e-6


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"fmin": -1.0}, "fmin=-1"),
        ({"fmax": 8001.0}, "8000 Hz .*fmax=8001"),
        ({"fmin": 500.0, "fmax": 400.0}, "fmin < fmax"),
        ({"fmin": float("nan")}, "fmin must be a number"),
        ({"n_mels": 0}, "n_mels must be"),
        ({"n_mels": 10**9}, "n_mels must be a whole number, 1 to 10000"),
        ({"sample_rate": 0}, "sample_rate must be above 0"),
        ({"scale": "mel"}, "unknown scale 'mel'; known: 'slaney', 'htk'"),
        ({"norm": "l2"}, "unknown norm"),
        ({"power": 3.0}, "unknown power 3.0"),
        ({"n_fft": 128}, "n_mels=80 is more than n_fft=128 resolves"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(changed, rule):
    with pytest.raises(ValueError, match=rule):
        signal.mel_spectrogram(jnp.zeros(2000), **MEL | changed)


@pytest.mark.parametrize(("n_mfcc", "lifter"), [(0, 0.0), (81, 0.0), (20, -1.0), (20, np.nan)])
@pytest.mark.usefixtures("unchecked_types")
def test_bad_cepstra_are_refused(n_mfcc, lifter):
    with pytest.raises(ValueError, match="n_mfcc must be|lifter must be"):
        signal.mel_cepstrum(jnp.zeros((2, 80)), n_mfcc=n_mfcc, lifter=lifter)
