import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models.bottlenecks import vector_quantizer
from aejax.models.bottlenecks.vector_quantizer import RVQ, k_means, nearest, start_codebooks

LATENT_DIM = 3
ENTRIES = 8
QUANTIZERS = 4
DECAY = 0.9


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def rvq(**changes):
    usual = {
        "codebook_size": ENTRIES,
        "num_quantizers": QUANTIZERS,
        "commitment": 0.25,
        "decay": DECAY,
        "dead_code_threshold": 0.0,
        "quantizer_dropout": 0.0,
    }
    return RVQ(LATENT_DIM, **(usual | changes))


def started(z, quantizers=QUANTIZERS):
    """Codebooks by k-means of these latents."""
    sizes = (ENTRIES,) * quantizers
    return start_codebooks(jax.random.key(0), z.reshape(-1, LATENT_DIM), sizes)


def run(model, codebooks, z, mask=None, key=None):
    """Latents, commitment loss, and codebooks after the batch; trained on where there is a key."""
    rngs = {} if key is None else {"latents": key}
    latents, changed = _run(model, {"codebooks": codebooks}, z, mask, rngs)
    return latents, changed["losses"]["commitment"], changed["codebooks"]


@functools.partial(jax.jit, static_argnums=0)
def _run(model, variables, z, mask, rngs):
    changing = ["losses", "codebooks"]
    return model.apply(variables, z, mask, train=bool(rngs), rngs=rngs, mutable=changing)


@functools.partial(jax.jit, static_argnums=(0, 3))
def first(model, codebooks, z, kept):
    """Latents by the first codebooks alone."""
    return model.apply({"codebooks": codebooks}, z, kept, method="first")


def brute_force_nearest(vectors, codebook):
    vectors, codebook = np.asarray(vectors, np.float64), np.asarray(codebook, np.float64)
    return np.square(vectors[..., None, :] - codebook).sum(-1).argmin(-1)


def residuals(codebooks, z):
    """What each codebook is given, one more for what is left in the end, and the codes."""
    given, codes = [np.asarray(z, np.float64)], []
    for codebook in np.asarray(codebooks["codebook"], np.float64):
        codes.append(brute_force_nearest(given[-1], codebook))
        given.append(given[-1] - codebook[codes[-1]])
    return np.stack(given), np.stack(codes)


def moved(codebooks, z, used):
    """The codebooks after one update by the vectors in use, ``[quantizers, batch, frames]``."""
    given, codes = residuals(codebooks, z)
    entries, shares = (
        np.asarray(codebooks[name], np.float64) for name in ("codebook", "ema_usage")
    )
    new_entries, new_shares = entries.copy(), shares.copy()
    for q, counts in enumerate(used):
        if not counts.any():
            continue
        vectors, index = given[q][counts], codes[q][counts]
        for e in range(ENTRIES):
            chosen = vectors[index == e]
            sums = DECAY * shares[q, e] * entries[q, e]
            sums = sums + (1 - DECAY) * chosen.sum(axis=0) / len(vectors)
            new_shares[q, e] = DECAY * shares[q, e] + (1 - DECAY) * len(chosen) / len(vectors)
            new_entries[q, e] = sums / new_shares[q, e]
    return {"codebook": new_entries, "ema_usage": new_shares}


def assert_codebooks_equal(ours, expected):
    np.testing.assert_allclose(ours["ema_usage"], expected["ema_usage"], atol=1e-6)
    np.testing.assert_allclose(ours["codebook"], expected["codebook"], atol=1e-4)


@pytest.fixture
def z():
    return normal(16, 12, LATENT_DIM)


@pytest.fixture
def codebooks(z):
    return started(z)


@pytest.mark.parametrize("shape", [(50,), (4, 5), (2, 3, 4)])
def test_nearest_agrees_with_brute_force(shape):
    vectors, codebook = 3 + normal(*shape, 5), 3 + normal(20, 5, seed=1)
    index = nearest(vectors, codebook)
    np.testing.assert_array_equal(index, brute_force_nearest(vectors, codebook))


