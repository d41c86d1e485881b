"""SLURM's commands, as far as submitit uses them, for a machine without SLURM.

The first argument is ``sbatch``, ``srun``, ``scancel`` or ``sacct``; what they know is in
``$FAKE_SLURM``.
"""

import concurrent.futures
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM"])


def sbatch(script):
    text = Path(script).read_text()
    (STATE / "script").write_text(text)
    if "partition=nowhere" in text:
        sys.exit("sbatch: error: invalid partition specified: nowhere")
    array = re.search(r"--array=0-(\d+)%(\d+)", text)
    last, parallel = map(int, array.groups()) if array else (0, 1)
    print("Submitted batch job 77", flush=True)
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        indices = range(last + 1) if array else [None]
        list(pool.map(lambda index: run(script, index), indices))


def run(script, index):
    state = STATE / ("77" if index is None else f"77_{index}")
    if state.exists():
        return
    ids = {"SLURM_JOB_ID": str(77 + (index or 0))}
    if index is not None:
        ids |= {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(index)}
    process = subprocess.Popen(["bash", script], env=os.environ | ids, start_new_session=True)
    state.write_text(f"RUNNING {process.pid}")
    code = process.wait()
    state.write_text("COMPLETED" if code == 0 else "FAILED")


def srun(*arguments):
    text = (STATE / "script").read_text()
    nodes, tasks = (
        int(match[1]) if (match := re.search(rf"--{name}=(\d+)", text)) else 1
        for name in ("nodes", "ntasks-per-node")
    )
    start = next(k for k, value in enumerate(arguments) if "python" in Path(value).name)
    template = arguments[arguments.index("--output") + 1].replace("%j", "77")
    for name, value in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID")):
        template = template.replace(name, os.environ.get(value, ""))
    count, processes = nodes * tasks, []
    signal.signal(signal.SIGTERM, lambda *_: None)  # the tasks get it themselves
    for rank in range(count):
        ids = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank % tasks, "SLURM_NODEID": rank // tasks}
        ids |= {"SLURM_NTASKS": count, "SLURM_STEP_NUM_TASKS": count}
        ids |= {"SLURM_JOB_NUM_NODES": nodes, "SLURM_STEP_NODELIST": "localhost"}
        with Path(template.replace("%t", str(rank))).open("a") as file:
            processes.append(
                subprocess.Popen(
                    arguments[start:],
                    env=os.environ | {name: str(value) for name, value in ids.items()},
                    stdout=file,
                    stderr=file,
                )
            )
    sys.exit(max(process.wait() != 0 for process in processes))


def scancel(job):
    state = STATE / job
    words = state.read_text().split() if state.exists() else ["PENDING"]
    if words[0] == "RUNNING":
        os.killpg(int(words[1]), signal.SIGTERM)
    else:
        state.write_text("CANCELLED")


def sacct(*_):
    print("JobID|State|NodeList")
    for state in STATE.glob("77*"):
        print(f"{state.name}|{state.read_text().split()[0]}|here")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
