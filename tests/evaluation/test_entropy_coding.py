"""Latents in few bits."""

import numpy as np
import pytest

from aejax.evaluation import entropy_coding
from aejax.evaluation.entropy_coding import CHECKED, DamagedCode, Entries, Predictor, decode, encode
from aejax.runtime.errors import UserError

DIM = 5


def walk(frames, seed=0):
    """Latents that go on as they went, loud and soft by turns."""
    rng = np.random.default_rng(seed)
    latents = np.zeros((frames, DIM))
    for place in range(1, frames):
        loud = 1.0 if place // 50 % 2 else 0.1
        latents[place] = 0.9 * latents[place - 1] + loud * rng.laplace(size=DIM)
    return latents.astype(np.float32)


@pytest.fixture(scope="module")
def statistics():
    return entropy_coding.fit([walk(2000), walk(1), walk(7)], np.linspace(0.5, 2, DIM))


def test_what_is_learnt_is_how_latents_go_on(statistics):
    np.testing.assert_allclose(statistics.transition, 0.9 * np.eye(DIM), atol=0.06)
    np.testing.assert_allclose(statistics.offset, 0, atol=0.05)
    np.testing.assert_allclose(statistics.spread, 0.55, atol=0.06)


@pytest.mark.parametrize("scale", [2.0**-7, 0.3, 2.0**7])
@pytest.mark.parametrize("frames", [1, CHECKED - 1, CHECKED, 201])
def test_what_was_coded_comes_back(statistics, scale, frames):
    latents = np.stack([walk(frames, seed) for seed in (1, 2)])
    integers = entropy_coding.quantise(latents, statistics.steps * scale)

    def model():
        return Predictor(statistics, scale)

    payload = encode(integers, model)
    np.testing.assert_array_equal(decode(payload, 2, frames, DIM, model)[0], integers)
    back = entropy_coding.dequantise(integers, statistics.steps * scale)
    assert np.abs(back - latents).max() <= (statistics.steps * scale).max() / 2 + 1e-6


def test_it_takes_fewer_bits_than_values_are_worth_by_themselves(statistics):
    integers = entropy_coding.quantise(walk(2000, seed=3)[None], statistics.steps * 0.3)
    payload = encode(integers, lambda: Predictor(statistics, 0.3))
    entropy = 0.0
    for column in integers[0].T:
        share = np.unique(column, return_counts=True)[1] / len(column)
        entropy -= (share * np.log2(share)).sum()
    assert len(payload) * 8 / 2000 < 0.75 * entropy


