"""The data of a run for its report, in ``report.npz``: reading and checks."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aejax.runtime import arrays
from aejax.runtime.arrays import is_number
from aejax.runtime.errors import UserError

_MOST_MAPPED, _MOST_LATENTS = 500, 1 << 14


@dataclasses.dataclass(frozen=True)
class Extras:
    """The content of ``report.npz``, see `audio_examples` and `latent_map` in `aejax.evaluation`.

    Attributes:
      sample_rate: Hz, of the sounds.
      frame_rate: Hz, of the spectrograms.
      floor_db: level of the value 0 in spectrograms.
      versions: names of the versions: "original", and codecs.
      clips: ``{"name", "labels", "files"}`` of each clip; a file below ``audio/`` for each
        version.
      spectrograms: uint8 ``[clips, versions, frames, bins]``, dB from ``floor_db`` to ``top_db``.
      top_db: ``[clips]``, level of the value 255.
      frames: ``[clips]``, number of valid frames.
      map_clips: ``{"name", "labels"}`` of each clip whose latents were averaged.
      latent_means: float32 ``[map clips, latent_dim]``.
      snippets: a FLAC file for each map clip.
      latent_variance, pca_variance: ``[latent_dim]``, variance explained by each latent alone.
    """

    sample_rate: int
    frame_rate: float
    floor_db: float
    versions: list[str]
    clips: list[dict[str, Any]]
    spectrograms: np.ndarray
    top_db: np.ndarray
    frames: np.ndarray
    map_clips: list[dict[str, Any]]
    latent_means: np.ndarray
    snippets: list[bytes]
    latent_variance: np.ndarray
    pca_variance: np.ndarray


_KINDS: dict[str, Any] = {
    "sample_rate": int,
    "frame_rate": (int, float),
    "floor_db": (int, float),
    "versions": list,
    "clips": list,
    "map_clips": list,
}


def read_extras(path: Path) -> Extras:
    """Reads and checks ``report.npz``.

    Raises:
      UserError: the file is damaged.
    """
    about, loaded = arrays.load(path)
    try:
        for key, kind in _KINDS.items():
            if not isinstance(about[key], kind) or isinstance(about[key], bool):
                raise ValueError(f"its {key} is not valid")
        extras = Extras(
            sample_rate=about["sample_rate"],
            frame_rate=float(about["frame_rate"]),
            floor_db=float(about["floor_db"]),
            versions=[str(name) for name in about["versions"]],
            clips=about["clips"],
            spectrograms=loaded["spectrograms"],
            top_db=loaded["top_db"],
            frames=loaded["frames"],
            map_clips=about["map_clips"],
            latent_means=loaded["latent_means"],
            latent_variance=loaded["latent_variance"],
            pca_variance=loaded["pca_variance"],
            snippets=arrays.unpack_bytes(loaded["snippets.block"], loaded["snippets.ends"]),
        )
        _check_extras(extras)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to do without") from None
    return extras


def _check_extras(extras: Extras) -> None:
    clips, versions, mapped = len(extras.clips), len(extras.versions), len(extras.map_clips)
    checks: dict[str, Callable[[], bool]] = {
        "clips": lambda: all(map(is_clip, [*extras.clips, *extras.map_clips])),
        "files": lambda: all(
            isinstance(clip["files"], list)
            and len(clip["files"]) == versions
            and all(isinstance(name, str) and is_plain(name) for name in clip["files"])
            for clip in extras.clips
        ),
        "rates": lambda: (
            1 <= extras.sample_rate <= 1_000_000
            and 0.01 <= extras.frame_rate <= 1e6
            and abs(extras.floor_db) < 1e4
        ),
        "spectrograms": lambda: (
            extras.spectrograms.dtype == np.uint8
            and extras.spectrograms.ndim == 4
            and extras.spectrograms.shape[:2] == (clips, versions)
            and 1 <= extras.spectrograms.shape[2] <= 100_000
            and 1 <= extras.spectrograms.shape[3] <= 4096
        ),
        "frames": lambda: (
            extras.frames.shape == (clips,)
            and extras.frames.dtype.kind in "iu"
            and bool((extras.frames >= 1).all())
            and bool((extras.frames <= extras.spectrograms.shape[2]).all())
        ),
        "top_db": lambda: extras.top_db.shape == (clips,) and _all_finite(extras.top_db),
        "latent_means": lambda: (
            extras.latent_means.ndim == 2
            and len(extras.latent_means) == mapped <= _MOST_MAPPED
            and 1 <= extras.latent_means.shape[1] <= _MOST_LATENTS
            and _all_finite(extras.latent_means)
        ),
        "snippets": lambda: (
            len(extras.snippets) == mapped
            and all(piece.startswith(b"fLaC") for piece in extras.snippets)
        ),
        "variance": lambda: all(
            x.ndim == 1 and _all_finite(x) for x in (extras.latent_variance, extras.pca_variance)
        ),
    }
    for name, check in checks.items():
        if not check():
            raise ValueError(f"its {name} are not valid")


def is_clip(clip: Any) -> bool:
    """Whether this is a dictionary with a clip's name and labels."""
    return isinstance(clip, dict) and isinstance(clip["name"], str) and is_labels(clip["labels"])


def is_labels(labels: Any) -> bool:
    """Whether this maps names to text or numbers."""
    return isinstance(labels, dict) and all(
        isinstance(value, str) or is_number(value) for value in labels.values()
    )


def is_plain(name: str) -> bool:
    """Whether this is a plain file name, not a path."""
    return bool(re.fullmatch(r"[A-Za-z0-9_.\-]{1,200}", name)) and name not in (".", "..")


def _all_finite(x: np.ndarray) -> bool:
    return x.dtype.kind == "f" and bool(np.isfinite(x).all())
