"""MLflow's model registry: versions of named models, each with the checkpoint of a run, and aliases that point to them."""

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sr.pretrained.download import compute_sha256
from sr.record.checkpoint_files import BEST
from sr.runtime.error import UserError, suggest_nearest
from sr.runtime.terminal import format_count
from sr.track.address import describe_location
from sr.track.artifact import RunArtifacts, download_artifact
from sr.track.mlflow_format import MAX_TAG_LENGTH, sanitize_key
from sr.track.run_address import MODELS, PREFIX, ModelAddress, parse_model, record_version
from sr.track.server import open_existing
from sr.track.server_error import describe_error

CHECKPOINT = f"artifacts/{BEST}"  # in the folder of a version; MLflow's place for the files of a model
DIGEST_TAG = "sr.checkpoint_sha256"
RUNS_TAG = "sr.runs"  # IDs of the runs in MLflow that have the results of a version, separated by commas
MAX_NAMES = 5  # models or aliases that a message names


class ModelVersion(NamedTuple):
    """A version of a registered model."""

    name: str
    number: str
    tags: Mapping[str, str]
    run_id: str | None  # of MLflow

    @property
    def address(self) -> str:
        """The address that names this version and no other."""
        return f"{MODELS}{self.name}/{self.number}"

    @property
    def digest(self) -> str | None:
        """The SHA-256 of its checkpoint; None if it was not registered by sr."""
        return self.tags.get(DIGEST_TAG)

    @property
    def run_ids(self) -> list[str]:
        """The IDs of the runs that have its results."""
        listed = self.tags.get(RUNS_TAG, "").split(",")
        return list(dict.fromkeys(filter(None, [self.run_id, *listed])))


