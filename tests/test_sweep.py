"""Sweeps: what goes together, what a member becomes, and what is left after trouble."""

import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import REPOSITORY
from test_main import SMALL, digest

from aejax import config as config_module
from aejax import experiment, representations
from aejax.inference import load
from aejax.main import main
from aejax.models import autoencoder
from aejax.reporting.table import COLUMNS
from aejax.runtime.devices import Devices
from aejax.runtime.errors import Interrupted, UserError
from aejax.runtime.parallel import concurrent_calls
from aejax.sweeps import plan, population, sweep
from aejax.sweeps.population import Job, run_together
from aejax.training import checkpoint
from aejax.workdir import Workdir


def members(config, *overrides):
    return plan.make_members(config, overrides, lambda one, folder: f"repeat {folder}")


def folders(found):
    return [[member.folder for member in group] for group in found]


def test_a_grid_is_every_combination(small_config):
    found = plan.grid("model.latent_dim=4,8 train.schedule=cosine,linear", small_config)
    assert found == [
        {"model.latent_dim": latents, "train.schedule": schedule}
        for latents in (4, 8)
        for schedule in ("cosine", "linear")
    ]
    (one,) = plan.grid("augment.speed.range=(1.0,1.0)", small_config)
    assert one == {"augment.speed.range": (1.0, 1.0)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("latent_dim", "must be KEY=VALUE"),
        ("model.latent_dim=", "must be KEY=VALUE"),
        ("model.latent_dims=1,2", "did you mean model.latent_dim"),
        ("model.latent_dim=1 model.latent_dim=2", "occurs twice"),
        ("model.latent_dim=4,4", "has a value twice"),
        ("model.latent_dim=4,x", "'x' is not an integer"),
        ("model.pca_start=maybe,false", "neither true nor false"),
    ],
)
def test_a_grid_that_cannot_be_read_is_refused(small_config, text, says):
    with pytest.raises(UserError, match="--sweep: |unknown config key") as caught:
        plan.grid(text, small_config)
    assert says in str(caught.value)


def test_members_have_folders_of_their_own(small_config):
    found = members(
        small_config,
        {"model.latent_dim": 4, "augment.speed.range": (0.5, 2.0)},
        {"model.latent_dim": 8, "seed": 1},
        {"name": "third", "seed": 2},
        {},
    )
    names = [member.folder for member in found]
    assert names == ["latent_dim=4,speed.range=0.5x2.0", "latent_dim=8,seed=1", "third", "as_it_is"]
    assert found[1].config.model.latent_dim == 8
    assert found[1].command == "repeat latent_dim=8,seed=1"
    (one, _) = members(small_config, {"seed": 1, "data.seed": 2}, {"seed": 2})
    assert one.folder == "seed=1,data.seed=2" or one.folder == "seed=1,seed=2"
    assert one.folder.count("data.") == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "no experiments"),
        ([{"seed": 1}, {"seed": 1}], "would both use the folder seed=1"),
        ([{"model.encoder": "con"}], "encoder=con: config.model.encoder='con' must be one of"),
        ([{"model.latent_dim": 4}, {"model.nothing": 1}], "nothing=1: unknown config key"),
        ([{"train.steps": 0.5}], "must be of type int"),
    ],
)
def test_a_sweep_with_a_mistake_is_refused_whole(small_config, overrides, says):
    with pytest.raises(UserError) as caught:
        members(small_config, *overrides)
    assert says in str(caught.value)


