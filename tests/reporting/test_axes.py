"""Where the tick labels of spectrograms are."""

import numpy as np
import pytest

from aejax import signal
from aejax.reporting import axes


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_frequencies_are_where_the_bands_of_the_reference_mel_are(rate):
    unit, ticks = axes.frequency_axis(rate, 80)
    assert unit == "Hz"
    assert len(ticks) >= 3
    bands = signal.mel_filterbank(sample_rate=rate, n_fft=8192, n_mels=80)
    bins = np.linspace(0, rate / 2, 4097)
    peaks = bins[np.argmax(bands.T if len(bands) == 4097 else bands, axis=1)]
    for label, place in ticks:
        hz = float(label.replace("k", "000"))
        band = np.interp(hz, peaks, np.arange(80))
        assert place == pytest.approx((band + 0.5) / 80, abs=0.01)


def test_stereo_has_an_axis_for_each_channel():
    _, ticks = axes.frequency_axis(16_000, 160)
    labels = [label for label, _ in ticks]
    assert labels == ["1k", "4k", "1k", "4k"]
    assert ticks[2][1] == pytest.approx(ticks[0][1] + 0.5)
    assert axes.channel_names(160) == ["left", "right"]
    assert axes.channel_names(80) == []


def test_other_spectrograms_have_numbers_of_bands():
    assert axes.frequency_axis(16_000, 40) == (
        "band",
        [("10", 10.5 / 40), ("20", 20.5 / 40), ("30", 30.5 / 40)],
    )


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0, 1.5, 3.7, 9.99, 61.0])
def test_times_have_round_labels_and_room(seconds):
    ticks = axes.time_axis(seconds)
    assert 2 <= len(ticks) <= 4
    for label, place in ticks:
        assert float(label) == pytest.approx(place * seconds)
        assert place <= 0.75
        assert len(label) <= 4
    assert axes.time_axis(0.0) == []
