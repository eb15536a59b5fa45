"""Threads next to a network's: PyTorch splits no operation in them, since OpenMP would then slow the network down."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sr.data.prefetch import Prefetcher
from sr.image.batch import Raw
from sr.runtime.error import UserError
from sr.runtime.parallel import CPU, BackgroundPool, use_one_thread
from sr.serving import engine
from sr.track.writer import Writer


class Batches(torch.utils.data.Dataset):
    """Batches of one color image each, filled with their number; `on_load` is called with it."""

    def __init__(self, count: int, side: int, on_load: Callable[[int], object]) -> None:
        self.count, self.side, self.on_load = count, side, on_load

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Raw:
        self.on_load(index)
        return Raw(torch.full((1, 3, self.side, self.side), index, dtype=torch.uint8))


@pytest.fixture(autouse=True)
def use_two_threads() -> Iterator[None]:
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(count)


def test_a_background_pool_computes_on_one_thread() -> None:
    with BackgroundPool(2) as pool:
        assert pool.submit(torch.get_num_threads).result() == 1
        assert list(pool.map(lambda _: torch.get_num_threads(), range(3))) == [1, 1, 1]


def test_batches_are_prepared_on_one_thread() -> None:
    counts: list[int] = []
    batches = Batches(3, 1, lambda _: counts.append(torch.get_num_threads()))
    assert len(list(Prefetcher(batches, batch_size=None))) == 3
    assert counts == [1, 1, 1]


@pytest.mark.parametrize(
    ("side", "most"),
    [(16, 8), (1024, 2), (2048, 1)],  # the size of a batch decides how many are loaded at once
)
def test_batches_come_in_order_and_few_are_loaded_in_advance(side: int, most: int) -> None:
    loaded: list[int] = []
    used = 0
    for batch in Prefetcher(Batches(21, side, loaded.append), batch_size=None):
        assert batch.hr.flatten()[0] == used
        used += 1
        assert len(loaded) - used < 2 * most  # the rest of these, and the next ones
    assert loaded == list(range(21))
    assert used == 21


def test_a_batch_that_cannot_be_loaded_ends_the_training_on_its_error() -> None:
    def load(index: int) -> None:
        if index == 5:
            raise UserError("photo.png is damaged")

    with pytest.raises(UserError, match=r"^photo\.png is damaged"):
        list(Prefetcher(Batches(10, 1, load), batch_size=None))


def test_the_journal_is_written_on_one_thread(tmp_path: Path) -> None:
    """It converts sample images."""
    counts: list[int] = []
    writer = Writer(
        tmp_path / "journal.jsonl", lambda items: iter([{}] if counts.append(torch.get_num_threads()) else []), int
    )
    writer.put(1)
    writer.call_when_flushed(lambda: counts.append(torch.get_num_threads()))
    writer.flush()
    writer.close()
    assert set(counts) == {1}


def test_the_network_of_a_service_computes_on_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it begins while a file is decoded: PyTorch's number of threads is the default of new threads as well."""
    counts: list[int] = []
    monkeypatch.setattr(engine, "measure_free_memory", lambda: counts.append(torch.get_num_threads()) or 10**9)
    service = engine.Engine({"workers": 1, "memory": None, "ensemble": False})
    with use_one_thread(CPU):
        service.start(SimpleNamespace(net=nn.Identity()))
        service.close()
    assert counts == [2]