def test_members_are_grouped_by_what_is_compiled(small_config):
    found = members(
        small_config,
        {"model.latent_dim": 4},
        {"model.conv.width": 16},
        {"model.latent_dim": 8, "seed": 3},
        {"model.conv.width": 16, "train.learning_rate": 0.1},
        {"model.bottleneck": "vae"},
        {"model.bottleneck": "vae", "model.latent_dim": 4},
        {"model.bottleneck": "vae", "seed": 4},
    )
    assert folders(plan.group_members(found, "auto")) == [
        ["latent_dim=4", "latent_dim=8,seed=3"],
        ["conv.width=16", "conv.width=16,learning_rate=0.1"],
        ["bottleneck=vae", "bottleneck=vae,seed=4"],
        ["bottleneck=vae,latent_dim=4"],
    ]
    assert len(plan.group_members(found, "sequential")) == 7
    assert plan.group_members(found, "population") == plan.group_members(found, "auto")
    text = plan.describe(
        plan.group_members(found, "auto"), plan.group_members(found, "auto"), "auto", 1
    )
    assert "7 experiments, 4 compiled programs" in text
    assert "one population: latent_dim=4, latent_dim=8,seed=3" in text
    assert "single: bottleneck=vae,latent_dim=4" in text
    assert (
        "separate because they differ in model.bottleneck, model.conv.width, model.latent_dim"
        in text
    )


def test_a_population_of_what_cannot_be_one_is_refused(small_config):
    found = members(small_config, {"model.conv.width": 16}, {"model.conv.depth": 2})
    with pytest.raises(
        UserError, match=r"no two .* differ in model\.conv\.depth, model\.conv\.width"
    ):
        plan.group_members(found, "population")
    assert len(plan.group_members(found, "auto")) == 2


@pytest.mark.parametrize(
    ("jobs", "sizes"),
    [(1, [5, 1]), (2, [5, 1]), (3, [3, 2, 1]), (4, [2, 1, 2, 1]), (9, [1, 1, 1, 1, 1, 1])],
)
def test_groups_are_cut_up_where_there_are_more_jobs(small_config, jobs, sizes):
    found = members(
        small_config, *({"model.latent_dim": k} for k in range(1, 6)), {"model.conv.width": 16}
    )
    together = plan.group_members(found, "auto")
    units = plan.split_for_jobs(together, jobs)
    assert [len(unit) for unit in units] == sizes
    assert sorted(sum(folders(units), [])) == sorted(sum(folders(together), []))


def test_run_together_takes_one_population_only(small_config, tmp_path):
    other = config_module.override(small_config, {"model.conv.width": 8})
    with pytest.raises(ValueError, match="need different compiled programs"):
        run_together([Job(small_config, tmp_path / "a", ""), Job(other, tmp_path / "b", "")])


VARIED = {
    "small": {"model.latent_dim": 3, "seed": 1},
    "usual": {},
    "decayed": {"model.latent_dim": 5, "train.weight_decay": 2.0, "train.learning_rate": 5e-3},
}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A population's runs, and each of them alone."""
    from conftest import shrink

    root = tmp_path_factory.mktemp("together")
    base = shrink(config_module.default())
    configs = {name: config_module.override(base, keys) for name, keys in VARIED.items()}
    jobs = [Job(config, root / name, "") for name, config in configs.items()]
    compiled = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "compiled_for", counted(population.compiled_for, compiled))
        rows = run_together(jobs)
    alone = {
        name: experiment.run(config, root / f"{name}_alone") for name, config in configs.items()
    }
    return root, dict(zip(configs, rows, strict=True)), alone, len(compiled), jobs


def last_parameters(path, config, step=6):
    """As they were saved after that step, in one row."""
    representation = representations.from_config(config)
    model = autoencoder.from_config(config.model, representation.bins)
    like = load._abstract_snapshot(config, representation, model)
    copy = Devices(jax.local_device_count()).copy
    snapshot = checkpoint.read(path / "checkpoints", step, like, copy)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(snapshot.state.params)])


