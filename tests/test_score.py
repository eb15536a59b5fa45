"""Several processes give the score of one: the values of all images are gathered, and averaged once."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sr.metric.protocol import Protocol
from sr.metric.score import Score

SHARES = {"unequal": ([0, 1, 2, 3], [4]), "one has none": ([0, 1, 2, 3, 4], [])}


def make_images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hr = torch.randint(0, 256, (5, 3, 24, 24), generator=generator) / 255
    noise = torch.linspace(0.01, 0.3, 5).view(-1, 1, 1, 1) * torch.randn(hr.shape, generator=generator)
    return hr + noise, hr


def score_share(rank: int, port: int, out: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    sr, hr = make_images()
    for name, shares in SHARES.items():
        score = Score(Protocol("edsr", 2, "rgb"))
        for batch in (shares[rank][:3], shares[rank][3:]):  # batches of unequal size as well
            if batch:
                score.update(sr[batch], hr[batch])
        torch.save(score.gather().compute(), Path(out) / f"{name} {rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_give_the_score_of_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(
        score_share, (port, str(tmp_path)), nprocs=2, start_method="fork"
    )  # spawned ones import for seconds
    alone = Score(Protocol("edsr", 2, "rgb"))
    alone.update(*make_images())
    for name in SHARES:
        for rank in (0, 1):
            result = torch.load(tmp_path / f"{name} {rank}.pt", weights_only=True)
            assert result == pytest.approx(alone.compute(), abs=1e-9)
