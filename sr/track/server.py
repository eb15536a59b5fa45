"""Where an MLflow is, a client of it, and what it says when it does not answer."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from filelock import FileLock

from sr.record.identity import Identity

VARIABLES = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; its own, with its retries, hang for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the run says itself where it is
}


def connect(uri: str, experiment: str, runs: Path) -> tuple[Any, str]:
    """A client, and the id of the experiment, which is made where it is not there."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for noisy in ("mlflow", "alembic"):  # after the import, which sets them itself
        logging.getLogger(noisy).setLevel(logging.WARNING)
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / ".mlflow.lock"):  # a fresh database's migrations bear one process only
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None:
            return client, found.experiment_id
        try:
            place = (runs / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
            made = client.create_experiment(experiment, artifact_location=place)
        except MlflowException:  # another machine was faster
            return client, client.get_experiment_by_name(experiment).experiment_id
        client.set_experiment_tag(made, "mlflow.experimentKind", "custom_model_development")
        return client, made


def resolve_address(known: Identity | None, runs: Path) -> str:
    """Where a run belongs: where it began, or the database beside it. What is kept of an address has no password; the
    environment may have it."""
    there = os.environ.get("MLFLOW_TRACKING_URI", "")
    if known is None or known.uri is None:
        return there or f"sqlite:///{runs / 'mlflow.db'}"
    return there if plain(there) == known.uri else known.uri


def describe_error(error: Exception) -> str:
    """What is wrong, in few words, of an error whose text may be pages long."""
    text = str(error)
    found = re.search(r"\[Errno -?\d+\] ([\w ]+)|(timed out)|(\d{3} error)", text)
    return next(filter(None, found.groups())) if found else (text.splitlines() or [type(error).__name__])[0][:150]


def plain(uri: str) -> str:
    """Without a password: it is written down."""
    scheme, slashes, rest = uri.partition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"