def losses_of(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").open()]
    return [line["loss/total"] for line in lines if "loss/total" in line]


def assert_trained_alike(path, alone, config):
    """In turns the very same step is taken: the same, to a hundredth of what most parameters
    changed by in the last three steps."""
    ours, theirs = (last_parameters(folder, config) for folder in (path, alone))
    moved = np.abs(theirs - last_parameters(alone, config, step=3))
    assert np.abs(ours - theirs).max() < 1e-2 * np.median(moved[moved > 0])


def counted(function, calls):
    def counting(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counting


@pytest.mark.slow
def test_a_population_is_compiled_once(together):
    assert together[3] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIED)
def test_a_member_is_what_it_is_alone(together, name):
    root, rows, alone, *_ = together
    for ours, theirs in zip(rows[name].rows, alone[name].rows, strict=True):
        assert ours.name == theirs.name
        assert ours.latent_floats_per_second == theirs.latent_floats_per_second
        assert ours.feature_rmse == pytest.approx(theirs.feature_rmse, rel=1e-3)
        assert ours.audio_log_mel_rmse_db == pytest.approx(theirs.audio_log_mel_rmse_db, rel=5e-3)
    ours, theirs = ({p.name for p in (root / x).iterdir()} for x in (name, f"{name}_alone"))
    assert {x for x in ours if "events" not in x} == {x for x in theirs if "events" not in x}
    losses = [losses_of(root / folder) for folder in (name, f"{name}_alone")]
    for folder in (name, f"{name}_alone"):
        lines = [json.loads(line) for line in (root / folder / "metrics.jsonl").open()]
        rates = [line["learning_rate"] for line in lines if "loss/total" in line]
        assert max(rates) <= VARIED[name].get("train.learning_rate", 1e-3) * (1 + 1e-6)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    jobs = dict(zip(VARIED, together[4], strict=True))
    assert_trained_alike(root / name, root / f"{name}_alone", jobs[name].config)


@pytest.mark.slow
def test_a_member_goes_on_alone_from_its_own_checkpoint(together):
    root, _, _, _, jobs = together
    for folder in ("small", "small_alone"):
        (root / folder / "results.json").unlink()
        for step in ("6",):
            path = root / folder / "checkpoints" / step
            path.rename(root / f"{folder}_{step}")
    rows = [experiment.run(jobs[0].config, root / folder) for folder in ("small", "small_alone")]
    for ours, theirs in zip(*(one.rows for one in rows), strict=True):
        assert ours.feature_rmse == pytest.approx(theirs.feature_rmse, rel=1e-3)
    assert_trained_alike(root / "small", root / "small_alone", jobs[0].config)


@pytest.mark.slow
def test_members_of_different_steps_begin_apart_or_go_back(small_config, tmp_path, capsys):
    small_config.train.steps = 9
    configs = [config_module.override(small_config, {"seed": seed}) for seed in range(3)]
    jobs = [Job(config, tmp_path / str(seed), "") for seed, config in enumerate(configs)]
    rows = run_together(jobs)
    for seed in range(3):
        (tmp_path / str(seed) / "results.json").unlink()
    (tmp_path / "0" / "checkpoints" / "9").rename(tmp_path / "nine")
    import shutil

    shutil.rmtree(tmp_path / "2" / "checkpoints")
    capsys.readouterr()
    again = run_together(jobs)
    # The third begins anew; the first two meet at the newest step that both have.
    printed = capsys.readouterr().out
    assert printed.count("resuming from step 6") == 1
    assert printed.count("compiled the step") == 2
    for ours, theirs in zip(again, rows, strict=True):
        assert ours.rows[-1].feature_rmse == pytest.approx(theirs.rows[-1].feature_rmse, rel=1e-5)


def test_what_ends_one_does_not_end_the_others(small_config, tmp_path):
    small_config.train.update(validate_every=1, warmup_steps=0)
    configs = [
        small_config,
        config_module.override(small_config, {"train.learning_rate": 1e30}),
        config_module.override(small_config, {"seed": 1}),
    ]
    jobs = [Job(config, tmp_path / str(place), "") for place, config in enumerate(configs)]
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "cat.jpg").write_bytes(b"meow")
    first, second, third = run_together(jobs)
    assert first.rows[-1].feature_rmse > 0
    assert "parameter_norm is" in str(second)
    assert "holds files and no run" in str(third)
    assert (tmp_path / "0" / "results.json").exists()


def test_asked_to_stop_none_goes_on(small_config, tmp_path, monkeypatch):
    fitted = []

    def stop(one, larger, same):
        fitted.append(one)
        raise Interrupted("stopped before its end")

    monkeypatch.setattr(population, "fit_pca", stop)
    configs = [config_module.override(small_config, {"seed": seed}) for seed in range(2)]
    with pytest.raises(Interrupted):
        run_together([Job(one, tmp_path / str(one.seed), "") for one in configs])
    assert len(fitted) == 1