@pytest.mark.parametrize("scale", [2.0**-7, 0.3, 4.0, 2.0**7])
def test_the_length_of_a_code_is_known_without_coding(statistics, scale):
    """Of sequences at a time, the shorter of which ends before the others."""
    sequences = [walk(frames, seed=frames) for frames in (400, 400, 90)]
    integers = [entropy_coding.quantise(x, statistics.steps * scale) for x in sequences]
    coded = sum(8 * len(encode(x[None], lambda: Predictor(statistics, scale))) for x in integers)
    checks = 8 * sum(-(-len(x) // CHECKED) for x in integers)
    padded = np.stack([np.pad(x, ((0, 400 - len(x)), (0, 0))) for x in integers])
    valid = np.arange(400)[None] < np.asarray([[len(x)] for x in integers])
    bits = entropy_coding.code_length(padded, valid, Predictor(statistics, scale))
    assert coded - checks == pytest.approx(bits, rel=0.005, abs=32 * len(integers) + 8)


def test_the_finest_step_within_a_rate():
    asked = []

    def rate(scale):
        asked.append(scale)
        return 100 - 10 * np.log2(scale)

    scale = entropy_coding.finest_scale(rate, 77)
    assert 0.98 * 77 <= rate(scale) <= 77
    assert len(asked) < 16
    assert entropy_coding.finest_scale(rate, 29) is None
    assert entropy_coding.finest_scale(rate, 1000) == entropy_coding.FINEST


def test_entries_take_as_many_bits_as_they_are_rare():
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.full(16, 0.3), size=3)
    integers = np.stack([rng.choice(16, size=3000, p=each) for each in share], axis=1)[None]
    payload = encode(integers.astype(np.int32), lambda: Entries(share))
    np.testing.assert_array_equal(
        decode(payload, 1, 3000, 3, lambda: Entries(share))[0], integers.astype(np.int32)
    )
    entropy = -(share * np.log2(share + 1e-30)).sum()
    assert len(payload) * 8 / 3000 < 1.1 * entropy + 8 / CHECKED


def test_an_entry_that_was_never_used_can_be_coded():
    share = np.asarray([[1.0, 0.0]])
    integers = np.ones((1, 9, 1), np.int32)
    payload = encode(integers, lambda: Entries(share))
    np.testing.assert_array_equal(decode(payload, 1, 9, 1, lambda: Entries(share))[0], integers)


def test_what_is_too_large_is_cut(statistics):
    huge = np.full((1, 4, DIM), 1e9, np.float32)
    integers = entropy_coding.quantise(huge, statistics.steps)
    payload = encode(integers, lambda: Predictor(statistics, 1.0))
    np.testing.assert_array_equal(
        decode(payload, 1, 4, DIM, lambda: Predictor(statistics, 1.0))[0], integers
    )


@pytest.mark.parametrize("frames", [1, CHECKED, 100])
def test_silent_frames_come_back_and_take_next_to_nothing(statistics, frames):
    integers = entropy_coding.quantise(
        np.stack([walk(frames, seed) for seed in (1, 2)]), statistics.steps
    )

    def model():
        return Predictor(statistics, 1.0)

    rng = np.random.default_rng(0)
    for silent in (rng.random((2, frames)) < 0.5, np.ones((2, frames), bool)):
        payload = encode(integers, model, silent)
        back, marks = decode(payload, 2, frames, DIM, model, has_silence=True)
        np.testing.assert_array_equal(marks, silent)
        np.testing.assert_array_equal(back, np.where(silent[..., None], 0, integers))
    assert len(payload) <= 2 * (frames / CHECKED + 1 + frames / 1000) + 8


def test_a_panic_of_the_coder_is_damage(statistics):
    class Mad(Predictor):
        def parameters(self):
            return np.full(DIM, np.nan), np.full(DIM, np.nan)

    with pytest.raises(DamagedCode, match="does not decode"):
        decode(bytes(400), 1, 16, DIM, lambda: Mad(statistics, 1.0))


def test_damage_is_noticed(statistics):
    frames, rng = 64, np.random.default_rng(0)
    integers = entropy_coding.quantise(walk(frames)[None], statistics.steps * 0.3)

    def model():
        return Predictor(statistics, 0.3)

    payload = encode(integers, model)
    unnoticed = 0
    for _ in range(200):
        damaged = bytearray(payload)
        damaged[int(rng.integers(len(payload)))] ^= 1 << int(rng.integers(8))
        try:
            found = decode(bytes(damaged), 1, frames, DIM, model)[0]
        except DamagedCode:
            continue
        unnoticed += not np.array_equal(found, integers)
    assert unnoticed <= 4  # a byte is right by chance; a whole file has a checksum


@pytest.mark.parametrize(("rows", "frames"), [(1, 2**62), (2**40, 16), (1, 100_000)])
def test_a_few_bytes_do_not_stand_for_much(statistics, rows, frames):
    with pytest.raises(DamagedCode, match="shorter than its header"):
        decode(bytes(400), rows, frames, DIM, lambda: Predictor(statistics, 0.3))


def test_steps_are_where_errors_are_equal():
    found = entropy_coding.steps_of(np.asarray([1.0, 4.0, 0.0]))
    assert found[0] == pytest.approx(4 * found[1])
    assert np.log(found).mean() == pytest.approx(0)
    assert found[2] / found[1] == pytest.approx(1000)


def test_files(statistics, tmp_path):
    path = tmp_path / entropy_coding.FILE
    entropy_coding.save(path, model=statistics)
    found = entropy_coding.load(path, "model", DIM)
    for field in ("transition", "offset", "spread", "steps"):
        np.testing.assert_array_equal(getattr(found, field), getattr(statistics, field))
    for name, dim in (("pca", DIM), ("model", DIM + 1)):
        with pytest.raises(UserError, match="damaged"):
            entropy_coding.load(path, name, dim)
    with pytest.raises(UserError, match="train it again"):
        entropy_coding.load(tmp_path / "nowhere", "model", DIM)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0, 1e-300, 1e300])
def test_nonsense_in_files_is_refused(statistics, tmp_path, value):
    import dataclasses

    path = tmp_path / entropy_coding.FILE
    bad = statistics.spread.copy()
    bad[2] = value
    entropy_coding.save(path, model=dataclasses.replace(statistics, spread=bad))
    with pytest.raises(UserError, match=r"damaged \(model\.spread\)"):
        entropy_coding.load(path, "model", DIM)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="damaged"):
        entropy_coding.load(path, "model", DIM)
