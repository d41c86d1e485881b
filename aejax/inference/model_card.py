"""The README of an exported model: a model card with the metadata that model hubs read."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import yaml

from aejax.inference.model import TrainedModel
from aejax.reporting import markup, run_files
from aejax.reporting.table import COLUMNS
from aejax.runtime import files, words
from aejax.runtime.errors import UserError, printable

UNKNOWN = "unknown"  # as hubs write it
_MOST_BYTES = 64 << 20
_CARD = """\
---
{metadata}---

# {name}

An audio autoencoder of {parameters:,} parameters: {summary}. It was trained by aejax {version}, and
works without it. Licence of the weights: {license}.

## How to use

```python
import jax, jax.export, numpy as np
from safetensors.numpy import load_file

weights = load_file("weights.safetensors")
encoder = jax.export.deserialize(bytearray(open("encoder.stablehlo", "rb").read()))
decoder = jax.export.deserialize(bytearray(open("decoder.stablehlo", "rb").read()))
samples = audio.shape[1]                 # of float32 [batch, samples], any number
blocks = max({least}, -(-samples // {block}))
padded = np.pad(audio, [(0, 0), (0, {block} * blocks - samples){channels}])
latents = encoder.call(weights, padded)  # [batch, {block} t] to [batch, t + {extra}, {dim}]
back = decoder.call(weights, latents)    # [batch, t, {dim}] to [batch, {block} t]
back = back[:, :samples]
```

The encoder takes whole blocks of {block} samples, {least} or more: pad the last one with silence
and trim the output, as above. Audio is at {rate} Hz with full scale at 1; for a stereo model it has
a last axis of two channels. Any batch size works, on {platforms}. Required packages: jax,
safetensors and flatbuffers. config.json is the config of the run.

## Training data

{data}

## Results

{results}
"""


def model_card(model: TrainedModel, run: Path, license_name: str, facts: Mapping[str, Any]) -> str:
    """The text of ``README.md``: metadata in YAML, use, training data and results.

    Args:
      model: the trained model.
      run: directory of its run.
      license_name: licence of the weights, as hubs write it.
      facts: of the exported functions: what is left to fill in in the code above.

    Raises:
      UserError: a file of the run is damaged.
    """
    results = run_files.read_results(run) if (run / "results.json").exists() else None
    return _CARD.format(
        metadata=_metadata(model, results, license_name),
        name=markup.escaped(model.config.name),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"])),
        summary=model.summary,
        version=version("aejax"),
        license=license_name,
        data=_data(model, run),
        results=_results(model, results),
        **facts,
    )


def _metadata(model: TrainedModel, results: Mapping[str, Any] | None, license_name: str) -> str:
    """The YAML that hubs read."""
    config = model.config
    parts = [config.representation.name, config.model.encoder, config.model.decoder]
    tags = ["audio", "autoencoder", "jax", "stablehlo", *parts, config.model.bottleneck]
    metadata: dict[str, Any] = {
        "license": license_name,
        "library_name": "aejax",
        "pipeline_tag": "audio-to-audio",
        "tags": list(dict.fromkeys(tag for tag in tags if tag not in ("", "none"))),
    }
    row = _own_row(model, results)
    measured = [(f"{above} {below}", key) for above, below, key, _ in COLUMNS if _has(row, key)]
    if results is not None and measured:
        unit = results["units"]["feature_rmse"]
        metadata["metrics"] = [key for _, key in measured]
        metrics = [
            {"type": key, "name": title.format(unit=f" ({unit})").strip(), "value": row[key]}
            | ({"interval_95": row["interval_95"][key]} if key in _intervals(row) else {})
            for title, key in measured
        ]
        data = {"name": _title(model), "type": "audiofolder", "split": "test"}
        task = {"type": "audio-to-audio", "name": config.task}
        result = {"task": task, "dataset": data, "metrics": metrics}
        metadata["model-index"] = [{"name": config.name, "results": [result]}]
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)


def _own_row(model: TrainedModel, results: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row of the model itself, or an empty one."""
    rows = [] if results is None else results["rows"]
    return next((row for row in rows if row["name"] == model.config.name), {})


def _has(row: Mapping[str, Any], key: str) -> bool:
    return row.get(key) is not None


def _intervals(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row.get("interval_95") or {}


def _title(model: TrainedModel) -> str:
    """The name of the corpus; of a folder, the last part of its path, which is not private."""
    path = model.config.data.path
    return printable(Path(path).name) if path else "built-in corpus of aejax"


def _data(model: TrainedModel, run: Path) -> str:
    """The corpus and its splits, in a paragraph."""
    title, file = markup.escaped(_title(model)), run / "corpus.json"
    if not file.exists():
        return f"{title}."
    try:
        splits = files.read_object(file, _MOST_BYTES)["splits"]
        counts = {name: (split["clips"], split["seconds"] / 60) for name, split in splits.items()}
        lines = [
            f"| {markup.escaped(name)} | {count:,} | {minutes:,.1f} |"
            for name, (count, minutes) in counts.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{file} is damaged (no splits)") from None
    table = "\n".join(["| split | clips | minutes |", "|---|---:|---:|", *lines])
    return f"{title}, read at {model.sample_rate} Hz:\n\n{table}"


def _results(model: TrainedModel, results: Mapping[str, Any] | None) -> str:
    """The table of results and how to read it."""
    if results is None:
        return "None: the run was not evaluated."
    rows = results["rows"]
    count = results.get("test_clips")
    clips = words.count(count, "test clip") if isinstance(count, int) else "test clips"
    lines = [
        f"On {clips} that the model was not trained on:",
        markup.as_markdown(rows, results["units"]["feature_rmse"]),
        "`pca` is principal component analysis with the same number of latent floats per second.",
    ]
    if any(_intervals(row) for row in rows):
        lines.append("In brackets: 95 % intervals, by bootstrap over the test clips.")
    return "\n\n".join(lines)
