"""The implementation of `sr.register`: a new version of a registered model, and the alias of the best one."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sr.comparison.collect import RunCollector
from sr.comparison.run import ComparedRun
from sr.record.identity import read_identity
from sr.registration.candidate import Candidate, find_source, find_weights, read_candidate, read_version
from sr.registration.decision import Decision, decide, require_results
from sr.registration.description import describe_version, list_params, list_tags
from sr.runtime.error import UserError
from sr.track.address import check_uri, describe_location, is_server, remove_credentials, resolve_address
from sr.track.registry import DIGEST_TAG, RUNS_TAG, ModelVersion, Registry

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
RESERVED_ALIAS = re.compile(r"v\d+|latest", re.IGNORECASE)


class Move(NamedTuple):
    """The decision about the alias, and its reason."""

    is_due: bool
    reason: str
    sentences: list[str] = []  # noqa: RUF012  the verdicts; never changed in place


def register_run(config: Mapping[str, Any]) -> None:
    """Register the checkpoint of `config.run` as a version of `config.name`, and let the alias point to it if it is better.

    A checkpoint that is a version already is not registered again. Whatever can go wrong with the results is found before
    something is written.
    """
    check_names(config["name"], config["alias"])
    word, runs = str(config["run"]), Path(config["paths"]["runs"]).expanduser().resolve()
    if config["uri"]:
        check_uri(config["uri"])
    source = find_source(word, runs)
    uri = config["uri"] or resolve_address(read_identity(source.folder) if source.folder else None, runs)
    with tempfile.TemporaryDirectory(prefix="sr-register-") as temporary:
        candidate = read_candidate(RunCollector(runs, uri, Path(temporary) / "new"), word, source)
        if not config["force"]:
            checkpoint = candidate.run.checkpoint or word
            require_results(candidate.run, f"run={word}", checkpoint, config["monitor"], config["sets"])
        registry = Registry(uri, f"name={config['name']}")  # only now there is a database: the run was sent to it
        champion = registry.find_alias(config["name"], config["alias"])
        collector = RunCollector(runs, uri, Path(temporary) / "champion")
        move = choose_move(config, candidate.run, champion, collector)
        version = _find_or_add(config, registry, candidate, word, Path(temporary))
    if move.is_due:
        registry.set_alias(version, config["alias"])
    _report(config, version, champion, move, uri)


def check_names(name: str, alias: str) -> None:
    """Raise unless MLflow and its addresses take the names of the model and of the alias."""
    expected = "expected letters, digits, _ and -, the first a letter or a digit"
    for option, value in (("name", name), ("alias", alias)):
        if not NAME.fullmatch(value):
            raise UserError(f"{option}={value}: {expected} (found {value!r})")
    if RESERVED_ALIAS.fullmatch(alias):
        raise UserError(f"alias={alias}: expected a name that MLflow does not reserve, as v1 and latest; try champion")


def choose_move(
    config: Mapping[str, Any], run: ComparedRun, champion: ModelVersion | None, collector: RunCollector
) -> Move:
    """Return whether the alias moves: to the first version, to a better one, or if the user says so."""
    if champion is None:
        return Move(True, "it is the first")
    if champion.digest is not None and champion.digest == run.checkpoint_sha256:
        return Move(False, "it has these weights already")
    if config["force"]:
        return Move(True, "force=true")
    address, metric, sets = f"models:/{config['name']}@{config['alias']}", config["monitor"], config["sets"]
    old = read_version(collector, champion.run_ids, champion.digest)
    if old is None:
        raise UserError(
            f"name={config['name']}: expected results of version {champion.number}, the {config['alias']} (found none at "
            f"{describe_location(collector.uri)}); python -m sr.evaluate checkpoint={address} data.test=[…] makes them, or "
            "force=true does without"
        )
    require_results(old, f"the {config['alias']}, version {champion.number}", address, metric, sets)
    decision: Decision = decide(run, old, metric, sets)
    return Move(decision.is_better, "it is better" if decision.is_better else "it is not better", decision.sentences)


def _find_or_add(
    config: Mapping[str, Any], registry: Registry, candidate: Candidate, word: str, temporary: Path
) -> ModelVersion:
    """Return the version of these weights, with all runs that have results of them; register it if there is none."""
    run, run_ids = candidate
    path = find_weights(candidate, word, registry.uri)
    known = registry.find_digest(config["name"], run.checkpoint_sha256) if run.checkpoint_sha256 else None
    if known is not None:
        run_ids = list(dict.fromkeys([*known.run_ids, *run_ids]))
        registry.set_tag(known, RUNS_TAG, ",".join(run_ids))
        print(f"version     {known.number} of {known.name} has these weights already: no other one is made")
        return known
    from sr.checkpoint.load import load_checkpoint, rename_option  # these import torch and MLflow
    from sr.registration.example import draw_example
    from sr.registration.upscaler import CODE
    from sr.track.pyfunc import write_model

    with rename_option("run", word, path):
        model = load_checkpoint(path, trust=config["trust"])
    print("writing the model, and upscaling its example …", flush=True)
    write_model(temporary / "model", CODE, path, draw_example(model))
    tags = list_tags(run, model, config["license"]) | {DIGEST_TAG: model.sha256, RUNS_TAG: ",".join(run_ids)}
    print(f"sending it ({path.stat().st_size / 1e6:.1f} MB) …", flush=True)
    return registry.add(
        config["name"], temporary / "model", run_ids[0], tags, list_params(model), describe_version(run, model)
    )


def _report(
    config: Mapping[str, Any], version: ModelVersion, champion: ModelVersion | None, move: Move, uri: str
) -> None:
    """Print what was registered, and where the alias points."""
    print(f"registered  {version.address}")
    for sentence in move.sentences:
        print(f"compared    {sentence}")
    if move.is_due:
        before = f"moved from version {champion.number} to" if champion else "points to"
        print(f"{config['alias']:<11} {before} version {version.number}: {move.reason}")
    else:
        print(
            f"{config['alias']:<11} stays version {champion.number}: {_explain_stay(config, version, champion, move)}"
        )
    place = remove_credentials(uri).rstrip("/")
    page = f"{place}/#/models/{version.name}/versions/{version.number}" if is_server(uri) else describe_location(uri)
    print(f"MLflow      {page}")


def _explain_stay(config: Mapping[str, Any], version: ModelVersion, champion: ModelVersion, move: Move) -> str:
    if version.number == champion.number:
        return move.reason
    return f"version {version.number} is not better by monitor={config['monitor']}; force=true moves it all the same"
