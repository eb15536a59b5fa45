"""Connect to an MLflow server or database, find the one a run belongs to, and say briefly why one does not answer."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from filelock import FileLock

from sr.record.identity import Identity
from sr.track.mlflow_format import default_uri

VARIABLES = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own value, with its retries, hangs for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # of small files
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the run itself prints where its results are
}
MAX_ERROR_LENGTH = 150  # characters


def set_client_variables() -> None:
    """Set MLflow's environment variables, before it is imported, unless the user has set them."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def connect(uri: str, experiment: str, runs: Path) -> tuple[Any, str]:
    """Return a client and the ID of the experiment, which is created if it does not exist."""
    set_client_variables()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):  # after the import, which sets their levels itself
        logging.getLogger(name).setLevel(logging.WARNING)
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / ".mlflow.lock"):  # only one process at a time can create a database
        client = MlflowClient(uri)
        existing = client.get_experiment_by_name(experiment)
        if existing is not None:
            return client, existing.experiment_id
        try:
            location = (runs / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
            experiment_id = client.create_experiment(experiment, artifact_location=location)
        except MlflowException:  # another machine created it in the meantime
            return client, client.get_experiment_by_name(experiment).experiment_id
        client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
        return client, experiment_id


def resolve_address(identity: Identity | None, runs: Path) -> str:
    """Return the address of the MLflow that a run belongs to: where it began, or the database in `runs`.

    The stored address has no credentials; that of the environment is returned if it is the same but for these.
    """
    from_environment = os.environ.get("MLFLOW_TRACKING_URI", "")
    if identity is None or identity.uri is None:
        return from_environment or default_uri(runs)
    return from_environment if remove_credentials(from_environment) == identity.uri else identity.uri


def describe_error(error: Exception) -> str:
    """Return in a few words what an error says whose text may be pages long."""
    text = str(error)
    match = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)|(\d{3} error)", text)
    if match:
        return next(filter(None, match.groups()))
    return (text.splitlines() or [type(error).__name__])[0][:MAX_ERROR_LENGTH]


def remove_credentials(uri: str) -> str:
    """Return an address without user and password, as it may be stored in a file."""
    scheme, slashes, rest = uri.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"
