"""Tick labels of spectrograms."""

import math

_BANDS = 80  # of the reference mel, from 0 Hz to half the sample rate
_MEL_AT_1K, _LOG_STEP = 15.0, math.log(6.4) / 27  # Slaney's scale: linear to 1 kHz, then log
_HZ = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)
_CHANNELS = ("left", "right")
_ROOM = 0.11  # least distance of two labels, as a fraction of the height
_MARGIN = 0.04  # least distance of a label from the picture's edges

Ticks = list[tuple[str, float]]


def frequency_axis(sample_rate: int, bins: int) -> tuple[str, Ticks]:
    """Unit and tick labels of the frequency axis, with positions from 0 (bottom) to 1.

    Args:
      sample_rate: Hz.
      bins: of the spectrogram: 80 for each channel of the reference mel. Of any other number the
        labels are those of bands, counted from 0.
    """
    channels = bins // _BANDS
    if bins % _BANDS or channels > len(_CHANNELS):
        step = max(1, round(bins / 4))
        bands = range(0, bins, step)
        return "band", _spread([(str(band), (band + 0.5) / bins) for band in bands])
    top = _mel(sample_rate / 2)
    ticks = []
    for channel in range(channels):
        for hz in _HZ if channels == 1 else _HZ[1::2]:
            # The centre of band k is at mel (k + 1) / (bands + 1) of the highest.
            position = (_mel(hz) / top * (_BANDS + 1) - 0.5) / _BANDS
            if hz < sample_rate / 2 and 0 < position < 1:
                label = f"{hz // 1000}k" if hz >= 1000 else str(hz)
                ticks.append((label, (channel + position) / channels))
    return "Hz", _spread(ticks)


def channel_names(bins: int) -> list[str]:
    """Names of the channels in a spectrogram of the reference mel, from below; of one, none."""
    return list(_CHANNELS) if bins == _BANDS * len(_CHANNELS) else []


def time_axis(seconds: float) -> Ticks:
    """Tick labels of the time axis, in seconds, with positions from 0 (left) to 0.75; the end has
    a label of its own."""
    if seconds <= 0:
        return []
    size = 10 ** math.floor(math.log10(seconds))
    step = next(x * size for x in (0.2, 0.5, 1, 2, 5) if seconds / (x * size) <= 4)
    count = int(0.75 * seconds / step)
    return [(f"{number * step:g}", number * step / seconds) for number in range(count + 1)]


def _mel(hz: float) -> float:
    """Slaney's mel scale, as `aejax.signal.hz_to_mel`."""
    if hz < 1000:
        return hz / 1000 * _MEL_AT_1K
    return _MEL_AT_1K + math.log(hz / 1000) / _LOG_STEP


def _spread(ticks: Ticks) -> Ticks:
    """Those ticks that are far enough from the edges and from the one before."""
    chosen: Ticks = []
    for label, position in ticks:
        if _MARGIN <= position <= 1 - _MARGIN and (not chosen or position - chosen[-1][1] >= _ROOM):
            chosen.append((label, position))
    return chosen
