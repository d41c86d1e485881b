import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import config as config_module
from aejax import parts
from aejax.models import autoencoder
from aejax.models.autoencoder import standardise, unstandardise
from aejax.models.blocks import to_blocks
from aejax.models.bottlenecks.vector_quantizer import start_codebooks
from aejax.models.pca import BlockMoments
from aejax.objective import Objective
from aejax.representations import Waveform, valid_frames
from aejax.runtime.errors import UserError
from aejax.training import validation
from aejax.training.validation import (
    Validation,
    collapsed,
    count_codes,
    final_weights,
    make_eval_step,
    validate,
)

RATE, HOP, DOWNSAMPLING, SAMPLES = 8000, 4, 2, 64
WAVEFORM = Waveform(RATE, HOP)


@functools.cache
def build(**changes):
    """A linear autoencoder of samples, half as many numbers as latents."""
    config = config_module.default().model
    config.update({"encoder": "linear", "downsampling": DOWNSAMPLING, "latent_dim": 4})
    config.update_from_flattened_dict(changes)
    model = autoencoder.from_config(config, HOP)
    variables = autoencoder.init(model, jax.random.key(0), DOWNSAMPLING)
    audio = np.concatenate([batch["audio"] for batch in batches()])
    blocks = np.asarray(to_blocks(WAVEFORM.analyse(jnp.asarray(audio)), DOWNSAMPLING))
    moments = BlockMoments(DOWNSAMPLING * HOP).update(blocks.reshape(-1, DOWNSAMPLING * HOP))
    variables = autoencoder.with_statistics(variables, *moments.standardisation(DOWNSAMPLING))
    pca = moments.pca(4, DOWNSAMPLING)
    return model, autoencoder.start_at_pca(model, variables, pca)


def batches():
    """Two batches of three rows, with clips that end early and, in the last, rows of none."""
    rng = np.random.default_rng(0)
    found = []
    for number, lengths in enumerate(([64, 64, 30], [17, 0, 0])):
        audio = np.cumsum(0.1 * rng.standard_normal((3, SAMPLES)), axis=1)
        audio *= np.arange(SAMPLES) < np.asarray(lengths)[:, None]
        found.append(
            {
                "audio": audio.astype(np.float32),
                "length": np.asarray(lengths, np.int32),
                "clip": np.asarray([number] * 3, np.int32),
                "start": np.asarray([0, SAMPLES, 2 * SAMPLES], np.uint32),
            }
        )
    return found


def place(batch):
    return {name: jnp.asarray(value) for name, value in batch.items()}


def objective(weights):
    used = {name: parts.losses[name](weight=weight) for name, weight in weights.items()}
    return Objective(used, WAVEFORM, RATE)


@functools.cache
def compiled(model, **weights):
    learnt = objective(weights)
    step = make_eval_step(WAVEFORM, model, learnt, downsampling=DOWNSAMPLING, noise=None)
    return jax.jit(step)


def run(model, variables, split=None, **weights):
    weights = weights or {"l2": 1.0}
    final = final_weights(objective(weights), model)
    return validate(compiled(model, **weights), variables, split or batches(), place, final)


def all_at_once(model, variables):
    """Features, what comes back, and latents of all frames that count, in float64."""
    forward = jax.jit(
        functools.partial(autoencoder.forward, model, mask=None, train=False, key=None)
    )
    parts, constants = [], variables["constants"]
    for batch in map(place, batches()):
        features = WAVEFORM.analyse(batch["audio"])
        output = forward(variables, standardise(features, constants))
        back = unstandardise(output.features, constants)
        mask = valid_frames(WAVEFORM, batch["length"], features.shape[1], DOWNSAMPLING)
        latents = output.latents[mask[:, ::DOWNSAMPLING]]
        parts.append((features[mask], back[mask], latents))
    return [np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True)]


def test_the_mean_is_over_all_frames_and_not_over_batches():
    model, variables = build(bottleneck="none")
    features, output, latents = all_at_once(model, variables)
    assert len(features) == 16 + 16 + 8 + 6
    found = run(model, variables, l1=0.5, l2=2.0)
    scale = float(variables["constants"]["scale"])
    l1, l2 = np.abs(output - features).mean() / scale, np.square(output - features).mean()
    assert found.terms == pytest.approx({"l1": l1, "l2": l2 / scale**2}, rel=1e-4)
    assert found.loss == pytest.approx(0.5 * l1 + 2 * l2 / scale**2, rel=1e-4)
    assert found.feature_rmse == pytest.approx(np.sqrt(l2), rel=1e-4)
    np.testing.assert_allclose(found.variances, latents.var(axis=0), rtol=1e-3)
    assert found.code_counts is None


WAYS = {
    "none": {"bottleneck": "none"},
    "noise": {"bottleneck": "noise", "noise.level": 0.5, "noise.bound": 50.0},
    "vae": {"bottleneck": "vae", "vae.free_bits": 0.5, "vae.kl_weight": 0.1},
    "ordered": {"bottleneck": "ordered"},
}


