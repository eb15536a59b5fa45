"""An image that does not fit in the free memory is refused before it is decoded; others are not, whatever their size."""

from pathlib import Path

import pytest

from sr.image import limits
from sr.runtime import free_memory
from sr.runtime.error import UserError


def test_an_image_may_take_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "measure_free_memory", lambda: 2_400_000_000)
    limits.check_decoded_size(Path("a.png"), 20_000, 20_000, 3)  # 400 megapixels, 1.2 GB
    with pytest.raises(UserError) as error:
        limits.check_decoded_size(Path("a.png"), 20_000, 20_001, 3)
    assert str(error.value) == (
        "a.png: too large to decode: 20001×20000 pixels need 1.2 GB at once, and 2.4 GB of memory are free; "
        "convert it to a tiled TIFF, which is read in parts, or make it smaller"
    )


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "max", "memory.current": "70", "memory.stat": "inactive_file 0"}, 1000),  # no limit
        ({"memory.max": "100", "memory.current": "70", "memory.stat": "anon 1\ninactive_file 20"}, 50),
        ({"memory.max": "9000", "memory.current": "70", "memory.stat": "inactive_file 20"}, 1000),
        ({"memory/memory.limit_in_bytes": "80", "memory/memory.usage_in_bytes": "90",
          "memory/memory.stat": "total_inactive_file 5"}, 0),
    ],
)  # fmt: skip
def test_a_container_may_have_less_memory_than_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], free: int
) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(free_memory.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    assert free_memory.measure_free_memory() == free
