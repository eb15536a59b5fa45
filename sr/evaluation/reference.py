"""Compare the results of a set with published values and with another evaluation, only under equal conditions."""

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from torch import Tensor

from sr.evaluation import published
from sr.evaluation.published import ROUNDING, SET_SIZES, PublishedRow, explain_difference, list_other_protocols
from sr.metric.protocol import Protocol, require_same_protocol
from sr.metric.protocol_variants import compute_psnr_variants, pool_psnr
from sr.record.result import Metrics, SetResult, read_set_results
from sr.runtime.error import UserError


class ProtocolVariants:
    """The PSNR of one set under each usual deviation from a protocol that measures luma."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._values: dict[str, list[float]] = defaultdict(list)
        self._pixels: list[int] = []

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """Evaluate a batch of float images `[B, C, H, W]` in 0…1."""
        if self.protocol.channel == "y" and hr.shape[1] == 3:
            for description, values in compute_psnr_variants(sr, hr, self.protocol.scale).items():
                self._values[description] += values.tolist()
        b = self.protocol.scale
        self._pixels += [(hr.shape[2] - 2 * b) * (hr.shape[3] - 2 * b)] * len(hr)

    def compute(self, psnrs: list[float]) -> dict[str, float]:
        """Return the PSNR of the set under each deviation; `psnrs` are the values of its images under the protocol."""
        pooled = {"errors pooled over all pixels instead of the mean of images": pool_psnr(psnrs, self._pixels)}
        return {description: statistics.fmean(values) for description, values in self._values.items()} | pooled


class Reference:
    """The values that results are compared with: the published `model` (None: unknown) and the evaluate.json `against`.

    `ensemble`: the results are of the self-ensemble. `protocols` are the descriptions of `Protocol.describe`, and `images`
    the names of the images, both by set.
    """

    def __init__(
        self,
        model: str | None,
        against: str | None,
        protocol: Protocol,
        ensemble: bool,
        protocols: dict[str, dict[str, Any]],
        images: dict[str, list[str]],
    ) -> None:
        self.model, self.protocol, self.ensemble = model, protocol, ensemble
        self.protocols, self.images = protocols, images
        self.against = self._read_evaluation(against) if against else {}

    def find_row(self, name: str) -> PublishedRow | None:
        """Return the published row of exactly this net, scale, set and protocol; part of a set has none."""
        is_standard = self.protocols[name] == self.protocol.describe(self.protocol.standard_lr)
        is_whole = len(self.images[name]) == SET_SIZES.get(name)
        if self.ensemble or not (is_standard and is_whole):
            return None
        return published.find_row(self.model, self.protocol.scale, name, self.protocol.name)

    def compare(self, name: str, result: SetResult, variants: ProtocolVariants) -> None:
        """Add to the result of a set its references, the differences and notes about them."""
        row = self.find_row(name)
        if row:
            psnr, ssim = result.metrics["psnr"], result.metrics["ssim"]
            difference = psnr - row.psnr
            psnrs = variants.compute([values["psnr"] for values in result.per_image.values()])
            cause = explain_difference(difference, name, psnrs, row.psnr)
            if result.tile and abs(difference) > ROUNDING:
                cause = f"evaluated in tiles of {result.tile}, in the papers as whole images"
            result.published = {**row._asdict(), "delta_psnr": difference, "delta_ssim": ssim - row.ssim}
            result.published |= {"likely_cause": cause} if cause else {}
        elif self.model:
            note = self._explain_missing_row(name)
            result.notes += [note] if note else []
        result.against = self.against.get(name)

    def _read_evaluation(self, file: str) -> dict[str, Metrics]:
        """Return PSNR and SSIM of another evaluation by set; raise before anything is computed if they differ in kind."""
        try:
            results = read_set_results(Path(file).expanduser())
        except UserError as error:
            raise UserError(f"against={file}: expected the evaluate.json of an evaluation ({error})") from None
        if results is None:
            raise UserError(f"against={file}: expected the evaluate.json of an evaluation (there is no such file)")
        unfinished = [name for name, result in results.items() if result.is_unfinished]
        if unfinished:
            raise UserError(
                f"against={file}: expected the evaluate.json of an evaluation that was not interrupted "
                f"({', '.join(unfinished)} is unfinished); evaluate it again"
            )
        common = [name for name in self.protocols if name in results]
        if not common:
            raise UserError(
                f"against={file}: expected one of the sets {', '.join(self.protocols)} (found {', '.join(results)})"
            )
        for name in common:
            require_same_protocol(self.protocols[name], results[name].protocol, f"against={file}: {name}")
            others = results[name].per_image.keys() ^ set(self.images[name])
            if others:
                some = ", ".join(sorted(others)[:5])
                raise UserError(f"against={file}: its {name} has other images ({len(others)} differ: {some})")
        return {name: {key: results[name].metrics[key] for key in ("psnr", "ssim")} for name in common}

    def _explain_missing_row(self, name: str) -> str | None:
        """Return why the published values of this model cannot be compared; None if there are none."""
        scale, protocol = self.protocol.scale, self.protocol.name
        others = list_other_protocols(self.model, scale, name, protocol)
        if others:
            return f"the published values of {self.model} are under metric={' and '.join(others)}: not comparable"
        if self.ensemble:
            return f"the published values of {self.model} are without self-ensemble: not comparable"
        if published.find_row(self.model, scale, name, protocol):
            return f"the published values of {self.model} are of other images or of other LR: not comparable"
        return None