@pytest.mark.parametrize("bottleneck", WAYS)
def test_the_split_may_be_cut_into_batches_in_any_way(bottleneck):
    """Also where latents are random: those of a window are its own."""
    model, variables = build(**WAYS[bottleneck])
    single = [
        {name: value[i : i + 1] for name, value in batch.items()}
        for batch in batches()
        for i in range(3)
    ]
    found, other = run(model, variables), run(model, variables, single)
    assert other.loss == pytest.approx(found.loss, rel=1e-5)
    assert other.feature_rmse == pytest.approx(found.feature_rmse, rel=1e-5)
    np.testing.assert_allclose(other.variances, found.variances, rtol=1e-5)


def test_rows_that_only_fill_the_batch_do_not_count():
    model, variables = build(bottleneck="fsq")
    loud = batches()
    loud[1]["audio"][1:] = 0.9
    found, other = run(model, variables), run(model, variables, loud)
    assert other.loss == found.loss
    np.testing.assert_array_equal(other.variances, found.variances)
    np.testing.assert_array_equal(other.code_counts, found.code_counts)


@pytest.mark.parametrize("split", [[], [{**batches()[0], "length": np.zeros(3, np.int32)}]])
def test_a_split_of_nothing_is_refused(split):
    with pytest.raises(UserError, match="no clip of this split is readable"):
        validate(compiled(build()[0], l2=1.0), build()[1], split, place, {"l2": 1.0})


def test_the_bottlenecks_part_is_at_its_full_weight():
    model, variables = build(
        **{"bottleneck": "vae", "vae.kl_weight": 0.5, "vae.warmup_steps": 10**6}
    )
    found = run(model, variables)
    assert set(found.terms) == {"l2", "kl"}
    assert found.terms["kl"] > 0
    assert found.loss == pytest.approx(found.terms["l2"] + 0.5 * found.terms["kl"], rel=1e-5)


def test_random_latents_are_learnt_from_and_their_means_are_measured():
    model, variables = build(**{"bottleneck": "noise", "noise.level": 1.0, "noise.bound": 50.0})
    calm, calm_variables = build(bottleneck="none")
    found, other = run(model, variables), run(calm, calm_variables)
    assert found.loss > 1.5 * other.loss
    assert found.feature_rmse == pytest.approx(other.feature_rmse, rel=0.02)
    np.testing.assert_allclose(found.variances, other.variances, rtol=0.02)
    assert run(model, variables).loss == found.loss


def test_codes_are_counted_in_the_latent_frames_that_count():
    codes = jnp.asarray([[[0, 1], [2, 1]], [[2, 0], [1, 1]]])
    mask = jnp.asarray([[True, True], [True, False]])
    np.testing.assert_array_equal(count_codes(codes, mask, 3), [[1, 0, 2], [1, 2, 0]])


def test_as_many_codes_as_latent_frames():
    model, variables = build(**{"bottleneck": "fsq", "fsq.levels": (3, 5)})
    found = run(model, variables)
    assert found.code_counts.shape == (4, 5)
    np.testing.assert_array_equal(found.code_counts.sum(axis=1), 8 + 8 + 4 + 3)
    np.testing.assert_array_equal(found.code_counts[[0, 2], 3:], 0)


def with_encoder(variables, **linear):
    """The same variables with some of the encoder's kernel and bias put in place."""
    params = variables["params"]
    encoder = {**params["encoder"], "linear": {**params["encoder"]["linear"], **linear}}
    return {**variables, "params": {**params, "encoder": encoder}}


@pytest.mark.parametrize("bottleneck", ["none", "vae", "fsq", "vq"])
def test_a_model_at_pca_is_healthy(bottleneck):
    small = {"vq.codebook_size": 4} if bottleneck == "vq" else {}
    model, variables = build(bottleneck=bottleneck, **small)
    if "codebooks" in variables:
        latents = jnp.concatenate(
            [
                autoencoder.before_bottleneck(model, variables, WAVEFORM.analyse(place(x)["audio"]))
                for x in batches()
            ]
        )
        sizes = model.bottleneck.codebook_sizes
        codebooks = start_codebooks(jax.random.key(0), latents.reshape(-1, 4), sizes)
        variables = {**variables, "codebooks": {"bottleneck": codebooks}}
    found = run(model, variables)
    assert collapsed(found, bottleneck, model.bottleneck.codebook_sizes) == []


def test_a_constant_latent_is_told_by_number():
    model, variables = build(bottleneck="none")
    kernel = variables["params"]["encoder"]["linear"]["kernel"]
    found = run(model, with_encoder(variables, kernel=kernel.at[:, 1].set(0)))
    assert collapsed(found, "none", ()) == [
        "latent 2 is constant on the validation split: lower model.latent_dim"
    ]


def test_where_all_latents_are_constant_all_are_told():
    model, variables = build(bottleneck="none")
    silent = jax.tree.map(jnp.zeros_like, variables["params"]["encoder"]["linear"])
    found = run(model, with_encoder(variables, **silent))
    (line,) = collapsed(found, "none", ())
    assert line.startswith("latents 1, 2, 3, 4 are constant")


