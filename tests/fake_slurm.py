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
    last, parallel = map(int, re.search(r"--array=0-(\d+)%(\d+)", text).groups())
    print("Submitted batch job 77", flush=True)
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        list(pool.map(lambda index: run(script, index), range(last + 1)))


def run(script, index):
    state = STATE / f"77_{index}"
    if state.exists():
        return
    ids = {"SLURM_JOB_ID": str(77 + index), "SLURM_ARRAY_JOB_ID": "77"}
    ids |= {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    process = subprocess.Popen(["bash", script], env=os.environ | ids, start_new_session=True)
    state.write_text(f"RUNNING {process.pid}")
    code = process.wait()
    state.write_text("COMPLETED" if code == 0 else "FAILED")


def srun(*arguments):
    output = Path(arguments[arguments.index("--output") + 1].replace("%t", "0"))
    for name, value in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID")):
        output = Path(str(output).replace(name, os.environ[value]))
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    start = next(k for k, value in enumerate(arguments) if "python" in Path(value).name)
    os.execv(arguments[start], arguments[start:])


def scancel(job):
    state = STATE / job
    words = state.read_text().split() if state.exists() else ["PENDING"]
    if words[0] == "RUNNING":
        os.killpg(int(words[1]), signal.SIGTERM)
    else:
        state.write_text("CANCELLED")


def sacct(*_):
    print("JobID|State|NodeList")
    for state in STATE.glob("77_*"):
        print(f"{state.name}|{state.read_text().split()[0]}|here")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
