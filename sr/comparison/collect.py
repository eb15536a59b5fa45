"""Collect the runs to compare: find, read, and join what belongs to one trained net."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sr.comparison.read import UNKNOWN_TRAINING, WEIGHTS, is_trained, read_evaluation_file, read_run
from sr.comparison.run import ComparedRun, SetScore, Skipped
from sr.comparison.source import RunFinder, Source
from sr.record.identity import read_identity
from sr.record.result import EVALUATION_FILE, PER_IMAGE_FILE, SUMMARY_FILE
from sr.record.run_folder import CHOICES_FILE, CONFIG_FILE
from sr.runtime.error import UserError
from sr.track.found_run import FoundRun, download_runs, search_runs
from sr.track.registry import list_run_words

DOWNLOADED = (SUMMARY_FILE, EVALUATION_FILE, PER_IMAGE_FILE, CONFIG_FILE, CHOICES_FILE, "data.json", "environment.yaml")
TESTED = ("run", "evaluate", "")  # commands whose runs have results; of a very old run the command is not known


class RunCollector:
    """Collects runs from `paths.runs`, other folders, and the MLflow at `uri`; `temporary` is for downloads."""

    def __init__(self, runs: Path, uri: str, temporary: Path) -> None:
        self.finder, self.uri, self.temporary = RunFinder(runs), uri, temporary
        self.skipped: list[Skipped] = []
        self.found: dict[str, FoundRun] = {}  # in MLflow, by ID

    def collect(self, words: Sequence[str], condition: str | None = None) -> list[ComparedRun]:
        """Return the runs with results that the words name, or of these the ones that meet a condition of MLflow.

        Without words, all runs that meet it. Runs that cannot be compared are in `skipped`, with the reasons.
        """
        sources = self.finder.find([name for word in words for name in list_run_words(str(word), self.uri, "runs")])
        experiments = list(dict.fromkeys(self.finder.experiments))
        if condition is not None and (sources or not experiments):
            found = self._search([], condition)
            sources = self._select_found(sources, found, condition) if sources else [*map(self._locate, found)]
        if experiments:
            sources += map(self._locate, self._search(experiments, condition))
        self.skipped += [run for run in self.finder.skipped if run not in self.skipped]
        return self._read(list(dict.fromkeys(sources)))

    def find_reference(self, word: str) -> Source:
        """Return the one run that `reference=word` names."""
        found = RunFinder(self.finder.runs).find(list_run_words(word, self.uri, "reference")[:1])
        if len(found) != 1:
            raise UserError(f"reference={word}: expected one run, or the name of a group (found {len(found)} runs)")
        return found[0]

    def _search(self, experiments: Sequence[str], condition: str | None) -> list[FoundRun]:
        found = search_runs(self.uri, experiments, condition)
        self.found |= {run.run_id: run for run in found}
        return found

    def _select_found(self, sources: list[Source], found: list[FoundRun], condition: str) -> list[Source]:
        """Return the sources that MLflow has found."""
        ids, folders = {run.run_id for run in found}, {run.folder for run in found}
        matching = []
        for source in sources:
            identity = read_identity(source.folder) if source.folder else None
            is_found = source.run_id in ids or source.folder in folders or (identity and identity.run_id in ids)
            matching += [source] if is_found else []
        if not matching:
            raise UserError(
                f"filter={condition}: expected a condition that some of the runs of runs= meet (found 0 of {len(sources)})"
            )
        return matching

    def _locate(self, run: FoundRun) -> Source:
        """Return the folder of a run of MLflow if it is on this machine, also where `paths.runs` was moved to."""
        moved = self.finder.runs / run.folder.name if run.folder else None
        for folder in (run.folder, moved):
            identity = read_identity(folder) if folder else None
            if identity is not None and identity.run_id == run.run_id:
                return Source(folder=folder.resolve())
        return Source(run_id=run.run_id)

    def _read(self, sources: list[Source]) -> list[ComparedRun]:
        read = [self._read_source(source) for source in sources if source.run_id is None]
        remote = [source.run_id for source in sources if source.run_id is not None]
        for run_id, downloaded in download_runs(self.uri, remote, self.temporary, DOWNLOADED, self.found).items():
            if isinstance(downloaded, UserError):
                self.skipped.append(Skipped(f"mlflow:{run_id}", str(downloaded)))
            elif run := self._read_source(Source(folder=downloaded.folder)):
                run.id, run.run_id, run.name, run.status = (
                    f"mlflow:{run_id}",
                    run_id,
                    downloaded.name,
                    downloaded.status,
                )
                run.is_downloaded = True
                read.append(run)
        joined = join_results([run for run in read if run is not None])
        self.skipped += [Skipped(run.name, "; ".join(run.notes) or "no results") for run in joined if not run.scores]
        return [run for run in joined if run.scores]

    def _read_source(self, source: Source) -> ComparedRun | None:
        identity = read_identity(source.folder) if source.folder else None
        if identity is not None and identity.command not in TESTED:  # a comparison, or the summary of a sweep
            return None
        run = read_run(source.folder) if source.folder else read_evaluation_file(source.file)
        if isinstance(run, Skipped):
            self.skipped += [run] if run not in self.skipped else []
            return None
        return run


def has_source(run: ComparedRun, source: Source) -> bool:
    """Return whether a source is a run, its training, or one of its evaluations."""
    if source.run_id is not None:
        return run.run_id == source.run_id
    folders = {folder.resolve() for folder in (run.folder, *(score.folder for score in run.scores)) if folder}
    return source.folder in folders if source.folder else run.id == str(source.file)


def join_results(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Join the results of one trained net: those of its training, and those of each evaluation of its checkpoint.

    Of two results on the same images under the same protocol the later one counts, with a note if they differ.
    """
    _find_trainings(runs)
    joined: dict[tuple, ComparedRun] = {}
    for run in sorted(runs, key=_get_order):
        has_nothing = not run.scores and run.checkpoint_sha256 is None  # each is listed with its own reason
        key = (tuple(sorted(run.options.items())), run.seed, run.checkpoint_sha256, id(run) * has_nothing)
        if key not in joined:
            joined[key] = run
        else:
            _join(joined[key], run)
    order = {id(run): k for k, run in enumerate(runs)}
    return sorted(joined.values(), key=lambda run: order[id(run)])