def test_what_failed_for_want_of_audio_works_once_it_is_there(
    small_config, audio_folder, tmp_path, same_process
):
    small_config.data.update(path=str(tmp_path / "later"), test_fraction=0.3)
    small_config.train.steps = 1
    # A name that rows of PCA begin with.
    unit, root = members(small_config, {"name": "pc"}), tmp_path / "root"
    with pytest.raises(UserError, match="failed: pc"):
        sweep.train_members(str(root), unit)
    assert "does not exist" in (root / "errors" / "pc.txt").read_text()
    audio_folder.rename(tmp_path / "later")
    sweep.train_members(str(root), unit)
    assert not (root / "errors" / "pc.txt").exists()
    named = [line.split()[0] for line in sweep.table(root, unit).splitlines()[2:6]]
    assert named == ["representation", "pca", "pca_context", "pc"]


@pytest.mark.slow
def test_memory_decides_how_many_go_together(small_config, tmp_path, monkeypatch, capsys):
    sizes, each = [], []
    real, measure, shapes = (
        population._train_at_once,
        population.evaluate,
        population.snapshot_shapes,
    )

    def watched(members, *arguments, **options):
        sizes.append(len(members))
        return real(members, *arguments, **options)

    def measured(*arguments):
        sizes.append("measured")
        return measure(*arguments)

    def shaped(one):
        found = shapes(one)
        each.append(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(found)))
        return found

    def free():
        """Room for the steps under way, and two small models with their best variables."""
        return round((concurrent_calls() * 1_000_000 + 2.5 * each[-1]) / 0.8)

    monkeypatch.setattr(population, "_train_at_once", watched)
    monkeypatch.setattr(population, "evaluate", measured)
    monkeypatch.setattr(population, "snapshot_shapes", shaped)
    monkeypatch.setattr(population, "step_bytes", lambda compiled: 1_000_000)
    monkeypatch.setattr(population, "free_memory", free)
    configs = [config_module.override(small_config, {"seed": seed}) for seed in range(3)]
    jobs = [Job(config, tmp_path / str(seed), "") for seed, config in enumerate(configs)]
    rows = run_together(jobs)
    # Those that are done make room for the next.
    assert sizes == [2, "measured", "measured", 1, "measured"]
    assert all(one.rows[-1].feature_rmse > 0 for one in rows)
    printed = capsys.readouterr().out
    assert "2 models of up to " in printed
    more = f"(1 more follow: {free() / 1e6:,.0f} MB are free)"
    assert f" parameters, trained in turn {more}" in printed


@pytest.mark.slow
def test_all_at_once_gives_the_same(small_config, tmp_path, monkeypatch):
    """As on an accelerator."""
    # Not Adam, which makes whole steps out of gradients that are all rounding.
    small_config.train.update(optimizer="sgd", learning_rate=0.01)
    configs = [
        config_module.override(small_config, {"model.latent_dim": latents}) for latents in (3, 8)
    ]
    rows = {}
    for together in (False, True):
        monkeypatch.setattr(population, "at_once", lambda together=together: together)
        jobs = [
            Job(config, tmp_path / f"{together}_{place}", "")
            for place, config in enumerate(configs)
        ]
        rows[together] = run_together(jobs)
    for ours, theirs in zip(rows[True], rows[False], strict=True):
        assert ours.rows[-1].feature_rmse == pytest.approx(theirs.rows[-1].feature_rmse, rel=1e-3)
    for place in range(len(configs)):
        at_once, in_turns = (losses_of(tmp_path / f"{x}_{place}") for x in (True, False))
        assert at_once == pytest.approx(in_turns, rel=1e-3)


def finish(root, member, rows=None):
    """What a finished run leaves."""
    path = root / member.folder
    Workdir(path, member.config).create()
    Workdir(path, member.config).write_config()
    results = {"rows": rows or [], "units": {"feature_rmse": "dB"}}
    (path / "results.json").write_text(json.dumps(results))


def swept(found, root, mode="auto"):
    sweep.run(found, root, mode=mode, launcher="local", options={}, jobs=1, command="")


