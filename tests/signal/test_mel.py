import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from aejax import signal

RNG = np.random.default_rng(0)


def test_mel_scale_agrees_with_librosa():
    hz = np.geomspace(1, 20_000, 200)
    np.testing.assert_allclose(signal.hz_to_mel(hz), librosa.hz_to_mel(hz), rtol=1e-12)
    np.testing.assert_allclose(signal.mel_to_hz(signal.hz_to_mel(hz)), hz, rtol=1e-12)


@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "fmin", "fmax"),
    [(16000, 1024, 80, 0, None), (8000, 512, 64, 0, None), (44100, 2048, 128, 30, 16000)]
    + [(22050, 1023, 40, 20.5, 11025)],
)
def test_filterbank_agrees_with_librosa(sample_rate, n_fft, n_mels, fmin, fmax):
    ours = signal.mel_filterbank(
        sample_rate=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
    )
    theirs = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    np.testing.assert_allclose(ours.T, theirs, atol=1e-7)


def test_no_empty_filter_passes_and_the_message_names_a_way_out():
    with pytest.raises(ValueError, match="use n_fft=256") as caught:
        signal.mel_filterbank(sample_rate=16000, n_fft=128, n_mels=80)
    assert "n_mels=80" in str(caught.value)
    signal.mel_filterbank(sample_rate=16000, n_fft=256, n_mels=80)


def test_fmax_above_nyquist_is_refused():
    with pytest.raises(ValueError, match="4000 Hz"):
        signal.mel_filterbank(sample_rate=8000, n_fft=512, n_mels=20, fmax=4001)


def test_mel_spectrogram_agrees_with_librosa():
    x = RNG.standard_normal(8000).astype(np.float32)
    ours = signal.mel_spectrogram(
        jnp.asarray(x), sample_rate=16000, n_fft=1024, hop_length=256, n_mels=80
    )
    theirs = librosa.feature.melspectrogram(
        y=x, sr=16000, n_fft=1024, hop_length=256, n_mels=80, pad_mode="reflect"
    )
    error = np.linalg.norm(ours - theirs.T) / np.linalg.norm(theirs)
    assert error < 2e-6
    db = signal.power_to_db(ours)
    np.testing.assert_allclose(db, librosa.power_to_db(theirs.T, top_db=None), atol=1e-4)


def test_silence_is_at_the_floor_exactly():
    assert float(signal.power_to_db(jnp.zeros(()), floor=1e-6)) == pytest.approx(-60, abs=1e-5)
    with pytest.raises(ValueError, match="above 0"):
        signal.power_to_db(jnp.zeros(()), floor=0.0)
    np.testing.assert_allclose(signal.db_to_power(jnp.float32(-20)), 0.01, rtol=1e-6)
    np.testing.assert_allclose(signal.db_to_amplitude(jnp.float32(-20)), 0.1, rtol=1e-6)


def test_mel_to_linear_reproduces_the_mel_spectrum():
    filters = signal.mel_filterbank(sample_rate=16000, n_fft=1024, n_mels=80)
    power = np.exp(RNG.uniform(-12, 2, (3, 513))).astype(np.float32)
    mel = jnp.asarray(power) @ filters
    linear = signal.mel_to_linear(mel, filters)
    assert float(linear.min()) >= 0
    error_db = 10 * np.log10((linear @ filters) / mel)
    assert np.sqrt(np.mean(np.square(error_db))) < 0.2
    assert not signal.mel_to_linear(jnp.zeros((2, 80)), filters).any()
