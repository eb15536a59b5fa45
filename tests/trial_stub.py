"""Stands in for `python -m sr.run` as a trial of a sweep: what it does is said by its words, `x=3 fail=1`.

It reports `steps` validations, whose value sinks from 0 to `-(x - 3)²`, and leaves a run's folder with checkpoint, identity
and summary, as a run does. Its value is a sum over its steps, so that it is right only if no step is lost or done twice.
"""

import os
import resource
import signal
import sys
import time
import zipfile
from pathlib import Path

from sr.record.checkpoint_files import LAST
from sr.record.identity import FINISHED, KILLED, Identity, read_identity, write_atomic, write_identity
from sr.record.result import SUMMARY_FILE, TrainingResult
from sr.record.trial import TrialChannel


def main() -> int:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    runs, x = Path(words["paths.runs"]), float(words["x"])
    if words.get("fail") == words["x"]:
        print("noise\nerror: x: expected another number\n")
        return 2
    folder = Path(words.get("resume", "").strip('"') or runs / f"run-{os.getpid()}-{time.time_ns()}")
    folder.mkdir(parents=True, exist_ok=True)
    with (runs / "started.txt").open("a") as file:
        file.write(" ".join(sys.argv[1:]) + "\n")
    identity = read_identity(folder) or Identity()
    identity.claim()
    write_identity(folder, identity)
    channel = TrialChannel.open()
    channel.send(folder=str(folder))
    if words.get("crash") == words["x"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if words.get("memory") == words["x"]:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
        bytearray(1 << 33)
    try:
        value = train(folder, channel, x, int(words.get("steps", 2)), float(words.get("sleep", 0)))
        identity.status = FINISHED
    except KeyboardInterrupt:
        identity.status = KILLED
        return 130
    finally:
        write_identity(folder, identity)
    metrics = {"best/val/Set5/psnr": value, "best/val/Set5/lpips": -value, "best/step": 1}
    result = TrainingResult(status="FINISHED", metrics=metrics, train_seconds=abs(x))
    write_atomic(folder / SUMMARY_FILE, result.to_json())
    return 0


def train(folder: Path, channel: TrialChannel, x: float, steps: int, sleep: float) -> float:
    """Return the value after the last step; each step leaves a checkpoint."""
    done, value = 0, 0.0
    if (folder / LAST).exists():
        with zipfile.ZipFile(folder / LAST) as archive:
            words = archive.read("step").decode().split()
        done, value = int(words[0]), float(words[1])
    for step in range(done + 1, steps + 1):
        time.sleep(sleep)
        value -= (x - 3) ** 2 / steps
        with zipfile.ZipFile(folder / "part", "w") as archive:
            archive.writestr("step", f"{step} {value}")
        (folder / "part").rename(folder / LAST)
        if channel.ask(step=step, value=value):
            break
    return value


if __name__ == "__main__":
    sys.exit(main())
