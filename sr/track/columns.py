"""Names of metrics in a tracker that is shared by runs of different protocols."""

import re
from collections.abc import Mapping

from sr.data.module import SRDataModule
from sr.metric.protocol import Protocol

_MEASURED = re.compile(r"((?:best/)?(val|test)/)([^/]+)(/.+)")


def name_columns(values: Mapping[str, float], data: SRDataModule, protocol: Protocol) -> dict[str, float]:
    """`val/Set5/psnr` becomes `val/Set5 x2 edsr/psnr`, in a tracker where all runs share their columns: what differs
    in scale, protocol, or in how LR was made, has a column of its own."""
    return {_column(name, data, protocol): value for name, value in values.items()}


def _column(name: str, data: SRDataModule, protocol: Protocol) -> str:
    found = _MEASURED.fullmatch(name)
    if not found:
        return name
    before, part, set_name, measure = found.groups()
    names = [data.set_name(part, k) for k in range(len(data.sets[part]))]
    lr = data.describe_lr(part, names.index(set_name))
    made = "" if lr == protocol.standard_lr else " " + re.sub(r"\W+", "-", lr).strip("-")[:60]
    return f"{before}{set_name} x{protocol.scale} {protocol.name}{made}{measure}"
