"""Threads next to a network's: PyTorch splits no operation in them, since OpenMP would then slow the network down."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sr.data.prefetch import Prefetcher
from sr.runtime.parallel import CPU, BackgroundPool, use_one_thread
from sr.serving import engine
from sr.track.writer import Writer


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
    class Counts(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> int:
            return torch.get_num_threads()

    assert [count.item() for count in Prefetcher(Counts(), batch_size=1)] == [1, 1, 1]


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