def _find_trainings(runs: Sequence[ComparedRun]) -> None:
    """Give evaluations of a checkpoint that was copied elsewhere the options and the seed of the run that trained it."""
    trained = {run.checkpoint_sha256: run for run in runs if is_trained(run) and run.checkpoint_sha256}
    for run in runs:
        training = trained.get(run.checkpoint_sha256)
        if training is not None and not is_trained(run):
            own = {key: value for key, value in run.options.items() if key not in ("model.net", WEIGHTS)}
            run.options = training.options | {key: value for key, value in own.items() if key != "checkpoint"}
            run.config, run.choices, run.seed, run.folder = (
                training.config,
                training.choices,
                training.seed,
                training.folder,
            )
            run.notes = [note for note in run.notes if note != UNKNOWN_TRAINING]


def _get_order(run: ComparedRun) -> tuple[bool, str]:
    """Return a key that sorts trainings before evaluations, and each by time, with which the names of folders begin."""
    return any(score.folder != run.folder for score in run.scores), run.name


def _join(run: ComparedRun, later: ComparedRun) -> None:
    """Add the results of a later evaluation to those of a run."""
    if later.scores and not run.scores:
        run.notes.clear()  # about the results that it did not have
    for score in later.scores:
        same = next((one for one in run.scores if _is_of_same_images(one, score)), None)
        if same is not None:
            run.scores.remove(same)
            score.profile = score.profile or same.profile
            run.notes += _describe_change(later.name, same, score)
        run.scores.append(score)
    run.net = later.net or run.net
    run.parameters = later.parameters if later.parameters is not None else run.parameters
    run.multiply_adds = later.multiply_adds if later.multiply_adds is not None else run.multiply_adds
    run.ntire_score = later.ntire_score if later.ntire_score is not None else run.ntire_score
    run.notes += [note for note in later.notes if later.scores and note not in run.notes]


def _is_of_same_images(one: SetScore, other: SetScore) -> bool:
    return (one.set, one.protocol, one.files) == (other.set, other.protocol, other.files)


def _describe_change(name: str, before: SetScore, after: SetScore) -> Iterator[str]:
    """Yield a note if two evaluations of one checkpoint differ in their first metric by more than rounding."""
    for metric in list(after.means)[:1]:
        values = [score.means.get(metric) for score in (before, after)]
        if None not in values and abs(values[0] - values[1]) > 0.005:
            yield f"{after.set}: {metric} {values[0]:.3f} before, {values[1]:.3f} in {name}, which counts"