def clusters():
    """120 vectors close to four centres, and the centres."""
    centres = jnp.asarray([[0, 0], [50, 0], [0, 50], [50, 50]], jnp.float32)
    return jnp.repeat(centres, 30, axis=0) + 0.1 * normal(120, 2), centres


def inertia(vectors, codebook):
    apart = vectors - codebook[nearest(vectors, codebook)]
    return float(jnp.square(apart).sum())


def test_k_means_finds_clusters_far_apart():
    vectors, centres = clusters()
    codebooks = [k_means(jax.random.key(i), vectors, entries=4) for i in range(20)]
    codebook, counts = min(codebooks, key=lambda result: inertia(vectors, result[0]))
    found = nearest(centres, codebook)
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    means = vectors.reshape(4, 30, 2).mean(axis=1)
    np.testing.assert_allclose(codebook[found], means, atol=1e-4)
    np.testing.assert_array_equal(counts, np.full(4, 30))


def test_k_means_is_lloyds_algorithm_and_never_grows_worse(monkeypatch):
    vectors = normal(200, 2)

    def after(rounds):
        monkeypatch.setattr(vector_quantizer, "_LLOYD_ROUNDS", rounds)
        return k_means.__wrapped__(jax.random.key(3), vectors, entries=12)[0]

    expected = np.asarray(after(0), np.float64)
    assert all((np.asarray(vectors) == entry).all(axis=1).any() for entry in expected)
    inertias = [inertia(vectors, after(0))]
    for rounds in range(1, 6):
        index = brute_force_nearest(vectors, expected)
        expected = np.stack([np.asarray(vectors)[index == e].mean(axis=0) for e in range(12)])
        codebook = after(rounds)
        np.testing.assert_allclose(codebook, expected, atol=1e-4)
        inertias.append(inertia(vectors, codebook))
    assert np.all(np.diff(inertias) < 1e-3)
    assert inertias[-1] < 0.8 * inertias[0]


def test_k_means_counts_the_vectors_of_each_entry():
    vectors = normal(200, 2)
    codebook, counts = k_means(jax.random.key(0), vectors, entries=12)
    index = brute_force_nearest(vectors, codebook)
    np.testing.assert_array_equal(counts, np.bincount(index, minlength=12))


@pytest.mark.parametrize("vectors", [normal(5, 2), jnp.ones((20, 2))])
def test_k_means_of_fewer_different_vectors_than_entries_finds_all(vectors):
    codebook, counts = k_means(jax.random.key(0), vectors, entries=16)
    assert float(counts.sum()) == len(vectors)
    assert np.isfinite(codebook).all()
    for entry in np.asarray(codebook)[np.asarray(counts) == 0]:
        assert (np.asarray(vectors) == entry).all(axis=1).any()


def test_each_codebook_starts_on_what_the_ones_before_it_leave_over(z, codebooks):
    given, codes = residuals(codebooks, z)
    energies = np.square(given).mean(axis=(1, 2, 3))
    assert np.all(np.diff(energies) < -0.2 * energies[:-1])
    for q in range(QUANTIZERS):
        counts = np.bincount(codes[q].ravel(), minlength=ENTRIES)
        np.testing.assert_allclose(codebooks["ema_usage"][q], counts / codes[q].size, atol=1e-6)
        one, _ = k_means(
            jax.random.key(0), jnp.asarray(given[q].reshape(-1, LATENT_DIM), jnp.float32), entries=8
        )
        best = np.square(given[q] - np.asarray(one)[brute_force_nearest(given[q], one)]).mean()
        assert energies[q + 1] < 1.3 * best


@pytest.mark.parametrize("train", [False, True])
def test_latents_are_the_sum_of_the_entries_chosen(z, codebooks, train):
    latents, _, _ = run(rvq(), codebooks, z, key=jax.random.key(0) if train else None)
    given, _ = residuals(codebooks, z)
    np.testing.assert_allclose(latents, given[0] - given[-1], atol=1e-5)


