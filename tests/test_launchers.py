"""Launchers: what ran, when, what it left, and that nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import launched
import psutil
import pytest
import submitit  # before output is captured, which its import would hold on to
from conftest import REPOSITORY, most_slow
from test_processes import EXPERIMENT, wait_for_step

from aejax import launchers
from aejax.launchers import Task, TaskError, launch, local
from aejax.runtime import processes
from aejax.runtime.errors import UserError

KINDS = ["local", "submitit", "ray", "slurm"]


@pytest.fixture(scope="module")
def ray_address():
    """A Ray cluster of two nodes, both on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine on whose path SLURM's commands are."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "state").mkdir()
    for name in ("sbatch", "srun", "scancel", "sacct"):
        script = tmp_path / "bin" / name
        script.write_text(
            f"#!{sys.executable}\nimport runpy, sys\nsys.argv.insert(1, {name!r})\n"
            f"runpy.run_path({str(REPOSITORY / 'tests' / 'fake_slurm.py')!r}, run_name='__main__')"
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "state"))
    # How long it looks for a result that a slow file system may be hiding: 15 s.
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    submitit.SlurmJob.watcher.clear()
    return tmp_path / "state"


@pytest.fixture
def options(request, monkeypatch):
    """``options(kind)``: the arguments of `launch` that make it run here."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def options(kind):
        if kind == "ray":
            address = request.getfixturevalue("ray_address")
            return {"kind": "ray", "options": {"address": address}}
        if kind == "submitit":
            return {"kind": "submitit", "options": {"cluster": "local"}}
        if kind == "slurm":
            request.getfixturevalue("slurm")
            return {"kind": "submitit", "options": {"slurm_partition": "here"}}
        return {"kind": kind, "options": {}}

    return options


@pytest.fixture
def task(tmp_path):
    def task(function, *arguments, name=None):
        name = name or function.__name__
        return Task(function, arguments, tmp_path / "logs" / f"{name}.log")

    return task


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_come_back_as_they_end_with_their_errors(kind, options, task, tmp_path):
    tasks = [
        task(launched.note, str(tmp_path), "slow", 1.5, name="slow"),
        task(launched.note, str(tmp_path), "fast", name="fast"),
        task(launched.refuse),
        task(launched.fail),
        task(launched.leave),
        task(launched.die),
    ]
    ended = [(task.log.stem, error) for task, error in launch(tasks, jobs=2, **options(kind))]
    names = [name for name, _ in ended]
    if kind != "slurm":  # which is asked too seldom to tell
        assert names.index("fast") < names.index("slow")
    errors = {name: error and str(error) for name, error in ended}
    killed = errors.pop("die")
    assert errors == {
        "slow": None,
        "fast": None,
        "refuse": "it is the user's to mend",
        "fail": "ValueError: a defect in two lines",
        "leave": "exit code 3",
    }
    if kind == "submitit":
        assert "left no result" in killed
    elif kind == "slurm":
        assert killed.startswith("job 77_5 left no result (state: FAILED); see ")
    else:
        assert killed == "killed by signal 9"
    logs = {path.stem: path.read_text() for path in (tmp_path / "logs").glob("*.log")}
    assert "fast prints\n" in logs["fast"]
    assert "fast complains\n" in logs["fast"]
    assert "Traceback" in logs["fail"]
    assert "Traceback" not in logs["refuse"]
    assert logs["refuse"].startswith("error: it is the user's to mend\n")


TOGETHER = {
    "submitit": {"tasks_per_node": "2", "gpus_per_node": "4"},
    "slurm": {"nodes": "2", "gpus_per_node": "2"},
    "ray": {"num_workers": "2"},
}


@pytest.mark.parametrize(
    ("kind", "failing"),
    most_slow([(x, n) for x in TOGETHER for n in (-1, 1)], ("submitit", -1), ("slurm", 1)),
)
def test_processes_of_a_task_join(kind, failing, options, task, tmp_path, capsys):
    arguments = options(kind)
    arguments["options"] |= TOGETHER[kind]
    joined = task(launched.join, str(tmp_path), failing, name="process")
    if failing < 0:
        launchers.run(joined, **arguments)
    else:
        with pytest.raises(TaskError, match=f"^process {failing}: it is the user's to mend$"):
            launchers.run(joined, **arguments)
    devices = {"submitit": ["0,1", "2,3"], "slurm": ["0,1", "0,1"], "ray": ["", ""]}[kind]
    for process in (0, 1):
        assert (tmp_path / f"{process}.joined").read_text() == f"2 2 {devices[process]}"
    assert "process 0 prints\n" in capsys.readouterr().out
    second = (tmp_path / "logs" / "process-1.log").read_text()
    # Only the main process prints.
    assert "prints" not in second
    assert (failing < 0) == ("error: process 1: it is the user's to mend\n" not in second)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["submitit", "ray"])
def test_a_run_in_two_processes(kind, options, tmp_path):
    """Where what launched it is stopped, both save; the same command finishes it."""
    arguments = options(kind)
    chosen = {name: TOGETHER[kind].get(name) for name in ("tasks_per_node", "num_workers")}
    chosen = arguments["options"] | {name: x for name, x in chosen.items() if x}
    text = " ".join(f"{name}={value}" for name, value in chosen.items())
    experiment, workdir = tmp_path / "small.py", tmp_path / "run"
    experiment.write_text(EXPERIMENT)
    flags = [f"--config={experiment}", f"--workdir={workdir}", "--config.train.steps=200"]
    flags += [f"--launcher={kind}", f"--launcher_options={text}"]

    def start():
        command = [sys.executable, "-m", "aejax.main", *flags]
        return subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    process = start()
    wait_for_step(workdir, 3)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, (out, err)
    assert "device: 2 x cpu (cpu) of 2 processes" in out
    (step,) = (int(path.name) for path in (workdir / "checkpoints").iterdir() if int(path.name))
    # Its last words, and once.
    assert err.endswith(f"error: stopped after step {step}; run the same command to resume\n")
    assert (out + err).count("error:") == 1
    process = start()
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, (out, err)
    assert f"resuming from step {step}" in out
    assert (workdir / "results.json").exists()
    assert "error:" not in (workdir / "logs" / "process-1.txt").read_text()
    again, _ = start().communicate(timeout=60)
    assert "this run is finished; its results again" in again


@pytest.mark.parametrize("kind", most_slow(KINDS, "local"))
def test_no_more_run_at_once_than_asked_for(kind, options, task, tmp_path):
    names = ["a", "b", "c", "d"]
    tasks = [task(launched.note, str(tmp_path), name, 0.4, name=name) for name in names]
    assert all(error is None for _, error in launch(tasks, jobs=2, **options(kind)))
    times = [
        (float((tmp_path / f"{name}.{when}").read_text()), step)
        for name in names
        for when, step in (("began", 1), ("ended", -1))
    ]
    running = most = 0
    for _, step in sorted(times):
        running += step
        most = max(most, running)
    assert most == 2 or (most == 1 and kind != "local")


def test_the_error_of_several_processes_is_that_of_the_one_to_blame(monkeypatch):
    def error(*errors):
        return str(launchers.first_error(errors))

    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(UserError) as lost, processes.explain_loss():
        raise RuntimeError("Gloo: connection closed by peer")
    assert error(None, None) == "None"
    assert error("killed by signal 9", str(lost.value), None) == "killed by signal 9"
    assert error(str(lost.value), "killed by signal 9") == "process 1: killed by signal 9"
    assert error(str(lost.value), "", None) == str(lost.value)
    assert error("", "process 1: a", "b") == "process 1: a; process 2: b"


def test_logs_are_appended_to(task, tmp_path):
    for name in ("first", "second"):
        tasks = [task(launched.note, str(tmp_path), name, name="both")]
        assert [error for _, error in launch(tasks, kind="local", jobs=2, options={})] == [None]
    assert (tmp_path / "logs" / "both.log").read_text().count(" prints") == 2


def test_one_local_job_at_a_time_has_the_terminal(task, tmp_path, capfd):
    tasks = [task(launched.note, str(tmp_path), "a"), task(launched.refuse)]
    errors = [error for _, error in launch(tasks, kind="local", jobs=1, options={})]
    assert errors[0] is None
    assert str(errors[1]) == "it is the user's to mend"
    printed = capfd.readouterr()
    assert printed.out == "a prints\n"
    assert printed.err == "a complains\n"
    assert not (tmp_path / "logs").exists()


def test_what_cannot_be_unpickled_there_is_an_error_of_the_task(task, tmp_path, monkeypatch):
    (tmp_path / "fleeting.py").write_text("def function(): pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    import fleeting

    (tmp_path / "fleeting.py").unlink()
    [(_, error)] = launch([task(fleeting.function)], kind="local", jobs=2, options={})
    assert str(error) == "ModuleNotFoundError: No module named 'fleeting'"


@pytest.mark.parametrize("kind", most_slow(KINDS, "local"))
def test_a_closed_iterator_stops_what_runs(kind, options, task, tmp_path):
    tasks = [task(launched.wait, str(tmp_path), name, name=name) for name in "ab"]
    tasks.insert(0, task(launched.note, str(tmp_path), "fast"))
    ended = launch(tasks, jobs=3, **options(kind))
    assert next(ended)[1] is None
    wait_for(tmp_path / "a.began")
    ended.close()
    pid = int((tmp_path / "a.began").read_text())
    assert (tmp_path / "a.saved").exists()
    wait_until(lambda: not psutil.pid_exists(pid))


PARENT = """
import json, sys
from pathlib import Path
import launched
from aejax.runtime.errors import exit_code
from aejax.launchers import Task, TaskError, launch, local

