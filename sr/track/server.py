"""Connect to an MLflow server or database."""

import logging
import os
import shlex
from pathlib import Path
from typing import Any

from filelock import FileLock

from sr.runtime.error import UserError
from sr.track.address import find_database, is_server, remove_credentials

VARIABLES = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; MLflow's own value, with its retries, hangs for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "PGCONNECT_TIMEOUT": "10",  # seconds
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the run itself prints where its results are
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH": "20000",  # characters; a path in Chinese has nine of them for each of its own
}


def set_client_variables() -> None:
    """Set MLflow's environment variables, before it is imported, unless the user has set them."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def import_mlflow(with_database: bool = False) -> Any:
    """Import MLflow, which takes one second, `with_database` two, and return the class of its clients."""
    set_client_variables()
    from mlflow import MlflowClient

    if with_database:  # otherwise a client imports it with its first question
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    for name in ("mlflow", "alembic"):  # after the import, which sets their levels itself
        logging.getLogger(name).setLevel(logging.CRITICAL)  # of an error that is raised it logs the traceback as well
    return MlflowClient


def open_client(uri: str) -> Any:
    """Return a client of the MLflow at `uri`. Nothing is asked yet of a server; a database is opened, to see if it can be.

    Raises what SQLAlchemy raises: MLflow itself would try for 100 seconds.
    """
    client_class = import_mlflow()
    if not is_server(uri):
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    return client_class(uri)


def open_existing(uri: str) -> Any:
    """Return a client as `open_client` does; raise if it is a local database that does not exist, which it would create."""
    database = find_database(uri)
    if database and not database.exists():
        raise UserError(f"there is no database {database}")
    return open_client(uri)


def connect(uri: str, experiment: str, runs: Path) -> tuple[Any, str]:
    """Return a client and the ID of the experiment, which is created if it does not exist."""
    runs.mkdir(parents=True, exist_ok=True)
    with FileLock(runs / ".mlflow.lock"):  # only one process at a time can create a database
        client = open_client(uri)
        found = client.get_experiment_by_name(experiment) or _create_experiment(client, uri, experiment, runs)
    if found.lifecycle_stage != "active":
        raise UserError(
            f"the experiment {experiment!r} was deleted there; choose another track.experiment for the next run, and for this "
            f"one restore it: MLFLOW_TRACKING_URI={shlex.quote(remove_credentials(uri))} python -m mlflow experiments restore "
            f"--experiment-id {found.experiment_id}"
        )
    return client, found.experiment_id


def _create_experiment(client: Any, uri: str, name: str, runs: Path) -> Any:
    """Create an experiment whose files lie in `runs` unless there is a server, which has a place for them."""
    from mlflow.exceptions import MlflowException

    location = None if is_server(uri) else (runs / "mlartifacts").as_uri()
    try:
        experiment_id = client.create_experiment(name, artifact_location=location)
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:  # else another machine has created it
            raise
        return found
    client.set_experiment_tag(experiment_id, "mlflow.experimentKind", "custom_model_development")
    return client.get_experiment(experiment_id)