def test_codes_say_which_entries(z, codebooks):
    codes = rvq().apply({"codebooks": codebooks}, z, method="codes")
    assert codes.shape == (16, 12, QUANTIZERS)
    np.testing.assert_array_equal(codes, np.moveaxis(residuals(codebooks, z)[1], 0, -1))
    entries = jnp.stack([codebooks["codebook"][q][codes[..., q]] for q in range(QUANTIZERS)])
    np.testing.assert_allclose(run(rvq(), codebooks, z)[0], entries.sum(axis=0), atol=1e-5)


def test_the_first_codebooks_alone_give_the_sum_of_the_first_entries(z, codebooks):
    given, _ = residuals(codebooks, z)
    for kept in range(QUANTIZERS + 1):
        latents = first(rvq(), codebooks, z, kept)
        np.testing.assert_allclose(latents, given[0] - given[kept], atol=1e-5)


def test_more_codebooks_are_never_worse_after_k_means(z, codebooks):
    errors = [
        float(jnp.square(first(rvq(), codebooks, z, kept) - z).mean())
        for kept in range(QUANTIZERS + 1)
    ]
    assert np.all(np.diff(errors) < 0)


def test_gradients_pass_as_if_nothing_were_quantised(z, codebooks):
    weight = normal(*z.shape, seed=1)

    def weighted(z, key):
        return (weight * run(rvq(), codebooks, z, key=key)[0]).sum()

    for key in (None, jax.random.key(0)):
        np.testing.assert_array_equal(jax.grad(weighted)(z, key), weight)


@pytest.mark.parametrize("masked", [False, True])
def test_commitment_is_the_mean_square_that_each_codebook_leaves_over(z, codebooks, masked):
    mask = np.random.default_rng(1).uniform(size=z.shape[:2]) < (0.5 if masked else 2)
    given = jnp.asarray(mask) if masked else None
    loss = run(rvq(), codebooks, z, mask=given)[1]
    expected = np.square(residuals(codebooks, z)[0][1:][:, mask]).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    assert float(rvq().weights(jnp.asarray(0))["commitment"]) == 0.25


