"""What training holds in memory, and what makes an update of several batches."""

import jax
import numpy as np
import pytest

from aejax import experiment, fit
from aejax.models import autoencoder
from aejax.training import loop


def live_bytes():
    return sum(x.nbytes for x in jax.live_arrays())


def test_training_holds_one_snapshot(small_config, tmp_path, monkeypatch):
    """The state, and the best variables; nothing of what it began with. What Orbax holds while it
    writes is its own affair."""
    config = small_config
    config.model.update(encoder="mlp", width=512, depth=1)
    config.train.ema_decay = 0.9
    sizes, held, begin = [], [], []
    compile_step, validate = fit.compile_step, fit.validation.validate

    def compiled(prepared, model, tx, snapshot, *rest):
        begin.append(live_bytes())
        sizes.append(fit._snapshot_bytes(snapshot))
        return compile_step(prepared, model, tx, snapshot, *rest)

    def validated(*args):
        found = validate(*args)
        held.append(live_bytes())
        return found

    monkeypatch.setattr(fit, "_saving", lambda *_: lambda snapshot: None)
    monkeypatch.setattr(fit, "compile_step", compiled)
    monkeypatch.setattr(fit.validation, "validate", validated)
    monkeypatch.setattr(experiment, "_measure", lambda *_: [])
    monkeypatch.setattr(experiment, "_print_results", lambda *_: None)
    monkeypatch.setattr(experiment.run_files, "read_results", lambda _: {})
    experiment.run(config, tmp_path / "run")
    assert len(held) == 6  # three validations of the parameters and of their average
    (size,) = sizes
    assert size > 10e6
    apiece = [(now - begin[0]) / size for now in held]
    assert max(apiece) < 1.05


@pytest.mark.parametrize("bottleneck", ["none", "rvq"])
def test_shapes_are_those_of_the_first_snapshot(small_config, bottleneck, tmp_path, monkeypatch):
    """Which has codebooks by k-means and begins at PCA."""
    config = small_config
    config.model.update(encoder="mlp", width=4, bottleneck=bottleneck)
    if bottleneck == "rvq":
        config.model.rvq.update(codebook_size=4, num_quantizers=2)
    config.train.update(ema_decay=0.9, accumulate=2)

    class Enough(Exception):
        pass

    def stop(members, first, *args, **options):
        shapes = loop.abstract_snapshot(config, model_of(members), {"l2": 1.0})
        assert jax.tree.structure(shapes) == jax.tree.structure(first[0])
        for ours, real in zip(jax.tree.leaves(shapes), jax.tree.leaves(first[0]), strict=True):
            assert (ours.shape, ours.dtype) == (real.shape, real.dtype)
        raise Enough

    def model_of(members):
        return autoencoder.from_config(config.model, 80)

    monkeypatch.setattr(loop, "train", stop)
    with pytest.raises(Enough):
        experiment.run(config, tmp_path / "run")


def test_codebooks_move_by_updates_and_not_by_batches(small_config):
    """As far in three batches that make an update as in one that is one."""
    small_config.model.update(encoder="linear", bottleneck="rvq", latent_dim=2, downsampling=2)
    small_config.model.rvq.update(codebook_size=2, num_quantizers=1, decay=0.9, dead_share=0.0)
    model = autoencoder.from_config(small_config.model, 4)
    variables = autoencoder.init(model, jax.random.key(0), 2)
    features = jax.random.normal(jax.random.key(1), (2, 8, 4))

    def share_after(batches, accumulate):
        collections = dict(variables)
        for _ in range(batches):
            output = autoencoder.forward(
                fit._by_batch(model, accumulate),
                collections,
                features,
                None,
                train=True,
                key=jax.random.key(0),
            )
            collections["codebooks"] = output.codebooks
        return np.asarray(output.codebooks["bottleneck"]["share"])

    np.testing.assert_allclose(share_after(3, 3), share_after(1, 1), rtol=1e-4)
    assert not np.allclose(share_after(3, 1), share_after(1, 1), rtol=1e-2)
