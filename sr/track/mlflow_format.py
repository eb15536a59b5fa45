"""MLflow's names, limits and tags, and how ours become MLflow's. It does not import MLflow, which takes seconds."""

import hashlib
import re
import uuid
from collections.abc import Iterator
from functools import lru_cache

from sr.record.journal_format import Entry

CURSOR_FILE = "cursor.json"  # in a run's folder: what MLflow has of it (see `sr.track.upload`)
DESCRIPTION = "sr.description"  # our tag of a run's description
TAGS = {  # our tags -> those that MLflow shows in columns and fields of their own
    DESCRIPTION: "mlflow.note.content",
    "sr.git.commit": "mlflow.source.git.commit",
    "sr.git.branch": "mlflow.source.git.branch",
    "sr.user": "mlflow.user",
}
MAX_TAG_LENGTH = 4000  # characters that every version of MLflow accepts
MAX_PARAMETER_LENGTH = 6000
MAX_DIGEST_LENGTH = 36
MAX_IMAGE_KEY_LENGTH, KEY_DIGEST_LENGTH = 120, 6  # characters; the name of an image's file has 255 at most
MAX_METRICS, MAX_OTHERS = 1000, 100  # metrics of one `log_batch`; parameters, or tags, of one


def sanitize_key(name: str) -> str:
    """Return a name of a metric, a parameter or an image with `_` for each character that MLflow refuses."""
    return re.sub(r"[^\w\-./ :]", "_", name, flags=re.ASCII)


@lru_cache(10_000)
def convert_metric_name(name: str) -> str:
    """Return MLflow's name of a metric: `val/Set5 x2 edsr/psnr_best` of `best/val/Set5 x2 edsr/psnr`.

    Its page sorts charts by the part before the last slash: `best/…` would come before everything else.
    """
    checkpoint, _, rest = name.partition("/")
    if checkpoint == "best":
        name = f"{rest}_best" if "/" in rest else f"train/{rest}_best"
    return sanitize_key(name)


def limit_parameter(value: str) -> str:
    """Return the value of a parameter, or a note about its length if MLflow cannot store all of it. It is never cut."""
    return value if len(value) <= MAX_PARAMETER_LENGTH else f"{len(value)} characters, see config.yaml"


def convert_tag(key: str, value: str) -> Iterator[tuple[str, str]]:
    """Yield a tag of ours as MLflow shows it; tags other than the description are cut to the length that it accepts."""
    if key == "sr.verb":
        yield "mlflow.source.name", f"sr.{value}"
        yield "mlflow.source.type", "LOCAL"
    yield TAGS.get(key, key), value if key == DESCRIPTION else value[:MAX_TAG_LENGTH]


def convert_image_key(key: str) -> str:
    """Return MLflow's name of an image; one that is changed or shortened gets a digest, for it could equal another."""
    name = sanitize_key(key)
    if name == key and len(key) <= MAX_IMAGE_KEY_LENGTH:
        return key
    return f"{name[:MAX_IMAGE_KEY_LENGTH]}-{hashlib.sha256(key.encode()).hexdigest()[:KEY_DIGEST_LENGTH]}"


def name_image_files(key: str, step: int, time: int) -> list[str]:
    """Return the names of the two files of an image that MLflow's image grid looks for; `time` is in ms since 1970.

    An image has the same names whenever it is sent. Those of a test, which is done once, are at step 0: a grid of several
    runs opens at the first step of any of them, and shows nothing of a run without an image at this very step.
    """
    name, step = convert_image_key(key).replace("/", "~"), 0 if key.startswith("test/") else step
    stem = f"{name}+step+{step}+timestamp+{time}+{uuid.uuid5(uuid.NAMESPACE_URL, f'{key} {step} {time}')}"
    return [f"{stem}.png", f"{stem}+compressed.webp"]


def list_points(entries: list[Entry]) -> Iterator[tuple[str, float, int, int]]:
    """Yield name, value, time in ms and step of the finite points of journal entries, those of the last entry first.

    A server of MLflow takes 7 % less time for the newest points first; MLflow sorts curves itself.
    """
    for entry in reversed(entries):
        for name, value in entry.get("points", {}).items():
            if not isinstance(value, str):
                yield convert_metric_name(name), value, entry["time"], entry["step"]


def list_tags(entries: list[Entry]) -> Iterator[tuple[str, str]]:
    """Yield the tags of journal entries as MLflow shows them."""
    for entry in entries:
        if "tag" in entry:
            yield from convert_tag(entry["tag"], entry["value"])
        if "image" in entry:
            yield "mlflow.loggedImages", "True"
        for name, value in entry.get("points", {}).items():
            if isinstance(value, str):  # as a metric MLflow would store 1.8e308, or nothing
                yield f"nonfinite.{convert_metric_name(name)}", f"{value} at step {entry['step']}"
