"""Group runs that differ in the seed alone, and name each group by the options in which it differs from the others."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from sr.comparison.read import is_trained
from sr.comparison.run import ComparedRun, Group

MISSING = "–"  # the value of an option that a run does not have
LONG_NUMBER = re.compile(r"-?\d+\.\d{5,}(e[+-]?\d+)?|-?\d\.\d{4,}e[+-]?\d+")  # that a search has chosen
SWITCHES = {"True": "true", "False": "false"}  # as they are typed
MAX_VALUE_LENGTH = 24  # characters
NAMES_ALONE = ("model", "model.net", "model.loss", "model.adversarial")  # groups whose choice says what it is
NOT_NAMED = ("scale", "color", "data.digest")  # options that no name shows unless nothing else differs
NAMED_ALWAYS = ("model.net", "model.loss")  # that name a group if no option differs


def group_runs(runs: Sequence[ComparedRun]) -> tuple[list[Group], list[str], list[str]]:
    """Return the groups, the options that differ between them, and notes about runs that do not count.

    Of two runs with the same options and the same seed the later one counts: they are no two samples.
    """
    by_method: dict[tuple, list[ComparedRun]] = defaultdict(list)
    for run in runs:
        by_method[tuple(sorted(run.options.items()))].append(run)
    notes, members = [], []
    for same in by_method.values():
        chosen: dict[int | None, ComparedRun] = {}
        for run in sorted(same, key=lambda run: run.name):
            if run.seed in chosen:
                notes.append(
                    f"{chosen[run.seed].name} and {run.name} have the same options and seed={run.seed}: no two samples, "
                    f"so only the later one counts"
                )
            chosen[run.seed] = run
        members.append([chosen[seed] for seed in sorted(chosen, key=lambda seed: (seed is None, seed))])
    trained = [group for group in members if is_trained(group[0])]
    options = find_differing_options([group[0].options for group in trained], _list_choice_keys(runs))
    groups = [_make_group(group, options if group in trained else []) for group in members]
    _make_names_unique(groups)
    return groups, options, notes


def find_differing_options(methods: Sequence[dict[str, str]], choice_keys: Iterable[str]) -> list[str]:
    """Return the options that differ between methods.

    One that follows from the choice of a group is left out: `model.net.width` if it differs only between nets.
    """
    keys = list(dict.fromkeys([*NAMES_ALONE, *(key for method in methods for key in method)]))
    differing = [key for key in keys if len({method.get(key) for method in methods}) > 1]
    parents = {key for key in choice_keys if key in differing}
    return [key for key in differing if _differs_within_choice(key, methods, parents)]


def _differs_within_choice(key: str, methods: Sequence[dict[str, str]], parents: set[str]) -> bool:
    """Return whether an option differs between methods that made the same choice for the groups it lies in."""
    above = [parent for parent in parents if key.startswith(f"{parent}.")]
    values: dict[tuple, set[str | None]] = defaultdict(set)
    for method in methods:
        values[tuple(method.get(parent) for parent in above)].add(method.get(key))
    return any(len(found) > 1 for found in values.values())


def _list_choice_keys(runs: Sequence[ComparedRun]) -> list[str]:
    """Return the options that hold a choice: those of config groups, and of parts that are chosen by name."""
    keys = {key for run in runs for key in run.choices}
    combined = {
        key for run in runs for key in run.options if f"{key}.{run.options[key].partition('+')[0]}" in run.options
    }
    return sorted(keys | combined)


def _make_group(runs: list[ComparedRun], options: Sequence[str]) -> Group:
    first = runs[0]
    differing = {key: first.options.get(key, MISSING) for key in options}
    return Group(name=_format_name(first, differing), runs=runs, differing=differing)


def _format_name(run: ComparedRun, differing: dict[str, str]) -> str:
    """Return a short name: the net, the loss, and `width=48` for each other option that differs."""
    if not is_trained(run):
        return run.net or run.name
    named = {key: value for key, value in differing.items() if key not in NOT_NAMED and value != MISSING}
    named = named or {key: run.options[key] for key in NAMED_ALWAYS if key in run.options}
    alone = [key for key in NAMES_ALONE if key in named]
    ends = Counter(key.rpartition(".")[2] for key in named)
    words = [_shorten(named[key]) for key in alone]
    for key, value in named.items():
        if key not in alone:
            last = key.rpartition(".")[2] if ends[key.rpartition(".")[2]] == 1 else ".".join(key.split(".")[-2:])
            words.append(f"{last}={_shorten(value)}")
    return " ".join(words) or run.name


def _shorten(value: str) -> str:
    """Return a value without the folders of a path, a number with four digits, in `MAX_VALUE_LENGTH` characters at most."""
    if LONG_NUMBER.fullmatch(value):
        return f"{float(value):.4g}"
    value = PurePath(value).name if value.startswith(("/", "~")) else SWITCHES.get(value, value)
    return value if len(value) <= MAX_VALUE_LENGTH else f"{value[: MAX_VALUE_LENGTH - 1]}…"


def _make_names_unique(groups: Sequence[Group]) -> None:
    """Add to equal names the scale, and if that is equal too, a number."""
    for add in (lambda group, _: f"×{group.runs[0].options.get('scale')}", lambda _, number: f"({number})"):
        counts = Counter(group.name for group in groups)
        numbers: Counter[str] = Counter()
        for group in groups:
            if counts[group.name] > 1:
                numbers[group.name] += 1
                group.name = f"{group.name} {add(group, numbers[group.name])}"
