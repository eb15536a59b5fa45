"""One inspection: every file decoded, pairs examined, duplicates and leaks looked for, all of it in one report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sr.config.build import build_data
from sr.data.cifar10 import CIFAR10
from sr.inspection import duplicates
from sr.inspection.defects import FileReport, find_defects, inspect_files
from sr.inspection.finding import Finding, Report
from sr.inspection.kernels import KERNELS
from sr.inspection.leaks import LEAST, find_leaks, usable
from sr.inspection.pairs import examine, matched
from sr.inspection.source import TRAINING, Source, kind, list_source
from sr.metric.ssim import WINDOW_SIZE
from sr.runtime.error import UserError, suggest_nearest

BLIND = "leaks and near duplicates that are turned by 90° or upside down, or share less than a fifth of the picture"


def inspect(config: dict[str, Any]) -> bool:
    """Inspect what `config["data"]` names, print the report, write `config["out"]`; True when something spoils."""
    expect = config["expect"]
    if expect not in (*KERNELS, "any"):
        known = [*KERNELS, "any"]
        raise UserError(f"expect={expect}: expected one of {', '.join(known)}.{suggest_nearest(str(expect), known)}")
    chosen = kind(config)
    report = Report()
    if issubclass(chosen, CIFAR10):
        _tiles(config, report)
    else:
        _files(list_source(config, chosen), config["scale"], expect, report)
    out = Path(config["out"]).expanduser()
    report.write(out)
    print(f"{report.text()}\n\nwritten to {out.resolve()}")
    return report.has_errors


def _files(found: Source, scale: int, expect: str, report: Report) -> None:
    train = _looked(TRAINING, found.train, found.patch, f"the size of a patch (data.patch={found.patch})", report)
    least = WINDOW_SIZE + 2 * scale
    why = f"what can be measured at scale={scale}"
    sets = {name: _looked(name, files, least, why, report) for name, files in found.sets.items()}
    for name, files in found.lr.items():
        hr = train + [x for own in found.sets if own == "pair" for x in sets[own]] if name == TRAINING else sets[name]
        low = _looked(f"LR of {name}", files, 0, "", report)
        examine(matched(hr, low, scale, name, report), scale, expect, name, report)
    if train:
        _twins(train, sets, report)
    elif len(sets) > 1:
        _between(sets, report)
    report.unchecked.append(BLIND)
    everything = [x for looks in (train, *sets.values()) for x in looks if not x.fault]
    if lost := len(everything) - len(usable(everything)):
        report.unchecked.append(f"leaks and near duplicates of {lost} picture(s) narrower than {LEAST} pixels")


def _looked(name: str, files: Sequence[Path], least: int, why: str, report: Report) -> list[FileReport]:
    """Decode one set; its faults and its size go to the report."""
    if not files:
        return []
    looks = inspect_files(files, name)
    good = [x for x in looks if not x.fault]
    sizes = sorted((x.height * x.width, f"{x.width}×{x.height}") for x in good) or [(0, "–")]
    report.sets.append({"set": name, "pictures": len(looks), "readable": len(good),
                        "smallest": sizes[0][1], "largest": sizes[-1][1]})  # fmt: skip
    for finding in find_defects(looks, name, least, why):
        report.add(finding)
    report.checked.append(f"{name}: {len(looks)} file(s), decoded to the end")
    return looks


def _twins(train: Sequence[FileReport], sets: Mapping[str, Sequence[FileReport]], report: Report) -> None:
    report.add(duplicates.find_exact_duplicates(train, TRAINING))
    report.add(duplicates.find_near_duplicates(train, TRAINING))
    report.checked.append(f"{TRAINING}: duplicates, exact, re-encoded, resized and mirrored")
    if sets:
        report.add(find_leaks(train, sets, TRAINING))
        report.checked.append(f"leaks of {', '.join(sets)}: cropped, mirrored, resized, compressed")


def _between(sets: Mapping[str, Sequence[FileReport]], report: Report) -> None:
    """Nothing trains here: a photograph in two sets counts twice in a mean over both, no more."""
    names = list(sets)
    for k, name in enumerate(names[:-1]):
        found = find_leaks(sets[name], {other: sets[other] for other in names[k + 1 :]}, name)
        report.add(found._replace(kind="shared", what="picture(s) show a photograph of another set", spoils=False,
                                  todo="a mean over both sets counts them twice"))  # fmt: skip
    report.checked.append(f"photographs that {', '.join(names)} share")


def _tiles(config: dict[str, Any], report: Report) -> None:
    """`data=cifar10`: equal tiles. They are counted as notes, for nobody can mend that set."""
    data = build_data(config)
    data.prepare_data()
    parts: dict[str, Tensor] = {"training set": data.build_training_set().images}
    parts |= {
        "validation set": data.build_held_out_set("val").images,
        "test set": data.build_held_out_set("test").images,
    }
    first: dict[bytes, str] = {}
    for part, images in parts.items():
        items = []
        for k, image in enumerate(images):
            place = f"{part} {k:05d}"
            known = first.setdefault(image.numpy().tobytes(), place)
            if known != place:
                items.append({"file": place, "says": f"the same pixels as {known}", "of": known})
        side = f"{images.shape[-1]}×{images.shape[-2]}"
        report.sets.append(
            {"set": part, "pictures": len(images), "readable": len(images), "smallest": side, "largest": side}
        )
        report.add(Finding("duplicate", part, "tile(s) that were there already, pixel for pixel",
                           "every number on CIFAR-10 has them; name the subset if you leave them out", items, False))  # fmt: skip
    report.checked.append("tiles that are equal, within and between the sets")
    report.unchecked.append(
        "near duplicates: about 3 % of CIFAR-10's test tiles have one in the training set "
        '(Barz and Denzler, "Do we train on test data? Purging CIFAR of near-duplicates", 2020)'
    )
    others = {*config["data"]["val"], *config["data"]["test"]} - {"cifar10"}
    if others:
        report.unchecked.append(
            f"leaks into {', '.join(sorted(others))}: tiles of 32×32 are too small to recognise them"
        )