class Registry:
    """The registry of the MLflow at `uri`; `typed` is the option that its errors begin with."""

    def __init__(self, uri: str, typed: str) -> None:
        self.uri, self.typed = uri, typed
        with self._explain_failure():
            self._client = open_existing(uri)

    def find(self, address: ModelAddress) -> ModelVersion:
        """Return the version of an address; raise if there is none, with the names that there are."""
        version = (
            self.find_alias(address.name, address.alias)
            if address.alias
            else self._ask(self._client.get_model_version, address.name, address.version)
        )
        if version is not None:
            return version
        with self._explain_failure():
            raise UserError(f"{self.typed}: {self._describe_choices(address)}")

    def find_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that an alias points to; None if there is no such model or alias."""
        return self._ask(self._client.get_model_version_by_alias, name, alias)

    def find_digest(self, name: str, digest: str) -> ModelVersion | None:
        """Return the newest version whose checkpoint has this SHA-256; None if there is none."""
        with self._explain_failure():
            found = self._client.search_model_versions(f"name='{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        versions = sorted(map(_convert, found), key=lambda version: int(version.number))
        return versions[-1] if versions else None

    def add(
        self,
        name: str,
        folder: Path,
        run_id: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        description: str,
    ) -> ModelVersion:
        """Upload a model's folder (`sr.track.pyfunc`) as a new version, which is there as a whole or not at all.

        The files belong to the run's experiment, and stay when the run is deleted. Tags may be of any characters.
        """
        client = self._client
        labels = {sanitize_key(key): value[:MAX_TAG_LENGTH] for key, value in tags.items()}
        with self._explain_failure(), contextlib.ExitStack() as undo:
            experiment = client.get_run(run_id).info.experiment_id
            model = client.create_logged_model(experiment, name, run_id, labels, dict(params), "super-resolution")
            undo.callback(self._delete_model, model.model_id)
            client.log_model_artifacts(model.model_id, str(folder))
            client.finalize_logged_model(model.model_id, "READY")
            self._create_name(name)
            version = client.create_model_version(
                name, model.artifact_location, run_id, labels, description=description, model_id=model.model_id
            )
            undo.pop_all()
        return _convert(version)

    def set_alias(self, version: ModelVersion, alias: str) -> None:
        """Let an alias point to a version, and to no other one any more."""
        with self._explain_failure():
            self._client.set_registered_model_alias(version.name, alias, version.number)

    def set_tag(self, version: ModelVersion, key: str, value: str) -> None:
        """Set a tag of a version."""
        with self._explain_failure():
            self._client.set_model_version_tag(version.name, version.number, key, value)

    def download_checkpoint(self, version: ModelVersion, folder: Path) -> Path:
        """Download the checkpoint of a version to `folder`, and return its path."""
        with self._explain_failure():
            location = self._client.get_model_version_download_uri(version.name, version.number)
            artifacts = RunArtifacts(location, self.uri)
            if CHECKPOINT not in {file.path for file in artifacts.list_artifacts("", "artifacts")}:
                raise UserError(
                    f"version {version.number} of {version.name} has no {CHECKPOINT}: expected one that python -m sr.register "
                    f"has written at {describe_location(self.uri)}"
                )
            path = download_artifact(artifacts, version.run_id or version.address, CHECKPOINT, folder)
        if version.digest not in (None, compute_sha256(path)):
            raise UserError(
                f"{self.typed}: expected the {BEST} that was registered (found another one, or a damaged copy, in {location}); "
                "register the run again"
            )
        return path

    def _create_name(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _delete_model(self, model_id: str) -> None:
        """Remove what was uploaded of a version that could not be created, as far as MLflow answers."""
        with contextlib.suppress(Exception):
            self._client.delete_logged_model(model_id)

    def _ask(self, question: Any, name: str, which: str | None) -> ModelVersion | None:
        """Return the answer of MLflow; None if there is no such version."""
        from mlflow.exceptions import MlflowException

        with self._explain_failure():
            try:
                return _convert(question(name, which))
            except MlflowException as error:
                is_missing = error.error_code == "RESOURCE_DOES_NOT_EXIST" or "alias" in str(error)
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and is_missing:
                    return None
                raise

    def _describe_choices(self, address: ModelAddress) -> str:
        """Return what was expected instead of an address that names nothing."""
        models = {model.name: model for model in self._client.search_registered_models()}
        place = describe_location(self.uri)
        if address.name not in models:
            found = ", ".join(sorted(models)[:MAX_NAMES]) or "none"
            hint = suggest_nearest(address.name, models)
            return f"expected a registered model of {place} (found {found}).{hint}"
        aliases = sorted(self._client.get_registered_model(address.name).aliases)
        versions = len(self._client.search_model_versions(f"name='{address.name}'"))
        found = f"{format_count(versions, 'version')}, and the aliases {', '.join(aliases[:MAX_NAMES]) or 'none'}"
        return f"expected a version or an alias of {address.name} at {place} (found {found})"

    @contextlib.contextmanager
    def _explain_failure(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            raise UserError(str(error) if str(error).startswith(self.typed) else f"{self.typed}: {error}") from None
        except Exception as error:  # whatever MLflow raises
            place = describe_location(self.uri)
            raise UserError(f"{self.typed}: MLflow at {place} does not do it ({describe_error(error)})") from None


def fetch_checkpoint(word: str, uri: str, option: str) -> Path:
    """Return a copy of the checkpoint of `models:/…` at the MLflow `uri`; it is removed when the process ends."""
    registry = Registry(uri, f"{option}={word}")
    version = registry.find(parse_model(word, option))
    record_version(word, version.address)
    folder = Path(tempfile.mkdtemp(prefix="sr-checkpoint-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return registry.download_checkpoint(version, folder)


def list_run_words(word: str, uri: str, option: str) -> list[str]:
    """Return `mlflow:RUN_ID` for each run that has results of the version `models:/…`; any other word as it is."""
    address = parse_model(word, option)
    if address is None:
        return [word]
    version = Registry(uri, f"{option}={word}").find(address)
    if not version.run_ids:
        raise UserError(f"{option}={word}: expected a version of a run (found one without); name a run")
    return [f"{PREFIX}{run_id}" for run_id in version.run_ids]


def _convert(version: Any) -> ModelVersion:
    return ModelVersion(version.name, str(version.version), dict(version.tags), version.run_id or None)
