"""Loggers: those of a config get all that a run logs, and a user's own is one of them."""

import importlib.util
import re

import numpy as np
import pytest
from conftest import REPOSITORY, shrink

from aejax import config as config_module
from aejax import loggers
from aejax.experiment import begin
from aejax.runtime.errors import UserError
from aejax.sweeps.members import compiled_config
from aejax.training import metrics_log

PAGE = REPOSITORY / "docs" / "guides" / "your-own-parts.md"


@pytest.fixture
def own_config():
    """The config of the guide's file with a logger, as it stands."""
    (code,) = re.findall(r"```python\n# my_logger.py\n(.*?)```", PAGE.read_text(), re.S)
    content = {"__name__": "my_logger"}
    exec(compile(code, "my_logger.py", "exec"), content)
    return content["get_config"]()


def opened(config, path, after=-1):
    log = metrics_log.MetricsLog(path, after)
    log.loggers.extend(loggers.from_config(config, path, after))
    return log


def test_the_logger_of_the_guide(own_config, tmp_path, capsys):
    config = shrink(own_config)
    config.log.update(loggers=("worst",), worst={"above": 0.5})
    config_module.validate(config)
    with opened(config, tmp_path) as log:
        log(0, {"validation/loss": 0.75})
        log(1, {"loss/total": 0.25, "validation/loss": 0.5})
        log.sound("output/1", 1, np.zeros((8, 1)), 8000)
        log.picture("output/1", 1, np.zeros((2, 3), np.uint8))
    assert capsys.readouterr().out == "step 0: validation/loss is 0.75\n"
    assert [line["step"] for line in metrics_log.read(tmp_path / "metrics.jsonl")] == [0, 1]
    assert not list(tmp_path.glob("events.*"))


def test_each_logger_is_closed_after_an_error(small_config, tmp_path):
    closed = []

    @loggers.register("closing")
    class Closing(loggers.Logger):
        def close(self):
            closed.append((self.path, self.after))

    small_config.log.loggers = ("closing", "tensorboard")
    with pytest.raises(RuntimeError), opened(small_config, tmp_path, 4):
        raise RuntimeError
    assert closed == [(tmp_path, 4)]
    assert list(tmp_path.glob("events.*"))


def test_a_choice_of_loggers_is_checked(small_config, tmp_path, monkeypatch):
    for value, says in (
        (("tensorbord",), "did you mean tensorboard?"),
        (("tensorboard", "tensorboard"), "must not repeat a name"),
    ):
        small_config.log.loggers = value
        with pytest.raises(UserError, match=re.escape(says)):
            config_module.validate(small_config)
    small_config.log.loggers = ("wandb",)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'aejax[wandb]'")):
        begin(small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_members_that_are_logged_elsewhere_share_a_program(small_config):
    before = compiled_config(small_config)
    small_config.log.loggers = ("wandb",)
    small_config.log.wandb.project = "other"
    assert compiled_config(small_config) == before


SOUND = 0.5 * np.sin(np.arange(800, dtype=np.float32))[:, None]
PICTURE = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")  # of wandb and what it imports
def test_wandb_offline(small_config, tmp_path, monkeypatch):
    """Two members side by side, the second resumed under its id."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    small_config.log.loggers = ("wandb",)
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        path.mkdir()
    loggers.require(small_config)
    with opened(small_config, paths[0]) as one, opened(small_config, paths[1]) as other:
        for step in (0, 20):
            one(step, {"loss/total": 1.25 + step})
            other(step, {"loss/total": 2.0 + step})
        one.sound("output/1", 20, SOUND, 8000)
        one.picture("picture/1", 20, PICTURE)
    with opened(small_config, paths[1], after=0) as other:
        other(20, {"loss/total": float("nan")})
    (written,) = paths[0].glob("wandb/offline-run-*/*.wandb")
    assert {b"loss/total", b"1.25", b"21.25"} <= set(
        re.findall(rb"loss/total|[0-9]+\.25\b", written.read_bytes())
    )
    ids = [path.name for path in paths[1].glob("wandb/offline-run-*/run-*.wandb")]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    media = {path.suffix for path in paths[0].glob("wandb/offline-run-*/files/media/**/*.*")}
    assert media == {".wav", ".png"}
