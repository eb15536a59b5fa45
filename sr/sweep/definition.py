"""Define a sweep: the options that all trials share, those that vary, and how values are chosen.

It is stored in the sweep's folder, so that the same command continues the sweep, and another one is refused.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sr.config.diff import IGNORED_OPTIONS, NO_VALUE, Change, find_differences, flatten, is_under
from sr.record.identity import write_atomic
from sr.runtime.error import UserError
from sr.sweep.space import Space

DEFINITION_FILE = "sweep.yaml"
# Options which may change when a sweep is continued: where files are, how runs are shown, what else the sweep does.
FREE_OPTIONS = ("paths.", "track.", "track=", "sweep.", "sweep=", "sweep/", "trust=", "progress=")
FREE_KEYS = (*IGNORED_OPTIONS, "sweep", "progress")
CONFIGS = ("config", "variants")  # fields that are no words of the command
MAX_NAME_LENGTH, MAX_CHANGES = 40, 8

Configs = dict[tuple[str, ...], dict[str, Any]]  # the resolved config by the words of a trial


@dataclass(frozen=True)
class Definition:
    """All that must stay equal in one sweep."""

    base: list[str]  # overrides of all trials, sorted
    space: dict[str, str]
    sampler: dict[str, Any] | None
    pruner: dict[str, Any]
    objective: dict[str, str]  # the direction of each
    # What the words mean: files of conf/ and of --config-dir may have changed.
    config: dict[str, Any] = field(default_factory=dict)  # resolved, of the first trial, by dotted key
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)  # what differs from it by the words of a trial

    def derive_name(self) -> str:
        """Return a name from the words of the command, with a digest: `net-seed-3f2a91`."""
        keys = "-".join(re.split(r"[./]", key)[-1] for key in self.space)
        words = {name: value for name, value in asdict(self).items() if name not in CONFIGS}
        digest = hashlib.sha256(yaml.safe_dump(words).encode()).hexdigest()[:6]
        return f"{keys[:MAX_NAME_LENGTH]}-{digest}"

    def store(self, folder: Path) -> None:
        """Write the definition into the sweep's folder; raise `UserError` if there is another one."""
        file, content = folder / DEFINITION_FILE, asdict(self)
        if not file.exists():
            write_atomic(file, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
            return
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
        changes = _find_changes(before, content)
        if changes:
            texts = list(map(str, changes[:MAX_CHANGES]))
            more = f" and {len(changes) - MAX_CHANGES} more" if len(changes) > MAX_CHANGES else ""
            raise UserError(
                f"sweep.name={folder.name}: this sweep was begun with other options ({', '.join(texts)}{more}); type "
                f"the former ones to continue it, or restore the YAML that has changed, or give another sweep.name"
            )


def make_definition(
    base: list[str], space: Space, settings: dict[str, Any], objective: dict[str, str], configs: Configs | None = None
) -> Definition:
    """Return the definition of a sweep with these overrides, search space, options `sweep.*` and objectives.

    `configs` are the resolved configs of some trials, in which each value of the search space occurs.
    """
    config, variants = _compare_configs(configs or {})
    return Definition(
        base=sorted(word for word in base if not word.lstrip("+~").startswith(FREE_OPTIONS)),
        space={key: str(dimension) for key, dimension in space.items()},
        sampler=settings["sampler"],
        pruner=settings["pruner"],
        objective=objective,
        config=config,
        variants=variants,
    )


def _find_changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return the differences of two definitions. In configs, an option that a newer version of sr has added is none."""
    old, new = ({k: v for k, v in part.items() if k not in CONFIGS} for part in (before, after))
    old, new = flatten(old), flatten(new)
    values = [(key, old.get(key, NO_VALUE), new.get(key, NO_VALUE)) for key in dict.fromkeys((*old, *new))]
    changes = [Change(key, value, other) for key, value, other in values if value != other]
    return changes + [change for k in CONFIGS for change in find_differences(before.get(k) or {}, after[k])]


def _compare_configs(configs: Configs) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the options of the first config, and for each further one those that differ from it."""
    flat = [
        {key: v for key, v in flatten(config).items() if not is_under(key, FREE_KEYS)} for config in configs.values()
    ]
    first = flat[0] if flat else {}
    variants = {}
    for words, options in zip(list(configs)[1:], flat[1:], strict=True):
        keys = dict.fromkeys((*first, *options))
        changed = {key: options.get(key) for key in keys if options.get(key, NO_VALUE) != first.get(key, NO_VALUE)}
        variants[" ".join(words)] = changed
    return first, variants
