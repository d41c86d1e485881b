"""Config keys of the corpus."""

import dataclasses

from ml_collections import ConfigDict

from aejax import parts
from aejax.parts import above, anything, at_least, between, key, one_of, rule
from aejax.runtime.errors import UserError

PATTERNS = rule(
    lambda value: len(value) > 0 and all(isinstance(pattern, str) for pattern in value),
    "one or more glob patterns",
)


@dataclasses.dataclass
class Data:
    """Keys of the corpus."""

    path: str = key("", anything, "folder of audio, or its pack; '' is the built-in corpus")
    include: tuple = key(("*",), PATTERNS, "glob patterns; files whose path matches one are used")
    labels: str = key("", anything, "table of labels; '' is labels.csv, .tsv or .parquet in path")
    sample_rate: int = key(16_000, between(1000, 1_000_000), "Hz; everything is resampled to it")
    channels: str = key(
        "mono",
        one_of("mono", "first", "stereo", "each"),
        "mono: mean of all; first: the first; stereo: the first two; each: one clip per channel",
    )
    split_by: str = key(
        "file", one_of("file", "folder"), "unit of the split; folder: a top-level folder"
    )
    seed: int = key(0, between(0, 2**32), "of order, excerpts and the built-in corpus")
    split_seed: int = key(0, between(0, 2**32), "of the split into train, validation and test")
    validation_fraction: float = key(0.1, between(0.001, 0.9), "of files or folders")
    test_fraction: float = key(0.1, between(0.001, 0.9), "of files or folders")
    excerpt_seconds: float = key(2.0, above(0, 3600), "s; duration of a training excerpt")
    weighting: str = key(
        "duration", one_of("duration", "equal"), "duration: long clips are drawn more often"
    )
    silence_db: float = key(
        -60.0, between(-200, 1), "dB re full scale; softer excerpts are drawn again"
    )
    silence_redraws: int = key(0, between(0, 1000), "maximum redraws per excerpt")
    workers: int = key(4, between(0, 257), "threads or processes that prefetch audio; 0 for none")
    worker_kind: str = key("thread", one_of("thread", "process"), "the batches are the same")
    cache_megabytes: int = key(
        256, at_least(0, 10**7), "MB of decoded audio that each process caches"
    )

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Checks that keys about a folder have one, and that splits and excerpts are possible."""
        data = config.data
        if not data.path and tuple(data.include) != ("*",):
            raise UserError(f"config.data.include={tuple(data.include)} needs a data.path")
        if not data.path and data.labels:
            raise UserError(f"config.data.labels={data.labels!r} needs a data.path")
        held_out = data.validation_fraction + data.test_fraction
        if held_out >= 1:
            raise UserError(
                f"config.data.validation_fraction + data.test_fraction = {held_out:g} leaves"
                " nothing to train on"
            )
        parts.at_most(
            data.excerpt_seconds * data.sample_rate,
            2**28,
            f"data.excerpt_seconds x data.sample_rate ({data.excerpt_seconds:g} s at"
            f" {data.sample_rate} Hz)",
        )


@dataclasses.dataclass
class Synthetic:
    """Keys of the built-in corpus."""

    clips: int = key(1000, at_least(3, 10**7), "number of clips")
    seconds: float = key(2.0, between(0.1, 60), "s; duration of each clip")