def run():
    folder, arguments = sys.argv[1], json.loads(sys.argv[2])
    tasks = [Task(launched.wait, (folder, n), Path(folder, n + ".log")) for n in "ab"]
    for ended in launch(tasks, jobs=2, **arguments):
        print(ended)

sys.exit(exit_code(run, interrupted="that was all"))
"""


@pytest.mark.parametrize(
    ("kind", "number"),
    most_slow(
        [
            ("local", signal.SIGKILL),
            ("local", signal.SIGTERM),
            ("local", signal.SIGINT),
            ("ray", signal.SIGKILL),
            ("ray", signal.SIGTERM),
            ("submitit", signal.SIGKILL),
            ("submitit", signal.SIGINT),
            ("slurm", signal.SIGINT),
        ],
        ("local", signal.SIGTERM),
    ),
)
def test_a_signal_to_the_parent_ends_its_tasks(kind, number, options, tmp_path):
    path = f"{REPOSITORY}:{REPOSITORY / 'tests'}"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), json.dumps(options(kind))],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for name in "ab":
        wait_for(tmp_path / f"{name}.began")
    pids = [int((tmp_path / f"{name}.began").read_text()) for name in "ab"]
    os.killpg(process.pid, number)  # as a terminal does
    _, printed = process.communicate(timeout=40)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    if number == signal.SIGKILL:
        return
    assert "Traceback" not in printed
    assert all((tmp_path / f"{name}.saved").exists() for name in "ab")
    stopped = number == signal.SIGTERM
    assert process.returncode == 128 + number
    says = "error: stopped by SIGTERM" if stopped else "error: interrupted; that was all"
    assert says in printed.splitlines()[-1]


def wait_for(path):
    wait_until(lambda: path.exists() and path.read_text())


def wait_until(ready, seconds=60):
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("kind", "jobs", "options", "says"),
    [
        ("slurn", 1, {}, "unknown launcher 'slurn'; there are local, submitit, ray"),
        ("local", 0, {}, "give 1 or more"),
        ("local", 1, {"num_gpus": "1"}, "the launcher local has no option 'num_gpus'; it takes no"),
        ("ray", 1, {"gpus": "1"}, "has no option 'gpus'; it takes address, num_workers, num_cpus"),
        ("ray", 1, {"num_gpus": "one"}, "takes a number for num_gpus, not 'one'"),
        ("submitit", 1, {"timeout_min": "1.5"}, "takes a whole number for timeout_min"),
        ("submitit", 1, {"gpus_per_node": "-1"}, "takes a whole number for gpus_per_node"),
        ("submitit", 1, {"nodes": "0"}, "takes a whole number from 1 for nodes, not '0'"),
        (
            "submitit",
            1,
            {"nodes": "2", "tasks_per_node": "4"},
            "^nodes=2 tasks_per_node=4 is",
        ),
        ("ray", 1, {"num_workers": "2"}, "^num_workers=2 is for a single run"),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(kind, jobs, options, says, task):
    with pytest.raises(UserError, match=says):
        launch([task(launched.crash)], kind=kind, jobs=jobs, options=options)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("submitit", {"cluster": "chronos"}, "neither slurm nor local"),
        ("submitit", {}, "refuses the tasks: .*srun"),
        ("submitit", {"cluster": "local", "nodes": "2"}, "cluster=local is one node, not nodes=2"),
        ("submitit", {"tasks_per_node": "2", "gpus_per_node": "3"}, "=3 cannot be divided among"),
        ("ray", {"address": "127.0.0.1:1"}, "cannot reach a Ray cluster"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(kind, options, says, task):
    with pytest.raises(UserError, match=says) as caught:
        launchers.run(task(launched.crash), kind=kind, options=options)
    assert "\n" not in str(caught.value)


def test_where_ray_cannot_write_a_log_the_task_runs_all_the_same(options, tmp_path):
    log = tmp_path / "file" / "below.log"
    log.parent.write_text("")
    tasks = [Task(launched.note, (str(tmp_path), "a"), log)]
    [(_, error)] = launch(tasks, jobs=1, **options("ray"))
    assert error is None
    assert (tmp_path / "a.ended").exists()


def test_a_task_that_no_node_of_ray_has_room_for_is_warned_of(options, task, capsys):
    arguments = options("ray")
    arguments["options"]["num_cpus"] = "64"
    ended = launch([task(launched.crash)], jobs=1, **arguments)
    timer = threading.Timer(6, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(ended)
    timer.join()
    assert "no node of the Ray cluster has 64 CPU; tasks wait for more" in capsys.readouterr().err


def test_what_slurm_refuses_is_one_line(slurm, task):
    options = {"slurm_partition": "nowhere"}
    tasks = [task(launched.crash, name=name) for name in "ab"]
    with pytest.raises(UserError, match="invalid partition specified: nowhere"):
        list(launch(tasks, kind="submitit", jobs=1, options=options))


def test_slurm_is_told_what_was_asked_for(slurm, task, tmp_path, options):
    asked = {"timeout_min": "90", "cpus_per_task": "3", "slurm_setup": "echo ready"}
    tasks = [task(launched.note, str(tmp_path), name, name=name) for name in "ab"]
    assert [error for _, error in launch(tasks, kind="submitit", jobs=1, options=asked)] == [
        None,
        None,
    ]
    script = (slurm / "script").read_text()
    for line in ("--time=90", "--cpus-per-task=3", "--array=0-1%1", "\necho ready\n"):
        assert line in script


def test_a_submitted_task_that_cannot_be_loaded_there_says_why(options, task, monkeypatch):
    lost = Task(launched.crash, (launched.Lost(),), task(launched.crash).log)
    [(_, error)] = launch([lost], jobs=1, **options("submitit"))
    assert str(error) == "ValueError: lost on the way"


@pytest.mark.parametrize("kind", ["ray", "submitit"])
def test_a_launcher_that_is_not_installed_says_how_to(kind, task, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    monkeypatch.delitem(sys.modules, f"aejax.launchers.{kind}", raising=False)
    with pytest.raises(UserError, match=rf"pip install -e '\.\[{kind}\]'"):
        launch([task(launched.crash)], kind=kind, jobs=1, options={})


def test_nothing_heavy_is_imported_to_launch():
    script = (
        "import sys, aejax.launchers, aejax.launchers.local\n"
        "heavy = {'jax', 'ray', 'submitit', 'optuna', 'numpy'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_future_is_that_of_the_standard_library(task, tmp_path):
    executor = local.Executor(jobs=2, options={})
    waiting, failing = executor.submit(
        [task(launched.wait, str(tmp_path), "a"), task(launched.fail)]
    )
    with pytest.raises(TaskError, match="ValueError: a defect in two lines"):
        failing.result()
    assert failing.done()
    assert str(failing.exception()) == "ValueError: a defect in two lines"
    wait_for(tmp_path / "a.began")
    assert not waiting.done()
    waiting.cancel()
    assert str(waiting.exception()) == "saved"
    assert (tmp_path / "a.saved").exists()


def test_what_does_not_end_when_it_is_told_to_is_killed(task, tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "GRACE", 1.0)
    ended = launch(
        [task(launched.stay, str(tmp_path), "a"), task(launched.note, str(tmp_path), "fast")],
        kind="local",
        jobs=2,
        options={},
    )
    assert next(ended)[1] is None
    wait_for(tmp_path / "a.began")
    ended.close()
    assert not psutil.pid_exists(int((tmp_path / "a.began").read_text()))


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_paths_mean_what_they_mean_here(kind, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    task = Task(launched.note, ("out", "one"), Path("logs", "one.txt"))
    [(_, error)] = launch([task], jobs=1, **options(kind))
    assert error is None
    assert (tmp_path / "out" / "one.ended").exists()
    assert kind == "local" or "one prints" in (tmp_path / "logs" / "one.txt").read_text()