def test_a_sweep_of_another_config_is_refused(small_config, tmp_path):
    root = tmp_path / "root"
    found = members(small_config, {"seed": 0}, {"seed": 1})
    for member in found:
        finish(root, member)
    (root / "sweep.json").write_text(
        json.dumps({"members": [{"folder": member.folder} for member in found], "command": "c"})
    )
    before = (root / "sweep.json").read_text()
    small_config.train.steps = 7
    with pytest.raises(UserError, match=r"another config \(train.steps: 6 there, 7 now\)"):
        swept(members(small_config, {"seed": 0}, {"seed": 1}), root)
    assert (root / "sweep.json").read_text() == before


def test_what_is_left_of_a_population_need_not_be_one(small_config, tmp_path, monkeypatch):
    found = members(
        small_config,
        *({"model.conv.width": width, "seed": seed} for width in (8, 16) for seed in (0, 1)),
    )
    root, ran = tmp_path / "root", []
    sweep._start(found, root, "")
    finish(root, found[0])
    finish(root, found[2])

    def launched(units, *_):
        ran.extend(member.folder for unit in units for member in unit)
        for member in found:
            finish(root, member)
        return {}

    monkeypatch.setattr(sweep, "_launch", launched)
    monkeypatch.setattr(sweep, "_report", lambda *_: None)
    swept(found, root, "population")
    assert ran == [found[1].folder, found[3].folder]


def test_errors_of_different_features_are_in_tables_of_their_own(small_config, tmp_path):
    def row(name, error, rate):
        empty = dict.fromkeys(key for *_, key, _ in COLUMNS)
        return empty | {
            "name": name,
            "feature_rmse": error,
            "audio_log_mel_rmse_db": 1.0,
            "latent_floats_per_second": rate,
        }

    found = members(
        small_config,
        {"model.latent_dim": 4},
        {"model.latent_dim": 8},
        {
            "name": "wave",
            "representation.name": "waveform",
            "representation.mel.griffin_lim_iterations": 32,
        },
    )
    for place, member in enumerate(found):
        rows = [row("pca", 3.0 - place, place), row(member.config.name, 2.0 - place / 2, place)]
        finish(tmp_path, member, [row("representation only", 0.0, None), *rows])
    mel, wave = sweep.table(tmp_path, found).split("\n\n")
    names = [[line.split("  ")[0] for line in part.splitlines()[3:]] for part in (mel, wave)]
    both = ["pca", "latent_dim=4", "pca", "latent_dim=8"]
    assert names[0] == ["representation only", *both]
    assert names[1] == ["representation only", "pca", "wave"]
    assert mel.startswith("mel:")
    assert wave.startswith("waveform:")


@pytest.mark.parametrize("name", ["logs", "errors", "Report.html"])
def test_a_member_does_not_go_where_the_sweep_keeps_things(small_config, name):
    with pytest.raises(UserError, match="a reserved name"):
        members(small_config, {"name": name})


# The command itself, in processes.


