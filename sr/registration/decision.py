"""Decide whether a new version of a model is better than the champion, as `sr.compare` decides between two runs."""

from collections.abc import Sequence
from typing import NamedTuple

from sr.comparison.pairs import add_pairs
from sr.comparison.run import ComparedRun, Group, GroupPair, Table
from sr.comparison.table import make_tables
from sr.comparison.verdict import PairResult, Verdict, correct_pairs, describe_verdict
from sr.runtime.error import UserError, suggest_nearest

EVALUATE = "evaluate both on the same sets: python -m sr.evaluate checkpoint="
NEW, OLD = "new", "champion"  # the names of the two groups


class Decision(NamedTuple):
    """The outcome of a comparison: is the new version better, and the verdict on each set in words."""

    is_better: bool
    sentences: list[str]


class SetVerdict(NamedTuple):
    """The new version against the champion on one set."""

    table: Table
    is_new_first: bool  # in the pair, whose first group is that with the better mean
    result: PairResult


def require_results(run: ComparedRun, name: str, checkpoint: str, metric: str, sets: Sequence[str] | None) -> None:
    """Raise unless a run has the metric for single images, of each of the sets or of any."""
    measured = {
        score.set: {key for values in score.per_image.values() for key in values if not key.startswith("bicubic_")}
        for score in run.scores
    }
    known = sorted({key for keys in measured.values() for key in keys})
    if known and metric not in known:
        raise UserError(
            f"monitor={metric}: expected a metric of {name} (found {', '.join(known)}).{suggest_nearest(metric, known)}"
        )
    found = [key for key, metrics in measured.items() if metric in metrics]
    missing = [key for key in sets or () if key not in found]
    if missing or not found:
        wanted = f"data.test=[{','.join(missing)}]" if missing else "data.test=[…]"
        expected = f"values of single images of {name} on {', '.join(missing) or 'a test set'}"
        raise UserError(
            f"sets={','.join(missing) or 'null'}: expected {expected} (found them of {', '.join(found) or 'no set'}); "
            f"python -m sr.evaluate checkpoint={checkpoint} {wanted} makes them"
        )


def decide(new: ComparedRun, champion: ComparedRun, metric: str, sets: Sequence[str] | None) -> Decision:
    """Return whether the new version is better on a set and worse on none, corrected by Holm for the number of sets.

    `metric` decides; `sets` None: all sets that both were tested on, under the same protocol and on the same images. It
    is a comparison of two weight files, whatever they were trained by. Raises `UserError` if there is no such set.
    """
    groups = [Group(name=NEW, runs=[new]), Group(name=OLD, runs=[champion])]
    tables = [table for table in make_tables(groups, None, [metric], []) if not sets or table.set in sets]
    verdicts = []
    for table in tables:
        add_pairs(table)
        verdicts += [_make_verdict(table, pair) for pair in table.pairs if {pair.first, pair.second} == {NEW, OLD}]
    if not verdicts:
        raise UserError(
            f"monitor={metric}: expected a set, a protocol and images that the new version and the champion were both tested "
            f"on (new: {_list_sets(new)}; champion: {_list_sets(champion)}); {EVALUATE}… data.test=[…]; or force=true"
        )
    corrected = correct_pairs([verdict.result for verdict in verdicts])
    outcomes = [
        _orient(result.verdict, verdict.is_new_first) for verdict, result in zip(verdicts, corrected, strict=True)
    ]
    sentences = [
        _describe(verdict._replace(result=result)) for verdict, result in zip(verdicts, corrected, strict=True)
    ]
    return Decision(Verdict.BETTER in outcomes and Verdict.WORSE not in outcomes, sentences)


def _make_verdict(table: Table, pair: GroupPair) -> SetVerdict:
    return SetVerdict(table, pair.first == NEW, pair.result)


def _orient(verdict: Verdict, is_new_first: bool) -> Verdict:
    """Return the verdict from the side of the new version."""
    opposite = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    return verdict if is_new_first else opposite.get(verdict, verdict)


def _describe(verdict: SetVerdict) -> str:
    """Return the verdict in words: `the new version is better by 0.11 dB …`."""
    table, measure = verdict.table, verdict.table.measures[0]
    sentence = describe_verdict(verdict.result, measure.unit, f"{table.set} ×{table.scale}", measure.digits)
    who = "the new version" if verdict.is_new_first else "the champion"
    return (
        f"{measure.title}: {who} is {sentence}"
        if verdict.result.verdict == Verdict.BETTER
        else f"{measure.title}: {sentence}"
    )


def _list_sets(run: ComparedRun) -> str:
    return ", ".join(f"{score.set} ×{score.scale} {score.protocol.get('protocol')}" for score in run.scores) or "no set"
