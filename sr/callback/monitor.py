"""The metrics that select the best checkpoints, `monitor=` and `monitor_also=`; found before a run is opened."""

import sr.runtime.torchvision_shim  # noqa: F401  before Lightning and torchmetrics

from collections.abc import Sequence
from typing import Any, NamedTuple

from sr.metric.key import MetricKey, SetKey
from sr.metric.protocol import Protocol
from sr.runtime.error import UserError, suggest_nearest


class MonitoredMetrics(NamedTuple):
    """The metric that selects `best.ckpt`, and the one that selects a second checkpoint, if there is one."""

    key: MetricKey
    second_key: MetricKey | None = None


def find_monitored_metrics(config: dict[str, Any], sets: Sequence[str], protocol: Protocol) -> MonitoredMetrics:
    """Return the metrics that the options name, all of which `protocol` evaluates on the validation sets `sets`.

    `monitor_also=auto` is, for a GAN, the protocol's first perceptual metric. Without validation sets nothing is checked
    and nothing will be selected.
    """
    if not sets:
        return MonitoredMetrics(SetKey("val", "").metric(config["monitor"]))
    key, also = _find_metric("monitor", config["monitor"], sets, protocol), config.get("monitor_also")
    if also == "auto":
        names = protocol.perceptual_names if "adversarial" in config["model"] else []
        also = next((name for name in names if SetKey("val", sets[0]).metric(name) != key), None)
    return MonitoredMetrics(key, None if also is None else _find_metric("monitor_also", also, sets, protocol))


def _find_metric(option: str, name: str, sets: Sequence[str], protocol: Protocol) -> MetricKey:
    """Return the metric of this name: in full, or by its measure on the first set. Raise unless it is evaluated."""
    names, full_name = protocol.metric_names, name if "/" in name else str(SetKey("val", sets[0]).metric(name))
    keys = {str(key): key for key in (SetKey("val", s).metric(measure) for s in sets for measure in names)}
    if full_name not in keys:
        hint = suggest_nearest(name, keys if "/" in name else names)
        raise UserError(
            f"{option}={name}: expected a metric that is evaluated: {', '.join(names)}, or in full on one of the sets "
            f"{', '.join(sets)}, such as {SetKey('val', sets[-1]).metric('psnr')}.{hint} metric/also=[…] adds others"
        )
    return keys[full_name]
