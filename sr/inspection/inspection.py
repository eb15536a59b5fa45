"""One inspection: decode every file, examine pairs, search for duplicates and leaks, and report all of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sr.config.build import build_data
from sr.data.module import SRDataModule
from sr.data.source import ImageTensor, Split
from sr.data.tile_set import TileSet
from sr.inspection.defects import FileReport, find_defects, find_left_out, inspect_files
from sr.inspection.duplicates import find_exact_duplicates, find_near_duplicates
from sr.inspection.finding import TRAINING, Finding, Report
from sr.inspection.kernels import KERNELS
from sr.inspection.known_results import KnownResults
from sr.inspection.leaks import MIN_SIDE, find_leaks, select_usable
from sr.inspection.listing import FileListing, list_files
from sr.inspection.pairs import examine_pairs, match_pairs
from sr.metric.ssim import WINDOW_SIZE
from sr.runtime.error import UserError, suggest_nearest

UNDETECTED = "leaks and near duplicates that are rotated, upside down, or share less than a fifth of the image"
TILE_SETS: dict[Split, str] = {"train": TRAINING, "val": "validation set", "test": "test set"}


def inspect(config: dict[str, Any]) -> bool:
    """Inspect the data source `config["data"]`, print the report and write it to `config["out"]`.

    Return True if there is a finding that invalidates results.
    """
    expect = config["expect"]
    if expect not in (*KERNELS, "any"):
        choices = [*KERNELS, "any"]
        raise UserError(
            f"expect={expect}: expected one of {', '.join(choices)}.{suggest_nearest(str(expect), choices)}"
        )
    data = build_data(config)
    if not isinstance(data, SRDataModule):
        raise UserError(
            f"data._target_={config['data']['_target_']}: expected a class derived from sr.data.module.SRDataModule; or "
            "inspect the folder of its files: data=folder data.path=DIR"
        )
    data.prepare_data()
    report = Report()
    if isinstance(data.find_images("train"), ImageTensor):
        inspect_tiles(data, report)
    else:
        cache = config["paths"]["cache"]
        _inspect_files(list_files(data), data, expect, report, KnownResults(Path(cache) if cache else None))
    out = Path(config["out"]).expanduser()
    report.write(out)
    print(f"{report.text()}\n\nwritten to {out.resolve()}")
    return report.has_errors


def _inspect_files(listing: FileListing, data: SRDataModule, expect: str, report: Report, known: KnownResults) -> None:
    scale = data.scale
    for set_name, folder in listing.folders:
        for finding in find_left_out(folder, set_name):
            report.add(finding)
    why = f"the size of a patch (data.patch={data.patch})"
    train = _decode_set(TRAINING, listing.train, data.patch, why, report, known)
    why = f"what can be evaluated at scale={scale}"
    sets = {
        name: _decode_set(name, files, WINDOW_SIZE + 2 * scale, why, report, known)
        for name, files in listing.sets.items()
    }
    for name, files in listing.lr.items():
        hr = [*train, *sets.get(data.name, [])] if name == TRAINING else sets[name]
        lr = _decode_set(f"LR of {name}", files, 0, "", report, known)
        examine_pairs(match_pairs(hr, lr, scale, name, report), scale, expect, name, report, known)
    if train:
        _search_training_set(train, sets, report, known)
    elif len(sets) > 1:
        _search_between_sets(sets, report, known)
    report.unchecked.append(UNDETECTED)
    decoded = [x for files in (train, *sets.values()) for x in files if not x.error]
    if small := len(decoded) - len(select_usable(decoded)):
        report.unchecked.append(f"leaks and near duplicates of {small} image(s) narrower than {MIN_SIDE} pixels")


def _decode_set(
    name: str, files: Sequence[Path], min_side: int, why: str, report: Report, known: KnownResults
) -> list[FileReport]:
    """Decode the files of one set; add its defects and its size to the report."""
    if not files:
        return []
    reports = inspect_files(files, name, known)
    readable = [x for x in reports if not x.error]
    sizes = sorted((x.height * x.width, f"{x.width}×{x.height}") for x in readable) or [(0, "–")]
    report.sets.append({"set": name, "images": len(reports), "readable": len(readable),
                        "smallest": sizes[0][1], "largest": sizes[-1][1]})  # fmt: skip
    for finding in find_defects(reports, name, min_side, why):
        report.add(finding)
    report.checked.append(f"{name}: {len(reports)} file(s), decoded to the end")
    return reports


def _search_training_set(
    train: Sequence[FileReport], sets: Mapping[str, Sequence[FileReport]], report: Report, known: KnownResults
) -> None:
    """Search the training set for duplicates, and for images of the evaluation sets."""
    report.add(find_exact_duplicates(train, TRAINING))
    report.add(find_near_duplicates(train, TRAINING, known))
    report.checked.append(f"{TRAINING}: duplicates, exact, re-encoded, resized and mirrored")
    if sets:
        report.add(find_leaks(train, sets, TRAINING, known))
        report.checked.append(f"leaks of {', '.join(sets)}: cropped, mirrored, resized, compressed")


def _search_between_sets(sets: Mapping[str, Sequence[FileReport]], report: Report, known: KnownResults) -> None:
    """Search for photographs that two evaluation sets share; without training they only count twice in a mean."""
    names = list(sets)
    for k, name in enumerate(names[:-1]):
        finding = find_leaks(sets[name], {other: sets[other] for other in names[k + 1 :]}, name, known)
        report.add(finding._replace(kind="shared", what="image(s) show a photograph of another set", is_error=False,
                                    todo="a mean over both sets counts them twice"))  # fmt: skip
    report.checked.append(f"photographs that {', '.join(names)} share")


def inspect_tiles(data: SRDataModule, report: Report) -> None:
    """Search a source of small images of one size for equal ones. They are notes: such a set is published as it is."""
    first: dict[bytes, str] = {}
    side = ""
    for split, set_name in TILE_SETS.items():
        found = data.find_images(split)
        if not isinstance(found, ImageTensor):
            continue
        images = TileSet(found, data.scale).images
        items = []
        for k, image in enumerate(images):
            place = f"{set_name} {k:05d}"
            original = first.setdefault(image.numpy().tobytes(), place)
            if original != place:
                items.append({"file": place, "says": f"the same pixels as {original}", "of": original})
        side = f"{images.shape[-1]}×{images.shape[-2]}"
        report.sets.append(
            {"set": set_name, "images": len(images), "readable": len(images), "smallest": side, "largest": side}
        )
        report.add(Finding("duplicate", set_name, "tile(s) have the same pixels as an earlier one",
                           f"every published number on {data.name} includes them; name the subset if you leave them out",
                           items, False))  # fmt: skip
    report.checked.append("tiles that are equal, within and between the sets")
    report.unchecked.append(data.caveat or "near duplicates: only equal tiles are searched for")
    others = {*data.sets["val"], *data.sets["test"]} - {data.name}
    if others:
        report.unchecked.append(
            f"leaks into {', '.join(sorted(others))}: tiles of {side} are too small to recognize them"
        )
