"""What a set's numbers stand beside: a paper's row and another evaluation, both only under the very same conditions."""

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from sr.evaluation import published
from sr.evaluation.published import DIGITS, SIZES, Row, explain_gap, list_other_protocols
from sr.metric import protocol_variants
from sr.metric.protocol import Protocol, require_same_protocol
from sr.record.result import read_set_results
from sr.runtime.error import UserError


class ProtocolMistakes:
    """PSNR of one set under each usual mistake of measuring luma."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._values: dict[str, list[float]] = defaultdict(list)
        self._pixels: list[int] = []

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """A batch of float 0…1 images `[B, C, H, W]`."""
        if self.protocol.channel == "y" and hr.shape[1] == 3:
            for cause, values in protocol_variants.compute_psnr_variants(sr, hr, self.protocol.scale).items():
                self._values[cause] += values.tolist()
        b = self.protocol.scale
        self._pixels += [(hr.shape[2] - 2 * b) * (hr.shape[3] - 2 * b)] * len(hr)

    def means(self, psnrs: list[float]) -> dict[str, float]:
        """What each would have made of the set; `psnrs` are the right values of its pictures."""
        pooled = {
            "errors pooled over all pixels instead of the mean of images": protocol_variants.pool_psnr(
                psnrs, self._pixels
            )
        }
        return {cause: statistics.fmean(values) for cause, values in self._values.items()} | pooled


class InferenceSettings(NamedTuple):
    """How the net was applied."""

    ensemble: bool
    tile: int | None


class Reference:
    """The published `model` (None: not known) and the file `against`. By set: `conditions`, as `Protocol.describe` has
    them, and names of `pictures`."""

    def __init__(
        self,
        model: str | None,
        against: str | None,
        protocol: Protocol,
        way: InferenceSettings,
        conditions: dict[str, dict[str, Any]],
        pictures: dict[str, list[str]],
    ) -> None:
        self.model, self.protocol, self.way = model, protocol, way
        self.conditions, self.pictures = conditions, pictures
        self.against = self._read(against) if against else {}

    def _read(self, file: str) -> dict[str, Any]:
        """The other evaluation's sets; refused before anything is computed when it measured something else."""
        try:
            theirs = read_set_results(Path(file).expanduser())
        except UserError as error:
            raise UserError(f"against={file}: expected the evaluate.json of an evaluation ({error})") from None
        if theirs is None:
            raise UserError(f"against={file}: expected the evaluate.json of an evaluation (there is no such file)")
        unfinished = [name for name, result in theirs.items() if result.is_unfinished]
        if unfinished:
            raise UserError(
                f"against={file}: expected the evaluate.json of an evaluation that was not interrupted "
                f"({', '.join(unfinished)} is unfinished); evaluate it again"
            )
        both = [name for name in self.conditions if name in theirs]
        if not both:
            raise UserError(f"against={file} has none of {', '.join(self.conditions)}; it has {', '.join(theirs)}")
        for name in both:
            require_same_protocol(self.conditions[name], theirs[name].protocol, f"against={file}: {name}")
            others = theirs[name].per_image.keys() ^ set(self.pictures[name])
            if others:
                some = ", ".join(sorted(others)[:5])
                raise UserError(f"against={file}: its {name} is of other pictures ({len(others)} differ: {some})")
        return {name: {key: theirs[name].metrics[key] for key in ("psnr", "ssim")} for name in both}

    def find_row(self, name: str) -> Row | None:
        """The published row of this very net, scale, set and protocol; of a part of a set there is none."""
        usual = self.conditions[name] == self.protocol.describe(self.protocol.standard_lr)
        whole = len(self.pictures[name]) == SIZES.get(name)
        if self.way.ensemble or not (usual and whole):
            return None
        return published.find_row(self.model, self.protocol.scale, name, self.protocol.name)

    def compare(self, name: str, found: dict[str, Any], mistakes: ProtocolMistakes) -> dict[str, Any]:
        """Each with its difference, and what there is to remark."""
        more: dict[str, Any] = {}
        row = self.find_row(name)
        if row:
            gap = found["psnr"] - row.psnr
            means = mistakes.means([values["psnr"] for values in found["per_image"].values()])
            cause = explain_gap(gap, name, means, row.psnr)
            if self.way.tile and abs(gap) > DIGITS:
                cause = f"measured in tiles of {self.way.tile}, the papers measured whole pictures"
            more["published"] = {**row._asdict(), "delta_psnr": gap, "delta_ssim": found["ssim"] - row.ssim}
            more["published"] |= {"likely_cause": cause} if cause else {}
        elif self.model:
            note = self._why_none(name)
            more["notes"] = [note] if note else []
        if name in self.against:
            more["against"] = self.against[name]
        return more

    def _why_none(self, name: str) -> str | None:
        scale, protocol = self.protocol.scale, self.protocol.name
        others = list_other_protocols(self.model, scale, name, protocol)
        if others:
            return f"{self.model}'s published figures are of metric={' and '.join(others)}, and cannot stand here"
        if self.way.ensemble:
            return f"{self.model}'s published figures are without self-ensemble, and cannot stand here"
        if published.find_row(self.model, scale, name, protocol):
            return f"{self.model}'s published figures are of other pictures, or of other LR, and cannot stand here"
        return None