def test_a_vae_whose_latents_say_nothing_is_told():
    model, variables = build(bottleneck="vae")
    kernel = variables["params"]["encoder"]["linear"]["kernel"]
    found = run(model, with_encoder(variables, kernel=0.05 * kernel))
    (line,) = collapsed(found, "vae", ())
    assert "KL divergence is at zero" in line
    assert "lower model.vae.kl_weight" in line
    assert "raise model.vae.free_bits" in line


def test_a_vae_with_some_idle_latents_is_told_which():
    found = Validation(0.0, {}, 0.0, np.asarray([1.0, 0.009, 0.011, 0.0]), np.zeros(4), None)
    assert collapsed(found, "vae", ()) == [
        "latents 2, 4 are constant on the validation split: lower model.vae.kl_weight"
    ]
    assert collapsed(found, "none", ())[0].startswith("latent 4 is")


def test_many_are_told_by_their_first():
    variances = np.where(np.arange(12) < 3, 1.0, 0.0)
    (line,) = collapsed(Validation(0.0, {}, 0.0, variances, np.zeros(12), None), "tanh", ())
    assert line.startswith("latents 4, 5, 6, 7, 8 and 4 more are constant")


@pytest.mark.parametrize(
    ("bottleneck", "cure"),
    [
        ("fsq", "lower model.fsq.bound"),
        ("vq", "raise model.vq.dead_code_threshold"),
        ("rvq", "raise model.rvq.dead_code_threshold"),
    ],
)
def test_a_codebook_down_to_one_code_is_told(bottleneck, cure):
    counts = np.asarray([[500.0, 500.0, 0.0], [0.0, 10000.0, 1.0], [0.0, 990.0, 10.0]])
    found = Validation(0.0, {}, 0.0, np.ones(3), np.zeros(3), counts)
    assert collapsed(found, bottleneck, (3, 3, 3)) == [
        f"codebook 2 is down to one code out of 3: {cure}"
    ]


def test_dead_codes_of_a_model_are_found():
    model, variables = build(**{"bottleneck": "vq", "vq.codebook_size": 4})
    codebooks = variables["codebooks"]["bottleneck"]
    far = codebooks["codebook"].at[:, 1:].set(1e3)
    variables = {**variables, "codebooks": {"bottleneck": {**codebooks, "codebook": far}}}
    lines = collapsed(run(model, variables), "vq", model.bottleneck.codebook_sizes)
    assert (
        lines[-1] == "codebook 1 is down to one code out of 4: raise model.vq.dead_code_threshold"
    )


def test_every_key_that_a_warning_names_exists():
    known = config_module.flatten(config_module.default())
    dead = np.asarray([[5.0, 0.0]])
    for bottleneck in parts.bottlenecks:
        for variances in (np.zeros(2), np.asarray([1.0, 0.0])):
            counts = dead if parts.bottlenecks[bottleneck].quantises else None
            found = Validation(0.0, {}, 0.0, variances, np.zeros(2), counts)
            lines = collapsed(found, bottleneck, (2,))
            assert len(lines) == (1 if counts is None else 2)
            for line in lines:
                named = [word.strip(",") for word in line.split() if word.startswith("model.")]
                assert named
                assert set(named) <= known.keys()


def test_the_lateness_is_past_every_warm_up():
    model, _ = build(**{"bottleneck": "vae", "vae.warmup_steps": 10**8, "vae.kl_weight": 0.5})
    assert float(model.bottleneck.weights(jnp.int32(validation._LATE))["kl"]) == 0.5


def test_a_constant_far_from_zero_is_constant():
    model, variables = build()
    kernel = variables["params"]["encoder"]["linear"]["kernel"]
    bias = jnp.full_like(variables["params"]["encoder"]["linear"]["bias"], 30.0)
    none = with_encoder(variables, kernel=jnp.zeros_like(kernel), bias=bias)
    (line,) = collapsed(run(model, none), "none", ())
    assert line.startswith("latents 1, 2, 3, 4 are constant")
    one = with_encoder(variables, kernel=kernel.at[:, 1].set(0), bias=bias)
    (line,) = collapsed(run(model, one), "none", ())
    assert line.startswith("latent 2 is constant")
    rounding = Validation(0.0, {}, 0.0, np.asarray([3e-9, 1e-9, 2e-9]), np.full(3, 30.0), None)
    (line,) = collapsed(rounding, "none", ())
    assert line.startswith("latents 1, 2, 3 are constant")


def test_audio_losses_do_not_depend_on_how_the_split_is_batched():
    model, variables = build()
    weights = {"waveform_l1": 1.0, "si_sdr": 0.1, "multi_scale_mel": 1.0}
    together = run(model, variables, **weights)
    rows = [{k: v[i : i + 1] for k, v in batch.items()} for batch in batches() for i in range(3)]
    rows = [row for row in rows if row["length"][0]]
    alone = run(model, variables, rows, **weights)
    assert alone.terms == pytest.approx(together.terms, rel=1e-5)
    assert alone.loss == pytest.approx(together.loss, rel=1e-5)
