"""Directories of finished runs for tests of the report, made without training."""

import json

import numpy as np
import soundfile

from aejax import config as config_module
from aejax.reporting import sound
from aejax.runtime import arrays

RATE = 16_000
UNITS = {"feature_rmse": "dB", "audio_log_mel_rmse_db": "dB"}


def row(name, rate, error, *, bits=None, gain=None, interval=None):
    return {
        "name": name,
        "latent_floats_per_second": rate,
        "feature_rmse": error,
        "audio_log_mel_rmse_db": error + 1.0,
        "si_sdr_db": None,
        "explained_variance": 0.5,
        "bits_per_second": bits,
        "gain_over_pca_db": gain,
        "interval_95": interval,
    }


def make_run(
    path,
    changes=None,
    *,
    clips=("one.wav", "two.wav"),
    labels=None,
    rows=None,
    seconds=0.3,
    map_clips=None,
    kinds=2,
    command="python -m aejax.main --config=experiments/mel_conv.py",
):
    """Writes a finished run into ``path``, whose config differs from the default by ``changes``."""
    config = config_module.default()
    config.update_from_flattened_dict({"name": "model", **(changes or {})})
    rng = np.random.default_rng(config.model.latent_dim + 1000 * config.seed)
    path.mkdir(parents=True)
    (path / "config.json").write_text(config_module.to_json(config))
    rate = 7.8125 * config.model.latent_dim
    error = 20.0 / (1 + config.model.latent_dim) ** 0.5 + 0.1 * config.seed
    ceiling = "noisy" if config.task == "denoise" else "representation only"
    own = [
        row(ceiling, None, 0.0),
        row("pca", rate, error + 0.5, gain=0.0),
        row("pca_context", rate, error + 0.4, gain=0.1),
        row(config.name, rate, error, gain=0.5),
    ]
    results = {"rows": own + (rows or []), "units": UNITS, "probes": None, "command": command}
    results["by_label"] = {
        "folder": {
            "a": {
                "clips": 2,
                "feature_rmse": {"pca": 3.0, config.name: 2.0},
                "gain_over_pca_db": {"pca": 0.0, config.name: 3.5},
            }
        }
    }
    results |= {"device": "1 x cpu", "versions": {"jax": "0.10.2"}, "seed": config.seed}
    corpus = {"title": config.data.path or "built-in", "clips": 20, "seconds": 40.0, "splits": {}}
    (path / "corpus.json").write_text(json.dumps(corpus))
    lines = [{"step": s, "loss/total": 1 / (s + 1), "learning_rate": 1e-3} for s in range(0, 50, 5)]
    lines += [
        {"step": s, "validation/feature_rmse": 5 - s / 50, "validation/pca_feature_rmse": 5.0}
        for s in (0, 25, 50)
    ]
    lines += [{"step": s, "time/data_wait_fraction": 0.1} for s in (25, 50)]
    write_lines(path / "metrics.jsonl", lines)
    labels = labels or {"folder": "a", "pitch": 220.5}
    write_lines(
        path / "clips.jsonl",
        [
            {"name": name, "seconds": 1.0, "labels": labels}
            | {"feature_rmse": {"pca": 3.0 + place, config.name: 2.0}}
            for place, name in enumerate(clips)
        ],
    )
    versions = ["original", ceiling, "pca", config.name]
    mapped = map_clips or max(8, kinds)
    write_extras(path, versions, clips, labels, rng, seconds, mapped, kinds)
    (path / "results.json").write_text(json.dumps(results))
    return path


def add_intervals(path, clips=40):
    """Gives every row of a finished run the intervals of a test split of so many clips."""
    results = json.loads((path / "results.json").read_text())
    for row in results["rows"]:
        keys = ("feature_rmse", "audio_log_mel_rmse_db", "gain_over_pca_db")
        known = {key: row[key] for key in keys if row.get(key)}
        row["interval_95"] = {key: [x - 0.12, x + 0.14] for key, x in known.items()}
    for part in results["by_label"]["folder"].values():
        gains = part["gain_over_pca_db"]
        part["gain_interval_95"] = {
            name: [x - 0.5, x + 0.6] if x else None for name, x in gains.items()
        }
    (path / "results.json").write_text(json.dumps(results | {"test_clips": clips}))
    return path


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_extras(path, versions, clips, labels, rng, seconds, mapped, kinds):
    shared = np.random.default_rng(1)
    samples = int(seconds * RATE)
    audio = path / "audio"
    audio.mkdir()
    listed = []
    for place, clip in enumerate(clips):
        files = [f"{place}_{number}.wav" for number in range(4)]
        for number, file in enumerate(files):
            noise = (shared if number < 2 else rng).standard_normal(samples)
            soundfile.write(audio / file, 0.05 * (1 + number) * noise, RATE, subtype="PCM_16")
        listed.append({"name": clip, "labels": labels, "files": files})
    frames = max(2, int(seconds * 62.5))
    pieces = [
        sound.encode(0.1 * shared.standard_normal(RATE * 3 // 2 if mapped > 100 else 4000), RATE)
        for _ in range(mapped)
    ]
    packed = arrays.pack_bytes(pieces)
    levels = rng.integers(0, 256, (len(clips), 4, frames, 80)).astype(np.uint8)
    about = {
        "sample_rate": RATE,
        "frame_rate": 62.5,
        "floor_db": -60.0,
        "versions": versions,
        "clips": listed,
        "map_clips": [
            {
                "name": f"{i}.wav",
                "labels": labels | {"kind": "abcdefghij"[i % kinds], "level": i / 7},
            }
            for i in range(mapped)
        ],
    }
    found = {
        "spectrograms": levels,
        "top_db": np.full(len(clips), -3.0, np.float32),
        "frames": np.full(len(clips), frames),
        "latent_means": rng.standard_normal((mapped, 6)).astype(np.float32),
        "latent_variance": np.linspace(0.5, 0.01, 6).astype(np.float32),
        "pca_variance": np.linspace(0.5, 0.01, 6).astype(np.float32),
        "snippets.block": packed["block"],
        "snippets.ends": packed["ends"],
    }
    arrays.save(path / "report.npz", about, found)
