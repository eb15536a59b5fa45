"""List the files to inspect: those that `data=…` trains and evaluates on, and LR files that exist already."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sr.data.evaluation_set import find_hr_folder, find_set, list_lr_files
from sr.data.module import SRDataModule
from sr.data.source import ImageFiles, Split
from sr.image.listing import FolderListing, list_folder
from sr.inspection.finding import TRAINING
from sr.runtime.error import UserError


@dataclass
class FileListing:
    """Files by set. `lr` holds the LR files that belong to the HR files of a set, if there are any."""

    train: Sequence[Path] = ()
    sets: dict[str, Sequence[Path]] = field(default_factory=dict)
    lr: dict[str, Sequence[Path]] = field(default_factory=dict)
    folders: list[tuple[str, FolderListing]] = field(default_factory=list)  # with the set that takes its images from it


def list_files(data: SRDataModule) -> FileListing:
    """List all files that `data` names, without reading any. Only a folder that is missing or empty is an error.

    The LR files of an own evaluation set are listed with those of the training set: both come from the same folder. The
    LR files that a named set ships are listed if nothing is trained: then they may be what a paper evaluated.
    """
    listing = FileListing()
    used_splits: list[Split] = [split for split in ("val", "test") if data.name in data.sets[split]]
    own = {split: data.find_images(split) for split in ("train", *used_splits)}
    files = {split: images for split, images in own.items() if isinstance(images, ImageFiles)}
    if any(not isinstance(image, Path) for images in files.values() for image in images.hr):
        raise UserError(
            f"data={data.name}: expected a source of image files (found slices); sr.inspect does not read them"
        )
    if "train" in files:
        listing.train = files["train"].hr
    listing.folders = [(TRAINING, list_folder(folder, "data")) for folder in data.folders]
    held_out = list(dict.fromkeys(path for split in used_splits if split in files for path in files[split].hr))
    if held_out:
        listing.sets[data.name] = held_out
    lr = sorted({path for images in files.values() for path in images.lr or ()})
    if lr:
        listing.lr[TRAINING] = lr
    for name in dict.fromkeys([*data.sets["val"], *data.sets["test"]]):
        if name != data.name:
            _add_named_set(listing, data, name, with_lr=own["train"] is None)
    return listing


def _add_named_set(listing: FileListing, data: SRDataModule, name: str, with_lr: bool) -> None:
    option = "data.test" if name in data.sets["test"] else "data.val"
    folder = find_set(data.root, name, option)
    hr = list_folder(find_hr_folder(folder), option)
    listing.sets[folder.name] = hr.images
    listing.folders.append((folder.name, hr))
    lr = list_lr_files(folder, data.scale, option) if with_lr else None
    if lr:
        listing.lr[folder.name] = lr
