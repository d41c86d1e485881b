"""The train step as it is compiled for a TPU, without one."""

import runpy

import jax
import pytest
from conftest import REPOSITORY, shrink

from aejax.prepare import prepare
from aejax.training.compile import step_of
from aejax.training.start import snapshot_shapes
from aejax.workdir import Workdir


@pytest.mark.parametrize("name", ["mel_conv", "mel_rvq"])
def test_a_step_for_a_tpu_has_no_gather_and_no_scatter(name, tmp_path):
    path = REPOSITORY / "experiments" / f"{name}.py"
    config = shrink(runpy.run_path(str(path))["get_config"]())
    experiment = prepare(config, Workdir(tmp_path / "run", config))
    batch = dict(experiment.silent_batch())
    traced = jax.jit(step_of(experiment)).trace(snapshot_shapes(experiment).state, batch)
    single = {
        platform: [
            word
            for word in ("stablehlo.gather", "stablehlo.scatter")
            if word in traced.lower(lowering_platforms=(platform,)).as_text()
        ]
        for platform in ("cpu", "tpu")
    }
    assert "stablehlo.gather" in single["cpu"]
    assert not single["tpu"]
