"""One picture of a run: spectrograms side by side, and the training curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def draw_run(
    path: Path,
    *,
    spectrograms: Sequence[Mapping[str, np.ndarray]],
    titles: Sequence[str],
    frame_rate: float,
    floor_db: float,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    unit: str,
) -> None:
    """Writes a PNG: a row for each clip, a column for each version of it, the curve below.

    Args:
      path: of the PNG.
      spectrograms: for each clip, version name to log-mel power ``[frames, bins]`` in dB.
      titles: of the clips.
      frame_rate: Hz.
      floor_db: the darkest level.
      curves: (step, RMSE of features on validation) pairs by name, the model first.
      unit: of the features.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    versions = list(spectrograms[0])
    rows, columns = len(spectrograms), len(versions)
    figure = Figure(figsize=(3.2 * columns, 1.9 * rows + 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.0] * rows + [1.3])
    brightest = max(clip[version].max() for clip in spectrograms for version in versions)
    for row, clip in enumerate(spectrograms):
        for column, version in enumerate(versions):
            axes = figure.add_subplot(grid[row, column])
            features = clip[version]
            axes.imshow(
                features.T,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=floor_db,
                vmax=max(brightest, floor_db + 1),
                extent=(0, len(features) / frame_rate, 0, features.shape[1]),
            )
            if row == 0:
                axes.set_title(version, fontsize=10)
            if column == 0:
                axes.set_ylabel(f"{_short(titles[row])}\nmel band", fontsize=8)
            axes.tick_params(labelsize=7, labelleft=column == 0)
            if row == rows - 1:
                axes.set_xlabel("seconds", fontsize=8)
    figure.colorbar(figure.axes[0].images[0], ax=figure.axes, label="dB", shrink=0.6)
    curve = figure.add_subplot(grid[rows, :])
    for (name, pairs), style in zip(curves.items(), ("o-C0", "--C7"), strict=True):
        steps, values = zip(*pairs, strict=True)
        curve.plot(steps, values, style, markersize=3, label=name)
    curve.legend(fontsize=8)
    curve.set_xlabel("step", fontsize=8)
    curve.set_ylabel(
        f"validation\nRMSE of features{'' if unit == '1' else f' ({unit})'}", fontsize=8
    )
    curve.tick_params(labelsize=7)
    curve.grid(alpha=0.3)
    beside = path.with_name(path.name + ".part")
    figure.savefig(beside, format="png", dpi=110)
    beside.replace(path)


def _short(title: str, most: int = 22) -> str:
    """The end of a name, in characters that a plot can show."""
    title = ascii(title)[1:-1].replace("$", r"\$")
    return title if len(title) <= most else "…" + title[-most:]
