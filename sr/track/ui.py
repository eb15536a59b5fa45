"""`python -m sr.track.ui`: MLflow's page of the runs of this machine, as `make ui` opens it."""

import os
import subprocess
import sys
from pathlib import Path

from sr.track.address import is_server, remove_credentials, resolve_address

BACKEND = "MLFLOW_BACKEND_STORE_URI"  # read by `mlflow ui`; on its command line, anybody could read a password
# MLflow's server starts eight more processes for jobs of its evaluation of language models, which runs of sr do not have.
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def main() -> None:
    """Serve the database of `SR_RUNS`, or of MLFLOW_TRACKING_URI; a server has a page itself, whose address is printed."""
    uri = resolve_address(None, Path(os.environ.get("SR_RUNS") or "runs").resolve())
    if is_server(uri):
        print(f"MLflow shows the runs on its own page: {remove_credentials(uri)}")
        return
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", *sys.argv[1:]]
    subprocess.run(command, env={**NO_JOBS, **os.environ, BACKEND: uri}, check=False)


if __name__ == "__main__":
    main()
