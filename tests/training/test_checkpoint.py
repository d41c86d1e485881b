"""A checkpoint comes back as it was saved, or is named as damaged."""

import contextlib
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.runtime.devices import Devices
from aejax.runtime.errors import UserError
from aejax.training import checkpoint
from aejax.training.state import TrainState

RNG = np.random.default_rng(0)
BIG = RNG.standard_normal((40, 300)).astype(np.float32)


def snapshot(value):
    state = TrainState(
        step=jnp.int32(value),
        params={"b": {"w": jnp.asarray(BIG * value)}, "a": jnp.float32(value)},
        collections={"constants": {"mean": jnp.zeros(4)}},
        opt_state=(jnp.int32(value), (), {"m": jnp.ones(2, jnp.bfloat16)}),
        weights={"l2": jnp.float32(value)},
        ema={"b": {"w": jnp.ones((2, 3))}, "a": jnp.float32(-value)},
        key=jax.random.key_data(jax.random.key(value)),
    )
    return checkpoint.snapshot_of(state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "checkpoints"
    with checkpoint.opened(path) as checkpoints:
        for value in (3, 5, 9):
            checkpoints.save(snapshot(value))
    return path


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def read(path, step):
    like = jax.eval_shape(lambda: snapshot(0))
    return checkpoint.read(path, step, like, Devices(1).copy)


def is_as_saved(restored, value):
    expected = snapshot(value)
    pairs = zip(jax.tree.leaves(restored), jax.tree.leaves(expected), strict=True)
    return jax.tree.structure(restored) == jax.tree.structure(expected) and all(
        ours.dtype == theirs.dtype and np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
        for ours, theirs in pairs
    )


def test_a_snapshot_comes_back_as_it_was(copied):
    (copied / "12.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.set_damaged_aside(copied) == []
    with checkpoint.opened(copied, after=9):
        pass
    assert checkpoint.steps(copied) == {5, 9}
    restored = read(copied, 9)
    assert is_as_saved(restored, 9)
    assert {leaf.sharding for leaf in jax.tree.leaves(restored)} == {Devices(1).copied}


def flip(path):
    data = bytearray(path.read_bytes())
    for place in RNG.integers(0, 8 * len(data), 3):
        data[place // 8] ^= 1 << (place % 8)
    path.write_bytes(data)


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "noise": lambda path: path.write_bytes(RNG.bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_gives_the_same_arrays_or_one_line(copied, damage, capfd):
    """Whichever file it is; and training goes on over what is left."""
    whole = copied.with_name("whole")
    copied.rename(whole)
    files = [path.relative_to(whole) for path in whole.glob("9/**/*") if path.is_file()]
    assert len(files) >= 8
    found = set()
    for file in files:
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(whole, copied)
        DAMAGES[damage](copied / file)
        try:
            assert is_as_saved(read(copied, 9), 9), file
            continue
        except checkpoint.DamagedCheckpoint as error:
            message = str(error)
        found.add(file)
        assert message.startswith(f"{copied / '9'} is damaged (")
        assert len(message) < 200 + len(str(copied))
        assert message.isprintable()
        (line,) = checkpoint.set_damaged_aside(copied)
        assert message in line
        assert line.endswith("resuming from step 5")
        assert is_as_saved(read(copied, 5), 5)
    assert len(found) >= 3
    with checkpoint.opened(copied, after=5) as checkpoints:
        checkpoints.save(snapshot(9))
    assert checkpoint.set_damaged_aside(copied) == []
    assert is_as_saved(read(copied, 9), 9)
    assert capfd.readouterr() == ("", "")  # nothing of Orbax's on the terminal


def test_every_bit_of_the_metadata_is_checked_or_of_no_matter(copied):
    path = copied / "9" / "_CHECKPOINT_METADATA"
    whole = path.read_bytes()
    for place in RNG.integers(0, 8 * len(whole), 60).tolist():
        data = bytearray(whole)
        data[place // 8] ^= 1 << (place % 8)
        path.write_bytes(data)
        with contextlib.suppress(checkpoint.DamagedCheckpoint):
            assert is_as_saved(read(copied, 9), 9)


@pytest.mark.parametrize("kind", ["empty folder", "file", "link", "another step"])
def test_what_is_no_checkpoint_is_set_aside(copied, kind):
    stray = copied / "70"
    if kind == "empty folder":
        stray.mkdir()
    elif kind == "file":
        stray.write_text("x")
    elif kind == "link":
        stray.symlink_to(copied / "9")
    else:
        shutil.copytree(copied / "9", stray)
    for _ in range(2):  # what was set aside before makes room
        (line,) = checkpoint.set_damaged_aside(copied)
        assert f"{stray} is damaged" in line
        assert "resuming from step 9" in line
        (copied / "70.damaged").rename(stray)
    checkpoint.set_damaged_aside(copied)
    assert checkpoint.steps(copied) == {5, 9}
    with checkpoint.opened(copied, after=9) as checkpoints:
        checkpoints.save(snapshot(70))
    assert checkpoint.steps(copied) == {9, 70}


def test_without_a_whole_checkpoint_there_is_one_line(copied):
    for step in ("5", "9"):
        shutil.rmtree(copied / step / "state")
    with pytest.raises(UserError, match=r"9 is damaged .*no other to resume from; delete") as error:
        checkpoint.set_damaged_aside(copied)
    assert "\n" not in str(error.value)
    assert checkpoint.steps(copied) == {5, 9}


def test_checkpoints_of_an_earlier_version_are_named_and_kept(copied):
    path = copied / "9" / "_CHECKPOINT_METADATA"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"custom_metadata": {}}))
    for use in (lambda: read(copied, 9), lambda: checkpoint.set_damaged_aside(copied)):
        with pytest.raises(UserError, match="has no checksums: an earlier version") as error:
            use()
        assert not isinstance(error.value, checkpoint.DamagedCheckpoint)
    assert checkpoint.steps(copied) == {5, 9}


def test_a_checkpoint_of_other_arrays_is_not_taken_for_a_damaged_one(copied):
    like = jax.eval_shape(lambda: snapshot(0).replace(best={}))
    with pytest.raises(UserError, match="another version of aejax") as error:
        checkpoint.read(copied, 9, like, Devices(1).copy)
    assert not isinstance(error.value, checkpoint.DamagedCheckpoint)


@pytest.mark.parametrize("kind", ["pipe", "zero", "huge"])
def test_a_hostile_checkpoint_takes_neither_time_nor_memory(copied, kind):
    path = next((copied / "9").glob("state/ocdbt*/d/*"))
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(checkpoint.DamagedCheckpoint):
        read(copied, 9)