def test_commitment_draws_latents_towards_their_entries(z, codebooks):
    gradient = jax.grad(lambda z: run(rvq(), codebooks, z)[1])(z)
    apart = residuals(codebooks, z)[0][1:].sum(axis=0)
    np.testing.assert_allclose(gradient, 2 * apart / apart.size / QUANTIZERS, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_entries_follow_the_moving_average(z, codebooks, masked):
    mask = np.random.default_rng(1).uniform(size=z.shape[:2]) < (0.5 if masked else 2)
    elsewhere = z + 0.3 * normal(*z.shape, seed=1)
    given = jnp.asarray(mask) if masked else None
    after = run(rvq(), codebooks, elsewhere, mask=given, key=jax.random.key(0))[2]
    assert_codebooks_equal(after, moved(codebooks, elsewhere, [mask] * QUANTIZERS))
    assert not np.allclose(after["codebook"], codebooks["codebook"], atol=1e-2)


def test_codebooks_stay_in_use(z, codebooks):
    after = run(rvq(dead_code_threshold=0.9), codebooks, z + 1.0)[2]
    np.testing.assert_array_equal(after["codebook"], codebooks["codebook"])
    np.testing.assert_array_equal(after["ema_usage"], codebooks["ema_usage"])


def test_entries_settle_on_the_mean_of_their_vectors():
    z = normal(4, 16, LATENT_DIM)
    model, codebooks = rvq(num_quantizers=1), started(z, 1)
    for i in range(100):
        codebooks = run(model, codebooks, z, key=jax.random.key(i))[2]
    codes = brute_force_nearest(z, codebooks["codebook"][0])
    means = np.stack([np.asarray(z)[codes == e].mean(axis=0) for e in range(ENTRIES)])
    np.testing.assert_allclose(codebooks["codebook"][0], means, atol=1e-3)


def test_masked_frames_do_not_count(z, codebooks):
    mask = jnp.arange(z.shape[1])[None] < jnp.asarray([5, 9] * 8)[:, None]
    model, key = rvq(dead_code_threshold=0.5), jax.random.key(0)
    plain = run(model, codebooks, z, mask=mask, key=key)
    noisy = run(model, codebooks, jnp.where(mask[..., None], z, 1e3), mask=mask, key=key)
    np.testing.assert_array_equal(plain[0][mask], noisy[0][mask])
    np.testing.assert_allclose(plain[1], noisy[1], rtol=1e-5)
    np.testing.assert_array_equal(plain[2]["codebook"], noisy[2]["codebook"])
    np.testing.assert_array_equal(plain[2]["ema_usage"], noisy[2]["ema_usage"])


def test_a_batch_where_no_frame_counts_changes_nothing(z, codebooks):
    mask = jnp.zeros(z.shape[:2], bool)
    key = jax.random.key(0)
    _, loss, after = run(rvq(dead_code_threshold=0.5), codebooks, z, mask=mask, key=key)
    assert float(loss) == 0
    np.testing.assert_array_equal(after["codebook"], codebooks["codebook"])
    np.testing.assert_array_equal(after["ema_usage"], codebooks["ema_usage"])


def test_dead_entries_are_put_on_vectors_that_count(z, codebooks):
    far = {
        "codebook": codebooks["codebook"].at[:, 2:5].set(1e3),
        "ema_usage": codebooks["ema_usage"].at[:, 2:5].set(0.0),
    }
    mask = np.random.default_rng(1).uniform(size=z.shape[:2]) < 0.3
    given, _ = residuals(far, z)
    drawn = []
    for seed in range(8):
        key = jax.random.key(seed)
        after = run(rvq(dead_code_threshold=1e-6), far, z, mask=jnp.asarray(mask), key=key)[2]
        expected = moved(
            far | {"ema_usage": far["ema_usage"].at[:, 2:5].set(1.0)}, z, [mask] * QUANTIZERS
        )
        alive = [0, 1, 5, 6, 7]
        assert_codebooks_equal(
            {name: values[:, alive] for name, values in after.items()},
            {name: values[:, alive] for name, values in expected.items()},
        )
        replaced = np.asarray(after["ema_usage"][:, 2:5]) > 0
        np.testing.assert_allclose(after["ema_usage"][:, 2:5][replaced], 1 / ENTRIES)
        np.testing.assert_array_equal(after["codebook"][:, 2:5][~replaced], 1e3)
        for q in range(QUANTIZERS):
            entries = np.asarray(after["codebook"])[q, 2:5][replaced[q]]
            apart = np.abs(entries[:, None] - given[q][mask]).max(-1)
            assert (apart.min(axis=1) < 1e-4).all()
            drawn.extend(apart.argmin(axis=1))
    # Nearly all at once, though few vectors count; from all of those, not from a few.
    assert 0.6 < len(drawn) / (8 * QUANTIZERS * 3) < 1
    places = np.bincount(drawn, minlength=mask.sum())
    assert (places > 0).mean() > 0.6
    assert places.max() < 10


@pytest.mark.parametrize(("share", "replaced"), [(0.04, True), (0.06, False)])
def test_an_entry_is_dead_below_its_part_of_an_equal_share(z, codebooks, share, replaced):
    model = rvq(num_quantizers=1, dead_code_threshold=0.5 * DECAY * ENTRIES / 10)
    alone = {
        "codebook": codebooks["codebook"][:1].at[0, 3].set(1e3),
        "ema_usage": codebooks["ema_usage"][:1].at[0, 3].set(share),
    }
    after = run(model, alone, z, key=jax.random.key(0))[2]
    assert replaced == (float(jnp.abs(after["codebook"][0, 3]).max()) < 10)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_an_entry_that_stands_for_nothing_stays_where_it_is(decay):
    z = normal(4, 16, LATENT_DIM)
    model, codebooks = rvq(num_quantizers=1, dead_code_threshold=0.0, decay=decay), started(z, 1)
    codebooks = codebooks | {"codebook": codebooks["codebook"].at[0, 3].set(50.0)}
    for i in range(60):
        codebooks = run(model, codebooks, z, key=jax.random.key(i))[2]
    np.testing.assert_allclose(codebooks["codebook"][0, 3], 50.0, rtol=1e-4)


def kept_by(codebooks, z, latents):
    """How many codebooks each excerpt's latents are made of."""
    given, _ = residuals(codebooks, z)
    apart = np.abs(given[0] - given - np.asarray(latents)).max(axis=(2, 3))
    assert apart.min(axis=0).max() < 1e-5
    return apart.argmin(axis=0)


@pytest.mark.parametrize("dropout", [0.5, 1.0])
def test_quantizer_dropout_keeps_a_random_number_of_codebooks_in_training(codebooks, dropout):
    z = normal(4000, 2, LATENT_DIM)
    model = rvq(quantizer_dropout=dropout)
    latents, _, _ = run(model, codebooks, z, key=jax.random.key(0))
    share = np.bincount(kept_by(codebooks, z, latents), minlength=5) / len(z)
    expected = dropout / QUANTIZERS + (1 - dropout) * np.asarray([0, 0, 0, 0, 1])
    expected[0] = 0
    np.testing.assert_allclose(share, expected, atol=4 * 0.5 / np.sqrt(len(z)))
    rngs = {"latents": jax.random.key(0)}
    in_use = model.apply({"codebooks": codebooks}, z, None, train=False, rngs=rngs)
    assert (kept_by(codebooks, z, in_use) == QUANTIZERS).all()


def test_codebooks_learn_from_the_excerpts_that_keep_them_alone(z, codebooks):
    model = rvq(quantizer_dropout=1.0)
    latents, loss, after = run(model, codebooks, z, key=jax.random.key(0))
    kept = kept_by(codebooks, z, latents)
    assert set(kept) == {1, 2, 3, 4}
    used = np.arange(QUANTIZERS)[:, None, None] < kept[:, None]
    used = np.broadcast_to(used, (QUANTIZERS, *z.shape[:2]))
    assert_codebooks_equal(after, moved(codebooks, z, used))
    left = np.square(residuals(codebooks, z)[0][1:]).mean(-1)
    np.testing.assert_allclose(loss, (left * used).mean(), rtol=1e-4)


def test_a_codebook_that_no_excerpt_keeps_stays_as_it_is(z, codebooks):
    model = rvq(quantizer_dropout=1.0, dead_code_threshold=0.9)
    seen = set()
    for seed in range(8):
        latents, _, after = run(model, codebooks, z[:1], key=jax.random.key(seed))
        kept = int(kept_by(codebooks, z[:1], latents)[0])
        seen.add(kept)
        for name, values in after.items():
            np.testing.assert_array_equal(values[kept:], codebooks[name][kept:])
            assert all((values[q] != codebooks[name][q]).any() for q in range(kept))
    assert min(seen) < QUANTIZERS


def test_without_k_means_entries_begin_small_and_different():
    codebooks = rvq().init(jax.random.key(0), normal(1, 1, LATENT_DIM), None, train=False)
    entries = np.asarray(codebooks["codebooks"]["codebook"])
    assert entries.shape == (QUANTIZERS, ENTRIES, LATENT_DIM)
    assert len(np.unique(entries.reshape(-1, LATENT_DIM), axis=0)) == QUANTIZERS * ENTRIES
    np.testing.assert_allclose(entries.std(), 0.1, rtol=0.3)
    np.testing.assert_allclose(codebooks["codebooks"]["ema_usage"], 1 / ENTRIES)
