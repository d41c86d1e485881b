import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import losses, parts
from aejax.losses import masked_mean
from aejax.runtime.errors import UserError


def test_masked_mean_is_the_mean_of_what_is_left():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 7, 5)).astype(np.float32)
    mask = rng.uniform(size=(3, 7)) < 0.6
    expected = values.astype(np.float64)[mask].mean()
    assert float(masked_mean(jnp.asarray(values), jnp.asarray(mask))) == pytest.approx(expected)


def test_masked_mean_of_nothing_has_a_gradient_of_zero():
    mask = jnp.zeros((2, 3), bool)
    gradient = jax.grad(lambda x: masked_mean(jnp.square(x), mask))(jnp.ones((2, 3, 4)))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(("name", "rate"), [("multi_scale_mel", 192_000), ("dac_mel", 999_999)])
def test_a_rate_that_a_loss_makes_no_sense_at_is_refused_by_both_names(name, rate):
    with pytest.raises(UserError) as caught:
        losses.check_rate(["l2", name], rate)
    for word in (f"loss.{name}.weight", f"data.sample_rate={rate}"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", list(parts.losses))
@pytest.mark.parametrize("rate", [1000, 44_100])
def test_common_rates_are_good_for_every_loss(name, rate):
    losses.check_rate([name], rate)
