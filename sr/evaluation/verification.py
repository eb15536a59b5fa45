"""Verify the bicubic baseline against our reference and the papers, and the LR files of each set bit by bit."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from sr.config import schema
from sr.data.evaluation_set import check_depth
from sr.data.image_set import ImageSet
from sr.degrade.bicubic import Bicubic
from sr.evaluation.published import find_row, read_bicubic
from sr.image.listing import list_images
from sr.image.read import read_rgb
from sr.image.resize import upscale_bicubic
from sr.metric.protocol import STANDARD_CHANNELS, Protocol
from sr.record.json_text import to_json
from sr.runtime import terminal
from sr.runtime.cores import create_thread_pool
from sr.runtime.error import UserError

PSNR_TOLERANCE, SSIM_TOLERANCE = 0.001, 0.0001  # between a row and our reference; PSNR in dB
LR_BORDERS = {8: "replicate"}  # of the published LR files by scale: the old MATLABs that made ×8 did not mirror
OK, FAILED, NO_REFERENCE = "ok", "FAILED", "no reference"

SetScale = tuple[str, int]  # name and scale


class VerifiedImage(NamedTuple):
    """The results of one image at one scale."""

    values: dict[str, tuple[float, float]]  # protocol -> PSNR, SSIM
    differing_pixels: int | None  # of its LR file and our degradation; None: there is no file


@dataclass
class BicubicRow:
    """Bicubic interpolation on one set, compared with our reference and the published row."""

    set: str
    scale: int
    protocol: str
    n: int  # images
    psnr: float
    ssim: float
    reference: tuple[float, float] | None  # PSNR and SSIM
    published: tuple[float, float] | None
    verdict: str


@dataclass
class FileRow:
    """The LR files of one set, compared with our degradation."""

    set: str
    scale: str  # `×2`
    border: str
    files: int
    equal: int  # files
    differing: int  # pixels
    verdict: str


class Verification:
    """The verification of all images of `sets` under `paths.data`, at each of `scales`, under each of `protocols`."""

    def __init__(
        self, sets: list[str], scales: list[int], protocols: list[str], out: str, paths: dict[str, str]
    ) -> None:
        for key, values, choices in (("scales", scales, schema.SCALES), ("protocols", protocols, ("edsr", "vdsr"))):
            for value in values:
                schema.check_choice(key, value, choices)
        root = Path(paths["data"]).expanduser()
        self.sets = {name: root / name for name in sets if (root / name / "HR").is_dir()}
        self.missing = [name for name in sets if name not in self.sets]
        if not self.sets:
            raise UserError(
                f"paths.data={root}: expected one of the sets {', '.join(sets)} (found none); put their HR images into "
                f"{root}/{sets[0]}/HR and so on, or name their folder: paths.data=FOLDER or the variable SR_DATA"
            )
        self.scales, self.protocols, self.out = scales, protocols, Path(out)

    def execute(self) -> bool:
        """Evaluate all images, print both tables, write the report; return whether the verification passes."""
        images = self._evaluate_images()
        rows, files = list(self._list_bicubic_rows(images)), list(self._list_file_rows(images))
        self._print_tables(rows, files)
        report = {"bicubic": [asdict(row) for row in rows], "lr_files": [asdict(row) for row in files]}
        try:
            self.out.write_text(to_json(report), encoding="utf-8")
        except OSError as error:
            raise UserError(f"out={self.out}: cannot be written ({error.strerror or error})") from None
        print(f"written to {self.out.resolve()}")
        verdicts = [row.verdict for row in (*rows, *files)]
        return not any(v.startswith(FAILED) for v in verdicts) and any(v != NO_REFERENCE for v in verdicts)

    def _evaluate_images(self) -> dict[SetScale, list[VerifiedImage]]:
        sets = {
            (name, scale): ImageSet(list_images(folder / "HR", "sets", is_complete=True), scale)
            for (name, folder), scale in product(self.sets.items(), self.scales)
        }
        for (name, _), image_set in sets.items():
            check_depth(image_set, 8, f"sets=[{name}]", "leave the set out")
            image_set.retain_decoded = False  # each image is needed once
        jobs = [(key, k) for key, image_set in sets.items() for k in range(len(image_set))]
        results: dict[SetScale, list[VerifiedImage]] = {key: [] for key in sets}
        with create_thread_pool() as pool, terminal.create_progress_bar(len(jobs), "bicubic") as bar:
            for key, image in pool.map(lambda job: (job[0], self._verify_image(sets[job[0]], *job)), jobs):
                results[key].append(image)
                bar.update()
        return results

    @torch.inference_mode()
    def _verify_image(self, image_set: ImageSet, key: SetScale, k: int) -> VerifiedImage:
        (name, scale), raw = key, image_set[[k]]
        values = {}
        for protocol in self.protocols:
            measure = Protocol(protocol, scale, "y" if protocol == "vdsr" else "rgb", STANDARD_CHANNELS[protocol])
            hr = measure.select_channels(raw.hr, raw.gray)
            lr = Bicubic(scale)(hr)
            dtype = torch.float64 if hr.dtype == torch.float64 else torch.float32
            result = measure(upscale_bicubic(lr.to(dtype) / 255, scale), hr.to(dtype) / 255)
            values[protocol] = result["psnr"].item(), result["ssim"].item()
        file = self.sets[name] / "LR_bicubic" / f"X{scale}" / f"{image_set.names[k]}x{scale}.png"
        return VerifiedImage(values, _count_differing_pixels(file, raw.hr, scale) if file.exists() else None)

    def _list_bicubic_rows(self, images: dict[SetScale, list[VerifiedImage]]) -> Iterator[BicubicRow]:
        for (name, scale), protocol in product(images, self.protocols):
            values = [image.values[protocol] for image in images[name, scale]]
            psnr, ssim = (sum(column) / len(values) for column in zip(*values, strict=True))
            reference = read_bicubic().get((name, scale, protocol))
            paper = find_row("bicubic", scale, name, protocol)
            verdict = NO_REFERENCE
            if reference is not None:
                is_near = abs(psnr - reference[0]) <= PSNR_TOLERANCE and abs(ssim - reference[1]) <= SSIM_TOLERANCE
                verdict = OK if is_near else FAILED
            published = (paper.psnr, paper.ssim) if paper else None
            yield BicubicRow(name, scale, protocol, len(values), psnr, ssim, reference, published, verdict)

    def _list_file_rows(self, images: dict[SetScale, list[VerifiedImage]]) -> Iterator[FileRow]:
        for (name, scale), verified in images.items():
            counts = [image.differing_pixels for image in verified if image.differing_pixels is not None]
            if counts:
                verdict = FAILED if any(counts) else OK if len(counts) == len(verified) else f"{FAILED}: files missing"
                equal = sum(count == 0 for count in counts)
                border = LR_BORDERS.get(scale, "mirror")
                yield FileRow(name, f"×{scale}", border, len(counts), equal, sum(counts), verdict)

    def _print_tables(self, rows: list[BicubicRow], files: list[FileRow]) -> None:
        for k, measure in enumerate(("PSNR", "SSIM")):
            head = ("set", "protocol", "n", measure, "reference", "published", "Δ", "verdict")
            print("\n" + terminal.format_table([head, *(_format_cells(row, k) for row in rows)]))
        if files:
            head = ("LR files", "border", "files", "equal", "differing pixels", "verdict")
            cells = ((f"{f.set} {f.scale}", f.border, f.files, f.equal, f.differing, f.verdict) for f in files)
            print("\n" + terminal.format_table([head, *cells]))
        failed = sum(row.verdict.startswith(FAILED) for row in (*rows, *files))
        unknown = sum(row.verdict == NO_REFERENCE for row in rows)
        passed = f"every row passes{f' that has a reference; {unknown} have none' * bool(unknown)}"
        print(f"\n{failed} of {len(rows) + len(files)} rows failed" if failed else f"\n{passed}")
        if self.missing:
            print(f"missing, and not checked: {', '.join(self.missing)}")


def _count_differing_pixels(file: Path, hr: torch.Tensor, scale: int) -> int:
    """Return in how many pixels an LR file differs from our degradation of `hr`; all if their sizes differ."""
    expected, lr = Bicubic(scale, LR_BORDERS.get(scale, "mirror"))(hr)[0], read_rgb(file)
    return expected[0].numel() if expected.shape != lr.shape else int((expected != lr).any(dim=0).sum())


def _format_cells(row: BicubicRow, k: int) -> tuple[str, ...]:
    """Return the cells for PSNR (k = 0) or SSIM (1)."""
    value, digits = ((row.psnr, 3), (row.ssim, 4))[k]
    return (
        f"{row.set} ×{row.scale}",
        row.protocol,
        str(row.n),
        f"{value:.{digits}f}",
        f"{row.reference[k]:.{digits}f}" if row.reference else "–",
        f"{row.published[k]:.{2 + 2 * k}f}" if row.published else "–",
        f"{value - row.published[k]:+.{digits}f}" if row.published else "–",
        row.verdict,
    )
