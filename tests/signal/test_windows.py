import numpy as np
import pytest
import scipy.signal

from aejax import signal

NAMES = ["hann", "hamming", "blackman", "rectangular", ("kaiser", 8.6), ("gaussian", 4.5)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 2, 3, 10, 257, 1024])
@pytest.mark.parametrize("periodic", [True, False])
def test_windows_are_scipys(name, length, periodic):
    theirs = "boxcar" if name == "rectangular" else name
    expected = scipy.signal.get_window(theirs, length, fftbins=periodic)
    np.testing.assert_allclose(signal.window(name, length, periodic=periodic), expected, atol=1e-14)


@pytest.mark.parametrize("length", [2, 4, 64, 2048])
def test_windows_of_the_mdct_are_scipys_and_keep_energy(length):
    kbd = signal.window(("kbd", 12.5), length)
    expected = scipy.signal.windows.kaiser_bessel_derived(length, 12.5)
    np.testing.assert_allclose(kbd, expected, atol=1e-14)
    sine = signal.window("sine", length)
    np.testing.assert_allclose(sine, scipy.signal.windows.cosine(length), atol=1e-14)
    for window in (kbd, sine):
        rising, falling = np.split(window**2, 2)
        np.testing.assert_allclose(rising + falling, 1, atol=1e-14)


def test_window_is_centred():
    padded = signal.window("hann", 10, n_fft=17)
    np.testing.assert_array_equal(padded[3:13], signal.window("hann", 10))
    assert not padded[:3].any()
    assert not padded[13:].any()


@pytest.mark.parametrize(
    ("name", "length", "rule"),
    [
        ("han", 4, "unknown window 'han'; known: 'hann'"),
        ("kaiser", 4, "known: .*kaiser.*, parameter"),
        (("hann", 3.0), 4, "unknown window"),
        (("kaiser", -1.0), 4, "above 0 and finite"),
        (("gaussian", float("nan")), 4, "above 0 and finite"),
        (("kbd", 4.0), 5, "win_length must be even"),
        ("hann", 0, "win_length must be a whole number, 1 to 16; got 0"),
        ("hann", 17, "1 to 16; got 17"),
        ("hann", 4.5, "whole number"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_windows_are_refused(name, length, rule):
    with pytest.raises(ValueError, match=rule):
        signal.window(name, length, n_fft=16)
