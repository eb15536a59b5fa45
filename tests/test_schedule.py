"""`model/schedule=…`: the learning rate at each step, and warnings and errors about lengths that do not fit."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sr.runtime.error import UserError
from sr.schedule.constant import constant
from sr.schedule.cosine import cosine
from sr.schedule.multi_step import multi_step
from sr.schedule.one_cycle import one_cycle

ALL = (constant, cosine, multi_step, one_cycle)


def rates(make: Callable[..., Any], total: int = 100, **options: Any) -> list[float]:
    """Return the learning rate of each step and after the last, as a factor of the optimizer's."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=2.0)
    schedule = make(optimizer, total=total, **options)
    factors = []
    for _ in range(total + 1):
        factors.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        schedule.step()
    return factors


def test_a_constant_rate_has_a_warmup() -> None:
    assert rates(constant, warmup=4)[:6] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert set(rates(constant)) == {1.0}


def test_multi_step_falls_at_its_milestones() -> None:
    factors = rates(multi_step, milestones=[75, 0.5], gamma=0.1, warmup=2)
    assert factors[:3] == pytest.approx([0.5, 1, 1])
    assert [factors[k] for k in (49, 50, 74, 75, 100)] == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


def test_one_cycle_rises_and_falls() -> None:
    factors = rates(one_cycle, warmup=30)
    assert [factors[k] for k in (0, 15, 30, 65, 100)] == pytest.approx([0.04, 0.52, 1, 0.5, 4e-6], abs=1e-5)
    assert factors[:31] == sorted(factors[:31])
    assert factors[30:] == sorted(factors[30:], reverse=True)


@pytest.mark.parametrize("make", ALL)
def test_a_length_below_1_is_a_fraction_of_the_training(make: Callable[..., Any]) -> None:
    assert rates(make, warmup=0.2) == rates(make, warmup=20)


@pytest.mark.parametrize("make", ALL)
def test_a_warmup_longer_than_the_training_gives_a_warning(make: Callable[..., Any]) -> None:
    with pytest.warns(UserWarning, match=r"model\.schedule\.warmup=150: with 100 steps in all, .* never reached"):
        assert max(rates(make, warmup=150)) < 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates(make, warmup=50)


def test_a_single_step_is_a_step() -> None:
    with pytest.warns(UserWarning, match="with 1 step in all, the learning rate"):
        constant(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))]), total=1, warmup=50)


def test_milestones_after_the_end_give_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"model\.schedule\.milestones=\[200\]: never reached, with 100 steps"):
        assert rates(multi_step, milestones=[50, 200])[-1] == 0.5


@pytest.mark.parametrize("wrong", [-1, 2.5, "ten", True])
def test_invalid_lengths_are_refused(wrong: Any) -> None:
    for make in ALL:
        with pytest.raises(UserError, match=rf"model\.schedule\.warmup={wrong}: expected a whole number of steps"):
            rates(make, warmup=wrong)
    with pytest.raises(UserError, match=rf"model\.schedule\.milestones={wrong}: expected"):
        rates(multi_step, milestones=[0.5, wrong])