def start(environment, *arguments):
    options = [option for option in SMALL if "latent_dim" not in option]
    words = ["--config=experiments/mel_conv.py", *options, "--config.train.log_every=10"]
    return subprocess.Popen(
        [sys.executable, "-m", "aejax.main", *words, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep_run(environment, *arguments):
    process = start(environment, *arguments)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.mark.slow
# Only this test restores without saying where to.
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_a_sweep_killed_in_the_middle_goes_on_bit_for_bit(environment, tmp_path):
    options = ["--sweep=model.latent_dim=2,6 model.conv.width=16,32", "--config.train.steps=60"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, output = sweep_run(environment, *options, f"--workdir={whole}")
    assert code == 0, output
    assert "4 experiments, 2 compiled programs" in output
    assert (whole / "report.html").exists()
    first = "latent_dim=2,conv.width=16"

    def finished():
        return (killed / first / "results.json").exists()

    def trained():
        path = killed / first / "metrics.jsonl"
        return path.exists() and len(path.read_text().splitlines()) >= 4

    for ready in (trained, finished):
        process = start(environment, *options, f"--workdir={killed}")
        deadline = time.monotonic() + 200
        while not ready() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    before = (killed / first / "results.json").stat().st_mtime_ns
    for _ in range(50):  # until the child has noticed, and let go of its directory
        code, output = sweep_run(environment, *options, f"--workdir={killed}")
        if "another process is using" not in output:
            break
        time.sleep(0.2)
    assert code == 0, output
    assert (killed / first / "results.json").stat().st_mtime_ns == before
    for member in json.loads((whole / "sweep.json").read_text())["members"]:
        assert digest(killed / member["folder"]) == digest(whole / member["folder"])
    code, output = sweep_run(environment, *options, f"--workdir={killed}")
    assert code == 0
    assert "all experiments of this sweep are finished" in output


@pytest.mark.slow
def test_a_member_that_fails_is_tried_once_more_and_the_others_finish(environment, tmp_path):
    options = ["--sweep=train.learning_rate=0.001,1e30", "--config.train.steps=40"]
    options += ["--config.train.warmup_steps=0", "--jobs=2", f"--workdir={tmp_path / 'sweep'}"]
    code, output = sweep_run(environment, *options)
    assert code == 1
    last = output.strip().splitlines()[-1]
    assert last.startswith(
        "error: 1 of 2 experiments failed twice, the first of them learning_rate"
    )
    assert "retrying one by one: learning_rate=1e+30" in output
    assert (tmp_path / "sweep" / "learning_rate=0.001" / "results.json").exists()
    assert (tmp_path / "sweep" / "report.html").exists()
    error = tmp_path / "sweep" / "errors" / "learning_rate=1e+30.txt"
    assert "parameter_norm" in error.read_text()
    assert list((tmp_path / "sweep" / "logs").iterdir())
    # A sweep may grow, and does not run again what it has; it may not lose members.
    options[0] = "--sweep=train.learning_rate=0.001"
    code, output = sweep_run(environment, *options)
    assert code == 1
    assert "holds a sweep with learning_rate=1e+30, which this one does not have" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--sweep", "--search=2"], "use one of them"),
        (["--jobs=2"], "--jobs needs --sweep"),
        (["--launcher=local"], "--launcher=local needs --sweep; a single run starts here"),
        (["--launcher_options=nodes=2"], "--launcher_options needs --launcher"),
        (["--launcher=ray", "--search=2"], "--search works in this process; leave out --launcher"),
        (["--launcher=ray", "--dry_run"], "--dry_run works in this process; leave out --launcher"),
        (["--launcher=submitit", "--launcher_options=nodes=0"], "a whole number from 1 for nodes"),
        (["--launcher=submitit", "--launcher_options=num_workers=2"], "no option 'num_workers'"),
        (["--search_space=seed=1,2"], "--search_space needs --search"),
        (["--sweep", "--sweep_mode=all"], "must be one of auto, population, sequential"),
        (["--sweep", "--launcher=slurm"], "unknown launcher 'slurm'"),
        (["--sweep", "--launcher_options=x"], "is not KEY=VALUE"),
        (["--sweep", "--launcher_options=a='b"], "No closing quotation"),
        (["--sweep", "--jobs=0"], "give 1 or more"),
        (["--search=0", "--search_space=seed=1,2"], "1 or more"),
        (["--search=3"], "--search_space is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_make_no_sense_get_one_line(flags, tmp_path, capsys, arguments, says):
    words = ["--config=experiments/mel_conv.py", f"--workdir={tmp_path / 'run'}"]
    assert main(["aejax", *words, *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not (tmp_path / "run").exists()


def test_a_file_without_a_sweep_says_so(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    return 1\n")
    with pytest.raises(UserError, match=r"has no sweep\(\); give a grid"):
        plan.file_overrides(str(path))


def test_the_sweeps_of_experiments_make_sense():
    import runpy

    for path in sorted((REPOSITORY / "experiments").glob("*.py")):
        file = runpy.run_path(str(path))
        if "sweep" in file:
            found = members(file["get_config"](), *plan.file_overrides(str(path)))
            assert len(found) > 1
