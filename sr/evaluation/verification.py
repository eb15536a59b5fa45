"""The bicubic baseline against our reference and the papers, and the LR files of each set against our degradation."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sr.config import schema
from sr.data.image_set import ImageSet
from sr.degrade.bicubic import Bicubic
from sr.evaluation.published import find_row, read_bicubic
from sr.image.read import list_images, read_rgb
from sr.image.resize import upscale_bicubic
from sr.metric.protocol import STANDARD_CHANNELS, Protocol
from sr.runtime import terminal
from sr.runtime.error import UserError

PSNR, SSIM = 0.001, 0.0001  # how near our reference a row has to come: dB, and SSIM's own units
BORDER = {8: "replicate"}  # old MATLABs, which made the ×8 files, did not mirror


class VerifiedImage(NamedTuple):
    """What one picture gave at one scale."""

    values: dict[str, tuple[float, float]]  # protocol -> PSNR, SSIM
    differing: int | None  # pixels of its LR file that are not ours; None: there is no file


class Verification:
    """All pictures of `sets` under `paths.data`, at each of `scales` and by each of `protocols`."""

    def __init__(
        self, sets: list[str], scales: list[int], protocols: list[str], out: str, paths: dict[str, str]
    ) -> None:
        for key, given, choices in (("scales", scales, schema.SCALES), ("protocols", protocols, ("edsr", "vdsr"))):
            for value in given:
                schema.check_choice(key, value, choices)
        root = Path(paths["data"]).expanduser()
        self.sets = {name: root / name for name in sets if (root / name / "HR").is_dir()}
        self.absent = [name for name in sets if name not in self.sets]
        if not self.sets:
            raise UserError(
                f"none of {', '.join(sets)} is in paths.data={root}: put their HR images into {root}/{sets[0]}/HR and "
                f"so on, or say where they are: paths.data=FOLDER or the variable SR_DATA"
            )
        self.scales, self.protocols, self.out = scales, protocols, Path(out)

    def passes(self) -> bool:
        """Measure, print both tables, write the file."""
        found = self._measured()
        rows = list(self._rows(found))
        files = list(self._files(found))
        head = (
            "set",
            "scale",
            "protocol",
            "n",
            "PSNR",
            "reference",
            "published",
            "Δ",
            "SSIM",
            "reference",
            "published",
            "Δ",
            "verdict",
        )
        print("\n" + terminal.format_table([head, *map(_cells, rows)]))
        if files:
            head = ("LR files", "scale", "border", "files", "bit for bit", "differing pixels", "verdict")
            print("\n" + terminal.format_table([head, *(tuple(map(str, file.values())) for file in files)]))
        failed = [row for row in (*rows, *files) if row["verdict"].startswith("FAILED")]
        unknown = sum(row["verdict"] == "no reference" for row in rows)
        holds = f"every row holds{f' that has a reference; {unknown} have none' * bool(unknown)}"
        print(f"\n{len(failed)} of {len(rows) + len(files)} rows failed" if failed else f"\n{holds}")
        if self.absent:
            print(f"not there, and not checked: {', '.join(self.absent)}")
        try:
            self.out.write_text(json.dumps({"bicubic": rows, "lr_files": files}, indent=2), encoding="utf-8")
        except OSError as error:
            raise UserError(f"out={self.out}: cannot be written ({error.strerror or error})") from None
        print(f"written to {self.out.resolve()}")
        return not failed and (unknown < len(rows) or bool(files))

    def _measured(self) -> dict[tuple[str, int], list[VerifiedImage]]:
        pictures = {key: ImageSet(list_images(self.sets[key[0]] / "HR", "sets"), key[1]) for key in self._keys()}
        for chosen in pictures.values():
            chosen.keep = False
        jobs = [(key, k) for key, chosen in pictures.items() for k in range(len(chosen))]
        found: dict[tuple[str, int], list[VerifiedImage]] = {key: [] for key in pictures}
        with ThreadPoolExecutor() as pool, terminal.create_progress_bar(len(jobs), "bicubic") as bar:
            done = pool.map(lambda job: (job[0], self._one(pictures[job[0]], *job)), jobs)
            for key, one in done:
                found[key].append(one)
                bar.update()
        return found

    def _keys(self) -> Iterator[tuple[str, int]]:
        return product(self.sets, self.scales)

    @torch.inference_mode()
    def _one(self, chosen: ImageSet, key: tuple[str, int], k: int) -> VerifiedImage:
        (name, scale), raw = key, chosen[[k]]
        values = {}
        for protocol in self.protocols:
            measure = Protocol(protocol, scale, "y" if protocol == "vdsr" else "rgb", STANDARD_CHANNELS[protocol])
            hr = measure.select_channels(raw.hr, raw.gray)
            lr = Bicubic(scale)(hr)
            exact = torch.float64 if hr.dtype == torch.float64 else torch.float32
            result = measure(upscale_bicubic(lr.to(exact) / 255, scale), hr.to(exact) / 255)
            values[protocol] = result["psnr"].item(), result["ssim"].item()
        return VerifiedImage(values, self._differing(self.sets[name], chosen.names[k], raw.hr, scale))

    def _differing(self, place: Path, picture: str, hr: torch.Tensor, scale: int) -> int | None:
        file = place / "LR_bicubic" / f"X{scale}" / f"{picture}x{scale}.png"
        if not file.exists():
            return None
        ours, theirs = Bicubic(scale, BORDER.get(scale, "mirror"))(hr)[0], read_rgb(file)
        return ours[0].numel() if ours.shape != theirs.shape else int((ours != theirs).any(dim=0).sum())

    def _rows(self, found: dict[tuple[str, int], list[VerifiedImage]]) -> Iterator[dict[str, Any]]:
        for (name, scale), protocol in product(found, self.protocols):
            values = [one.values[protocol] for one in found[name, scale]]
            psnr, ssim = (sum(column) / len(values) for column in zip(*values, strict=True))
            reference = read_bicubic().get((name, scale, protocol))
            paper = find_row("bicubic", scale, name, protocol)
            right = reference and abs(psnr - reference[0]) <= PSNR and abs(ssim - reference[1]) <= SSIM
            yield {
                "set": name,
                "scale": scale,
                "protocol": protocol,
                "n": len(values),
                "psnr": psnr,
                "ssim": ssim,
                "reference": reference,
                "published": (paper.psnr, paper.ssim) if paper else None,
                "verdict": "no reference" if reference is None else "ok" if right else "FAILED",
            }

    def _files(self, found: dict[tuple[str, int], list[VerifiedImage]]) -> Iterator[dict[str, Any]]:
        for (name, scale), ones in found.items():
            counts = [one.differing for one in ones if one.differing is not None]
            if counts:
                yield {
                    "set": name,
                    "scale": f"×{scale}",
                    "border": BORDER.get(scale, "mirror"),
                    "files": len(counts),
                    "equal": sum(count == 0 for count in counts),
                    "differing": sum(counts),
                    "verdict": "FAILED"
                    if any(counts)
                    else "ok"
                    if len(counts) == len(ones)
                    else "FAILED: files missing",
                }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    reference, paper = row["reference"], row["published"]
    cells = [row["set"], f"×{row['scale']}", row["protocol"], str(row["n"])]
    for k, (key, digits) in enumerate((("psnr", 3), ("ssim", 4))):
        cells += [
            f"{row[key]:.{digits}f}",
            f"{reference[k]:.{digits}f}" if reference else "–",
            f"{paper[k]:.{2 + 2 * k}f}" if paper else "–",
            f"{row[key] - paper[k]:+.{digits}f}" if paper else "–",
        ]
    return (*cells, row["verdict"])
