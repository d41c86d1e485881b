"""What holds for every transform: any leading dimensions, jit, vmap, gradients, float32."""

import functools

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from signal_cases import TRANSFORMS

SAMPLES = 256
RNG = np.random.default_rng(0)
SIGNALS = {
    "silence": np.zeros(SAMPLES),
    "DC": np.ones(SAMPLES),
    "square": np.sign(np.sin(np.arange(SAMPLES) / 5 + 0.1)),
    "denormal": np.full(SAMPLES, 1e-40),
    "tiny": np.full(SAMPLES, 1e-25) * RNG.standard_normal(SAMPLES),
    "impulse": np.eye(1, SAMPLES, 100)[0],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_any_leading_dimensions_jit_and_vmap(name):
    transform = TRANSFORMS[name]
    x = jnp.asarray(RNG.uniform(-1, 1, (2, 3, SAMPLES)), jnp.float32)
    mapped = jax.jit(jax.vmap(jax.vmap(transform)))(x)
    assert mapped.dtype == jnp.float32
    atol = 2e-5 * float(jnp.abs(mapped).max())
    np.testing.assert_allclose(mapped[1, 2], transform(x[1, 2]), atol=atol)
    # This one is relative to the loudest of its argument.
    if name != "amplitude_to_db":
        np.testing.assert_allclose(jax.jit(transform)(x), mapped, atol=atol)
        assert transform(x[:0]).shape == (0, *mapped.shape[1:])


@pytest.mark.parametrize("name", TRANSFORMS)
def test_values_and_gradients_are_finite(name):
    # At level 0, which conftest.py sets, XLA 0.10.2 gives NaN for amplitude_to_db of a traced
    # reference; at all others, and without jit, it does not.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 3})
    def value_and_gradient(x):
        y, pull = jax.vjp(TRANSFORMS[name], x)
        return y, pull(jnp.ones_like(y))[0]

    for sound, x in SIGNALS.items():
        value, gradient = value_and_gradient(jnp.asarray(x, jnp.float32))
        assert np.isfinite(value).all(), sound
        assert np.isfinite(gradient).all(), sound


# Griffin-Lim's own phase is not differentiable where it is zero by symmetry, and the solvers stop
# at corners; what they are made of is all here.
SMOOTH = sorted(set(TRANSFORMS) - {"griffin_lim", "convergence", "nnls", "mel_to_linear"})


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_finite_differences(name):
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, SAMPLES))
        assert TRANSFORMS[name](x).dtype == jnp.float64
        jax.test_util.check_grads(
            lambda x: TRANSFORMS[name](jnp.asarray(x)),
            (x,),
            order=1,
            modes=("rev",),
            atol=1e-5,
            rtol=1e-5,
            eps=1e-6,
        )
