"""The options of the trainer that change the speed of a network, which `perf=` chooses (`sr.training.execution_search`)."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sr.config.diff import format_value

PLAIN = "plain"  # perf=plain: the options of the trainer as they are


class Execution(NamedTuple):
    """Options of `trainer`."""

    channels_last: bool
    compile: bool | str
    precision: str

    def list_words(self, before: "Execution") -> list[str]:
        """Return the options that differ from `before`, as they are typed."""
        pairs = zip(self._fields, self, before, strict=True)
        return [f"trainer.{name}={format_value(value)}" for name, value, old in pairs if value != old]


EXECUTION_OPTIONS = [f"trainer.{name}" for name in Execution._fields]


def restore_execution(config: dict[str, Any], stored: Mapping[str, Any] | None, typed: Collection[str]) -> None:
    """Put the choice of the run that is resumed, `stored`, into the config, unless `perf` or these options were typed.

    `typed` are the keys of the new words of the command line.
    """
    if not stored or stored.get("perf", PLAIN) != config["perf"] or config["perf"] == PLAIN:
        return
    for name in Execution._fields:
        if f"trainer.{name}" not in typed:
            config["trainer"][name] = stored["trainer"][name]


def list_execution_words(stored: Mapping[str, Any]) -> list[str]:
    """Return what `perf=` chose for the run of a stored config, as it is typed; nothing for `perf=plain`."""
    if stored.get("perf", PLAIN) == PLAIN:
        return []
    return [f"trainer.{name}={format_value(stored['trainer'][name])}" for name in Execution._fields]
