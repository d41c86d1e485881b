"""A search in a process of its own, with a training that takes no time; for the tests of search."""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from aejax import config as config_module
from aejax.runtime.errors import UserError, exit_code
from aejax.sweeps import search

SPACE = "model.latent_dim=4..64:log train.learning_rate=1e-4..1e-2:log"


def pretend(config, folder):
    """What a run leaves: better with more latents, best at a learning rate of 1e-3."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "trained").open("a") as file:
        file.write(f"{os.getpid()}\n")
    latent_dim, rate = config.model.latent_dim, config.train.learning_rate
    write_results(folder, config.name, 10 / latent_dim + abs(rate - 1e-3), latent_dim * 7.8125)


def write_results(folder, name, error, floats, bits=None):
    errors = {step: error + wrong if math.isfinite(error) else None for step, wrong in STEPS}
    lines = [{"step": step, "validation/feature_rmse": x} for step, x in errors.items()]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    measured = {"feature_rmse": 1.0, "audio_log_mel_rmse_db": 1.0}
    row = measured | {"name": name, "latent_floats_per_second": floats, "bits_per_second": bits}
    pca = measured | {"name": "pca", "latent_floats_per_second": -1.0, "bits_per_second": None}
    results = {"rows": [pca, row], "units": {"feature_rmse": "dB"}}
    results["best"] = {"raw": {"step": 20}, "ema": {"step": 30}}
    (folder / "results.json").write_text(json.dumps(results))


STEPS = [(0, 3.0), (20, 0.0), (30, 1.0)]


def main(root, count, way):
    def train(config, folder):
        if way == "die" and folder.name == "trial_0002":
            folder.mkdir()
            (folder / "begun").write_text(json.dumps(config.model.latent_dim))
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "slow":
            time.sleep(0.2)
        if way == "refuse":
            raise UserError("not today")
        pretend(config, folder)

    config = config_module.default()
    space = search.parse_space(SPACE, config)
    search.run(config, int(count), space, Path(root), train, command="the command")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(*sys.argv[1:]), interrupted="it goes on"))
