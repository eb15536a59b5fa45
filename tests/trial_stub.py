"""Stands in for `python -m sr.run` as a trial of a sweep: what it does is said by its words, `x=3 fail=1`.

It reports `steps` validations of the value `-(x - 3)²·step / steps` and leaves a run's folder with its summary, as a run does.
"""

import os
import signal
import sys
import time
from pathlib import Path

from sr.record.identity import write_atomic
from sr.record.result import SUMMARY_FILE, TrainingResult
from sr.record.trial import TrialChannel


def main() -> int:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    runs, x, steps = Path(words["paths.runs"]), float(words["x"]), int(words.get("steps", 2))
    if words.get("fail") == words["x"]:
        print("noise\nerror: x: expected another number\n")
        return 2
    folder = Path(words.get("resume", "").strip('"') or runs / f"run-{os.getpid()}")
    folder.mkdir(parents=True, exist_ok=True)
    with (runs / "started.txt").open("a") as file:
        file.write(" ".join(sys.argv[1:]) + "\n")
    channel = TrialChannel.open()
    channel.send(folder=str(folder))
    if words.get("crash") == words["x"]:
        os.kill(os.getpid(), signal.SIGKILL)
    value = 0.0
    for step in range(1, steps + 1):
        time.sleep(float(words.get("sleep", 0)))
        value = -((x - 3) ** 2) * step / steps
        if channel.ask(step=step, value=value):
            break
    metrics = {"best/val/Set5/psnr": value, "best/val/Set5/lpips": -value, "best/step": steps}
    result = TrainingResult(status="FINISHED", metrics=metrics, train_seconds=abs(x))
    write_atomic(folder / SUMMARY_FILE, result.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
