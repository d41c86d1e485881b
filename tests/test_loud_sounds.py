"""No sound comes back much louder than it was, whatever the model has learnt."""

import runpy

import pytest
from conftest import REPOSITORY, shrink
from loud_sounds import MOST, peaks
from trained_runs import model_of_config

EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*.py"))
ALWAYS = ("mel_conv", "mel_fsq", "wave_conv")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in ALWAYS else pytest.mark.slow, id=path.stem)
        for path in EXPERIMENTS
    ],
)
def test_hard_onsets_through_every_experiment_with_random_weights(path):
    config = shrink(runpy.run_path(str(path))["get_config"]())
    config.model.update(speaker_label="", adversary=0.0)
    ratios = peaks(model_of_config(config))
    assert max(ratios.values()) <= MOST, ratios
