"""What training holds in memory, and what makes an update of several batches."""

import types

import jax
import numpy as np
import pytest
from conftest import shrink

from aejax import config as config_module
from aejax import experiment, results
from aejax.models import autoencoder
from aejax.training import checkpoint, compile, loop, recorder, start


def small(encoder):
    config = config_module.default()
    config.model.encoder = encoder
    return shrink(config)


def live_bytes():
    return sum(x.nbytes for x in jax.live_arrays())


def test_training_holds_one_snapshot(tmp_path, monkeypatch):
    """The state, and the best variables; nothing of what it began with. What Orbax holds while it
    writes is its own affair."""
    config = small("mlp")
    config.model.mlp.width = 512
    config.train.ema_decay = 0.9
    sizes, held, begin = [], [], []
    compile_step, validate = loop.compile_step, recorder.validation.validate

    def compiled(prepared, snapshot):
        begin.append(live_bytes())
        sizes.append(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(snapshot)))
        return compile_step(prepared, snapshot)

    def validated(*args):
        found = validate(*args)
        held.append(live_bytes())
        return found

    monkeypatch.setattr(checkpoint.Checkpoints, "save", lambda *_: None)
    monkeypatch.setattr(loop, "compile_step", compiled)
    monkeypatch.setattr(recorder.validation, "validate", validated)
    nothing = results.Results(tmp_path, [])
    monkeypatch.setattr(experiment, "evaluate", lambda *_: nothing)
    monkeypatch.setattr(experiment, "write_report", lambda *_: None)
    monkeypatch.setattr(experiment, "print_results", lambda *_: nothing)
    experiment.run(config, tmp_path / "run")
    assert len(held) == 6  # three validations of the parameters and of their average
    (size,) = sizes
    assert size > 10e6
    apiece = [(now - begin[0]) / size for now in held]
    assert max(apiece) < 1.05


@pytest.mark.parametrize("bottleneck", ["none", "rvq"])
def test_shapes_are_those_of_the_first_snapshot(bottleneck, tmp_path, monkeypatch):
    """Which has codebooks by k-means and begins at PCA."""
    config = small("mlp")
    config.model.bottleneck = bottleneck
    config.model.mlp.width = 4
    if bottleneck == "rvq":
        config.model.rvq.update(codebook_size=4, num_quantizers=2)
    config.train.update(ema_decay=0.9, grad_accum_steps=2)

    class Enough(Exception):
        pass

    def put(tree):
        placed.append(tree)
        return tree

    def stop(prepared, fit):
        monkeypatch.setattr(prepared.devices, "put_state", put)
        first, shapes = first_snapshot(prepared, fit), start.snapshot_shapes(prepared)
        assert jax.tree.structure(shapes) == jax.tree.structure(first)
        for ours, real in zip(jax.tree.leaves(shapes), jax.tree.leaves(first), strict=True):
            assert (ours.shape, ours.dtype) == (real.shape, real.dtype)
        raise Enough

    first_snapshot, placed = loop.first_snapshot, []
    monkeypatch.setattr(loop, "first_snapshot", stop)
    monkeypatch.setattr(loop, "compile_step", lambda *_: None)
    with pytest.raises(Enough):
        experiment.run(config, tmp_path / "run")
    # What is whole on a device before it is sharded: no optimizer state, averages or best.
    (variables,) = placed
    assert isinstance(variables, dict)
    assert variables["params"]


@pytest.mark.usefixtures("unchecked_types")
def test_codebooks_move_by_updates_and_not_by_batches(small_config, monkeypatch):
    """As far in three batches that make an update as in one that is one."""
    small_config.model.update(encoder="linear", bottleneck="rvq", latent_dim=2, downsampling=2)
    small_config.model.rvq.update(
        codebook_size=2, num_quantizers=1, decay=0.9, dead_code_threshold=0.0
    )
    model = autoencoder.from_config(small_config.model, 4)
    variables = autoencoder.init(model, jax.random.key(0), 2)
    features = jax.random.normal(jax.random.key(1), (2, 8, 4))

    def by_batch(accumulate):
        """The model of which the step is made."""
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(compile, "make_train_step", lambda *given, **_: found.append(given[1]))
            config = small_config.copy_and_resolve_references()
            config.train.grad_accum_steps = accumulate
            compile.step_of(
                types.SimpleNamespace(
                    config=config,
                    model=model,
                    representation=None,
                    objective=None,
                    excerpt=0,
                    downsampling=2,
                    augmentation=None,
                )
            )
        return found[0]

    def share_after(batches, accumulate):
        collections = dict(variables)
        for _ in range(batches):
            output = autoencoder.forward(
                by_batch(accumulate),
                collections,
                features,
                None,
                train=True,
                key=jax.random.key(0),
            )
            collections["codebooks"] = output.codebooks
        return np.asarray(output.codebooks["bottleneck"]["ema_usage"])

    np.testing.assert_allclose(share_after(3, 3), share_after(1, 1), rtol=1e-4)
    assert not np.allclose(share_after(3, 1), share_after(1, 1), rtol=1e-2)
