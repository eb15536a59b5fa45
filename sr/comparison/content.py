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

    results: list[Result]
    images: set[str]
    differs: list[str] = field(default_factory=list)  # why it is not in the first table of this set and protocol

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
        reasons = []
        for comparable in found:
            reason = _find_conflict(comparable, result)
            if reason is None:
                comparable.results.append(result)
                comparable.images &= set(result.score.per_image)
                break
            reasons.append(reason)
        else:
            found.append(Comparable([result], set(result.score.per_image), reasons[:1]))
    order = {id(result.score): k for k, result in enumerate(results)}
    for comparable in found:
        comparable.results.sort(key=lambda one: order[id(one.score)])
    return found


def _find_conflict(comparable: Comparable, result: Result) -> str | None:
    """Return why a result cannot stand with others; None if it can."""
    if bool(result.score.per_image) != bool(comparable.images):
        return "only its means are known, and not over which images"
    for other in comparable.results:
        changed = _list_changed(other.score, result.score)
        if changed:
            verb = "differs" if len(changed) == 1 else "differ"
            return f"{name_images(changed)} {verb} in content between {other.run.name} and {result.run.name}"
    shared = comparable.images & set(result.score.per_image)
    if comparable.images and 2 * len(shared) < len(comparable.images):
        return f"{result.run.name} has only {len(shared)} of the {len(comparable.images)} images"
    return None


def _list_changed(one: SetScore, other: SetScore) -> list[str]:
    """Return the images that both have with different content.

    It is that of the files if it is known; without data.json the values of bicubic interpolation betray another image.
    """
    if one.files and other.files:
        return [name for name, digest in one.files.items() if other.files.get(name, digest) != digest]
    return [
        name
        for name in one.per_image
        if name in other.per_image and _has_other_bicubic(one.per_image[name], other.per_image[name])
    ]


def _has_other_bicubic(one: dict[str, float], other: dict[str, float]) -> bool:
    values = one.get(BICUBIC_KEY), other.get(BICUBIC_KEY)
    return (
        None not in values and all(map(math.isfinite, values)) and abs(values[0] - values[1]) > MAX_BICUBIC_DIFFERENCE
    )


def name_images(names: list[str]) -> str:
    """Return `baby, bird`, or the first of many and their number."""
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
