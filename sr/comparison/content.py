"""Sort results by what may be compared: the same set, protocol, scale and degradation, and images of the same content."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sr.comparison.run import ComparedRun, Group, SetScore

MAX_NAMES = 5  # images that a note names
MAX_BICUBIC_DIFFERENCE = 0.01  # dB, of one image between two runs whose images are known to be equal by nothing else
BICUBIC_KEY = "bicubic_psnr"


class Result(NamedTuple):
    """The result of one run of a group on one set."""

    group: Group
    run: ComparedRun
    score: SetScore


@dataclass
class Comparable:
    """Results that stand in one table. `images` are those that all of them have."""

    results: list[Result] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    differs: list[str] = field(default_factory=list)  # why it is not in the first table of this set and protocol
    _files: dict[str, tuple[str, str]] = field(default_factory=dict)  # digest by name, and the first run that has it
    _bicubic: dict[str, tuple[float, str]] = field(default_factory=dict)  # the same of the values of bicubic

    def add(self, result: Result) -> None:
        """Add a result for which `find_conflict` found none."""
        images = set(result.score.per_image)
        self.images = self.images & images if self.results else images
        self.results.append(result)
        for name, digest in result.score.files.items():
            self._files.setdefault(name, (digest, result.run.name))
        for name, value in _list_bicubic(result.score):
            self._bicubic.setdefault(name, (value, result.run.name))

    def find_conflict(self, result: Result) -> str | None:
        """Return why a result cannot stand with these; None if it can."""
        if bool(result.score.per_image) != bool(self.images):
            return "only its means are known, and not over which images"
        changed = self._find_changed(result.score)
        if changed:
            verb = "differs" if len(changed) == 1 else "differ"
            other = next(iter(changed.values()))
            return f"{name_images([*changed])} {verb} in content between {other} and {result.run.name}"
        shared = self.images & set(result.score.per_image)
        if self.images and 2 * len(shared) < len(self.images):
            return f"{result.run.name} has only {len(shared)} of the {len(self.images)} images"
        return None

    def _find_changed(self, score: SetScore) -> dict[str, str]:
        """Return the images whose content differs, each with the name of a run that has the other one.

        It is that of the files if it is known; without data.json the values of bicubic interpolation betray another image.
        """
        if score.files and self._files:
            known = ((name, digest, self._files[name]) for name, digest in score.files.items() if name in self._files)
            return {name: run for name, digest, (other, run) in known if digest != other}
        values = ((name, value, self._bicubic[name]) for name, value in _list_bicubic(score) if name in self._bicubic)
        return {name: run for name, value, (other, run) in values if abs(value - other) > MAX_BICUBIC_DIFFERENCE}

    @property
    def all_images(self) -> list[str]:
        """The images that any result has, in the order of the first."""
        return list(dict.fromkeys(name for result in self.results for name in result.score.per_image))

    def describe_missing(self) -> Iterator[str]:
        """Yield which images each run lacks, and what follows."""
        names = self.all_images
        for result in self.results:
            missing = [name for name in names if name not in result.score.per_image]
            if missing:
                yield (
                    f"{name_images(missing)} {'is' if len(missing) == 1 else 'are'} missing in {result.run.name}: all values "
                    f"are means over the {len(self.images)} of {len(names)} images that every run has"
                )


def sort_results(groups: Iterable[Group]) -> list[list[Comparable]]:
    """Return the results of each set under each protocol, in one `Comparable` for each content of the images."""
    buckets: dict[tuple, list[Result]] = {}
    for group in groups:
        for run in group.runs:
            for score in run.scores:
                key = (score.set, score.scale, tuple(sorted((k, str(v)) for k, v in score.protocol.items())))
                buckets.setdefault(key, []).append(Result(group, run, score))
    sets = list(dict.fromkeys(name for name, *_ in buckets))
    ordered = sorted(buckets, key=lambda key: (sets.index(key[0]), key[1]))
    return [_sort_by_content(buckets[key]) for key in ordered]


def _sort_by_content(results: list[Result]) -> list[Comparable]:
    """Put each result with the first ones whose images are the same; those with most images come first."""
    found: list[Comparable] = []
    for result in sorted(results, key=lambda one: -len(one.score.per_image)):
        conflicts = []
        for comparable in found:
            conflict = comparable.find_conflict(result)
            if conflict is None:
                comparable.add(result)
                break
            conflicts.append(conflict)
        else:
            found.append(Comparable(differs=conflicts[:1]))
            found[-1].add(result)
    order = {id(result.score): k for k, result in enumerate(results)}
    for comparable in found:
        comparable.results.sort(key=lambda one: order[id(one.score)])
    return found


def _list_bicubic(score: SetScore) -> Iterator[tuple[str, float]]:
    """Yield the finite values of bicubic interpolation by image."""
    for name, values in score.per_image.items():
        if math.isfinite(values.get(BICUBIC_KEY, math.nan)):
            yield name, values[BICUBIC_KEY]


def name_images(names: list[str]) -> str:
    """Return `baby, bird`, or the first of many and their number."""
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
