"""Add the images of a comparison to its page. torch is only imported if there are results to compute or to read."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr.comparison import image_viewer
from sr.comparison.run import RunComparison, Table
from sr.comparison.run_config import read_config
from sr.comparison.scene import BICUBIC, HR, LR, build_scene
from sr.comparison.selection import BICUBIC_PREFIX, Source, has_images, select_images, select_run
from sr.page.colors import BASELINE_COLOR, GROUP_COLORS, get_color
from sr.page.document import Page, PageCell, Section
from sr.record.run_file import create_folder, write_atomic
from sr.runtime.terminal import ProgressBar, print_note

if TYPE_CHECKING:
    from sr.comparison.result_images import ResultImages

DEFAULT_IMAGES = 10
MAX_BYTES = 12_000_000  # of all images in the page; with charts and tables it is below 15 MB
MAX_RESULTS = len(GROUP_COLORS)  # methods whose pixels are in the page
IMAGE_FOLDER = "compare_images"
METRICS = ("psnr", "ssim")  # that the viewer shows


class TableImages:
    """The images of one table for the viewer."""

    def __init__(self, table: Table, comparison: RunComparison, trust: Sequence[str], data: Path | None) -> None:
        self.table, self.trust, self.data = table, list(trust), data
        self.notes: list[str] = []
        self._images: ResultImages | None = None
        index = {group.name: k for k, group in enumerate(comparison.groups)}
        runs = {f"g{index[row.name]}": select_run(row) for row in table.rows if row.group is not None}
        found = {}
        for key, source in runs.items():
            if source is not None and has_images(*source):
                found[key] = source
            elif source is not None:
                name = comparison.groups[int(key[1:])].name
                self.notes.append(
                    f"{table.title}: {name}: its images are left out: there is no checkpoint of {source[0].name}"
                )
        self.sources: dict[str, Source] = dict(list(found.items())[:MAX_RESULTS])
        if len(found) > MAX_RESULTS:
            self.notes.append(f"{table.title}: images of the first {MAX_RESULTS} of {len(found)} methods are shown")
        self.counts = {f"g{index[row.name]}": row.count for row in table.rows if row.group is not None}

    def build(self, names: list[str], max_bytes: int | None) -> dict[str, Any] | None:
        """Return the viewer's data of a table with the images of these names; None if they cannot be read."""
        if not self.sources or not names:
            return None
        try:
            images = self._open()
            bar = ProgressBar(names, desc=f"images of {self.table.set}", unit="image", delay=1)
            scenes = [build_scene(images.read(name), max_bytes) for name in bar]
        except Exception as error:  # whatever a net, an image or a damaged file raises: the tables must not be lost
            self.notes.append(f"{self.table.title}: no images: {error}")
            return None
        self.notes += images.notes
        keys = [key for key in self.sources if all(key in scene["images"] for scene in scenes)]
        scale = self.table.scale
        return {
            "title": self.table.title, "measure": images.measure, "scale": scale, "border": scale,
            "sources": [LR, BICUBIC, *keys, HR], "values": self._list_values(keys), "scenes": scenes,
        }  # fmt: skip

    def _open(self) -> "ResultImages":
        """Load the nets and open the image set, once."""
        if self._images is None:
            read_config(next(iter(self.sources.values()))[1].folder, self.trust)
            from sr.comparison.result_images import ResultImages  # torch: only if there is a config to build from

            self._images = ResultImages(self.table, self.sources, self.trust, self.data)
        return self._images

    def describe_sources(self, names: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Return label, detail and color of each result, by key; `names` are those of the groups."""
        described = {}
        for key, (run, _) in self.sources.items():
            seeds = f"seed {run.seed}, of median PSNR among {self.counts[key]}" if self.counts[key] > 1 else ""
            detail = ", ".join(filter(None, [run.name, seeds]))
            described[key] = {"label": names[key], "detail": detail, "color": get_color(int(key[1:]))}
        return described

    def list_seeds(self, comparison: RunComparison) -> list[str]:
        """Return which seed is shown of each method with several runs: `espcn l1: seed 2 on Set5`."""
        names = {key: comparison.groups[int(key[1:])].name for key in self.sources}
        return [f"{names[key]}: seed {run.seed} on {self.table.set}" for key, (run, _) in self.sources.items()
                if self.counts[key] > 1]  # fmt: skip

    def _list_values(self, keys: list[str]) -> dict[str, dict[str, dict[str, float]]]:
        """Return the stored metrics of each image and result: {"baby": {"g0": {"psnr": 30.1}}}."""
        values: dict[str, dict[str, dict[str, float]]] = {}
        for name in self.table.images:
            stored = {key: self.sources[key][1].per_image.get(name, {}) for key in keys}
            first = next(iter(stored.values()), {})
            stored[BICUBIC] = {m: first[f"{BICUBIC_PREFIX}{m}"] for m in METRICS if f"{BICUBIC_PREFIX}{m}" in first}
            values[name] = {key: {m: one[m] for m in METRICS if m in one} for key, one in stored.items()}
        return values


def add_images(
    page: Page, comparison: RunComparison, folder: Path, count: int | None, trust: Sequence[str], data: Path | None
) -> None:
    """Add the viewer to the page, with the notes about what could not be shown.

    `count` is the number of images; None: all, each as a page of its own in `folder`, to which the page links.
    """
    parts = [TableImages(table, comparison, trust, data) for table in comparison.tables]
    chosen = select_images(comparison.tables, count)
    section = page.add_section("Images")
    if count is None:
        _add_links(section, parts, chosen, comparison, folder)
        chosen = select_images(comparison.tables, DEFAULT_IMAGES)
    total = max(1, sum(map(len, chosen)))
    sets = [part.build(names, MAX_BYTES // total) for part, names in zip(parts, chosen, strict=True)]
    _add_viewer(page, section, parts, [one for one in sets if one is not None], comparison)
    seeds = dict.fromkeys(line for part in parts for line in part.list_seeds(comparison))
    if seeds:
        section.add_text(f"Of several seeds, the run of median PSNR is shown: {'; '.join(seeds)}.")
    for note in dict.fromkeys(note for part in parts for note in part.notes):
        section.add_text(f"Note: {note}")
        print_note(f"compare.html: {note}")


def _add_viewer(
    page: Page, section: Section, parts: list[TableImages], sets: list[dict[str, Any]], comparison: RunComparison
) -> None:
    names = {f"g{k}": group.name for k, group in enumerate(comparison.groups)}
    sources = {key: {"label": label, "detail": "", "color": BASELINE_COLOR}
               for key, label in ((LR, "LR"), (BICUBIC, "bicubic"), (HR, "HR"))}  # fmt: skip
    for part in parts:
        sources |= part.describe_sources(names)
    if not sets:
        section.add_text("No images of results can be shown.")
        return
    section.add_html(image_viewer.render_viewer({"sources": sources, "sets": sets}))
    page.styles.append(image_viewer.read_style())
    page.scripts.append(image_viewer.read_script())


def _add_links(
    section: Section, parts: list[TableImages], chosen: list[list[str]], comparison: RunComparison, folder: Path
) -> None:
    """Write a page with all pixels of each image, and add a table of links to them."""
    create_folder(folder / IMAGE_FOLDER, folder)
    rows = []
    for part, names in zip(parts, chosen, strict=True):
        for name in names:
            one = part.build([name], None)
            if one is None:
                break
            file = f"{IMAGE_FOLDER}/{re.sub(r'[^A-Za-z0-9.-]+', '_', f'{part.table.title}_{name}')}.html"
            single = Page(f"{name}, {part.table.title}")
            _add_viewer(single, single.add_section("Images"), [part], [one], comparison)
            write_atomic(folder / file, single.render())
            rows.append([PageCell(name, name, href=file), part.table.title])
    if rows:
        section.add_table("All images", ["image", "set"], rows)
