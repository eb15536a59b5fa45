"""`track=none`: nothing is tracked; summary.json and the checkpoints are written all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from PIL.Image import Image

from sr.track.tracker import Tracker


class NoTracker(Tracker):
    """A tracker that drops all reports."""

    is_tracking: ClassVar[bool] = False

    def start(
        self, title: str, folder: Path, params: dict[str, str], overrides: list[str], tags: dict[str, str]
    ) -> None:
        pass

    def log_points(self, values: dict[str, Any], step: int) -> None:
        pass

    def log_image(self, key: str, image: Image | Callable[[], Image], step: int) -> None:
        pass

    def log_file(self, path: Path, folder: str = "") -> None:
        pass

    def log_text(self, name: str, text: str) -> None:
        pass

    def set_tag(self, key: str, value: str) -> None:
        pass

    def set_description(self, text: str) -> None:
        pass

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        pass

    def close(self, status: str, exit: str | None = None) -> None:
        pass
