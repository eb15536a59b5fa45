"""The search space of a sweep: words in Hydra's grammar, or `sweep.space` of an experiment."""

import pytest

from sr.runtime.error import UserError
from sr.sweep.space import (
    Interval,
    Space,
    Values,
    count_points,
    list_examples,
    list_points,
    read_space,
    split_overrides,
    to_words,
)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("seed=0,1,2", Values(("0", "1", "2"))),
        ("model/net=choice(espcn,edsr)", Values(("espcn", "edsr"))),
        ("data.test=[Set5],[Set5,Set14]", Values(("[Set5]", "[Set5,Set14]"))),
        ("patience=null,3", Values(("null", "3"))),
        ("lr=interval(0,1)", Interval(0.0, 1.0)),
        ("lr=tag(log,interval(1e-4,1e-2))", Interval(1e-4, 1e-2, is_log=True)),
        ("width=int(interval(8,64))", Interval(8, 64)),
        ("width=range(1,9,2)", Interval(1, 7, step=2)),
        ("width=range(9,1,-2)", Interval(3, 9, step=2)),
        ("p=range(0,1,0.25)", Interval(0.0, 0.75, step=0.25)),
    ],
)
def test_words_are_read_as_hydra_reads_them(word: str, expected: Values | Interval) -> None:
    key = word.partition("=")[0]
    fixed, space = split_overrides(["scale=2", word], is_grid=False)
    assert (fixed, space) == (["scale=2"], {key: expected})


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("width=range(1,9,2)", ("1", "3", "5", "7")),
        ("width=range(3,0,-1)", ("3", "2", "1")),
        ("p=range(0,0.4,0.1)", ("0.0", "0.1", "0.2", "0.3")),
    ],
)
def test_a_range_of_a_grid_is_a_list(word: str, values: tuple[str, ...]) -> None:
    assert split_overrides([word], is_grid=True)[1] == {word.partition("=")[0]: Values(values)}


@pytest.mark.parametrize(
    ("word", "is_grid", "message"),
    [
        ("lr=interval(0,1)", True, "type sweep=tpe"),
        ("lr=interval(1,0)", False, "the smaller one first"),
        ("lr=interval(1,1)", False, "the smaller one first"),
        ("lr=interval(nan,1)", False, "expected two finite numbers (found nan and 1.0)"),
        ("lr=interval(0,inf)", False, "expected two finite numbers (found 0.0 and inf)"),
        ("lr=interval(1)", False, "expected two numbers: interval(1e-4,1e-2)"),
        ("lr=tag(log,interval(0,1))", False, "above 0 on a logarithmic scale"),
        ("lr=tag(lin,interval(1,2))", False, "expected the tag log"),
        ("width=int(interval(1.5,8.5))", False, "expected whole numbers (found 1.5 and 8.5)"),
        ("seed=0,0", True, "found one twice"),
        ("seed=0,", True, "expected values (found an empty one, or none)"),
        ("seed=choice()", True, "expected values (found an empty one, or none)"),
        ("seed=shuffle(0,1)", True, "in a fixed order"),
        ("seed=range(0,3),7", True, "a list of values, or one range(…)"),
        ("net=glob(*)", True, "found glob"),
        ("width=range(3,3)", False, "empty range"),
        ("width=range(3,3)", True, "empty range"),
        ("width=range(1,9,0)", True, "a step other than 0"),
        ("seed=range(0,1000000000)", True, "at most 10,000 values in a grid (found 1,000,000,000); type sweep=random"),
        ("sweep.trials=3,5", True, "the options of the sweep itself cannot vary"),
        ("sweep.objective=psnr,ssim", True, "several objectives: sweep.objective=[psnr,train_seconds]"),
        ("sweep=tpe,random", False, "the options of the sweep itself cannot vary"),
    ],
)
def test_a_wrong_search_space_is_refused_with_its_word(word: str, is_grid: bool, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        split_overrides([word], is_grid)
    assert word in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=0,1", "seed=2,3"], "found seed twice"),
        (["seed=5", "seed=0,1"], r"seed=5: expected each option once \(found seed=0,1 as well\)"),
    ],
)
def test_an_option_varies_once(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_overrides(words, is_grid=True)


def test_points_are_counted_without_a_list() -> None:
    """No machine has the memory for a list of as many."""
    _, space = split_overrides(["a=range(0,1000000000000000)", "b=x,y"], is_grid=False)
    assert count_points(space) == 2 * 10**15
    assert count_points(space | {"lr": Interval(0.0, 1.0)}) is None
    assert count_points({"width": Interval(8, 64)}) == 57


def test_a_grid_has_every_combination_the_last_option_fastest() -> None:
    _, space = split_overrides(["net=a,b", "seed=0,1"], is_grid=True)
    assert [to_words(point) for point in list_points(space)] == [
        ["net=a", "seed=0"], ["net=a", "seed=1"], ["net=b", "seed=0"], ["net=b", "seed=1"]]  # fmt: skip


def test_every_value_is_checked_at_least_once() -> None:
    _, space = split_overrides(["net=a,b,c", "lr=interval(1,2)"], is_grid=False)
    words = {word for point in list_examples(space) for word in to_words(point)}
    assert words == {"net=a", "net=b", "net=c", "lr=1.0", "lr=2.0"}


def test_an_experiment_has_values_as_words_or_as_a_list() -> None:
    node = {"seed": [0, 1], "model/net": "espcn,edsr", "lr": "interval(0,1)", "data.val": [["Set5"], ["Set14"]]}
    expected: Space = {
        "seed": Values(("0", "1")),
        "model/net": Values(("espcn", "edsr")),
        "lr": Interval(0.0, 1.0),
        "data.val": Values(("[Set5]", "[Set14]")),
    }
    assert read_space(node, is_grid=False) == expected


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"seed": 3}, "sweep.space: seed=3: expected several values"),
        ({"seed": []}, r"sweep.space: seed=\[\]: expected several values"),
        ({"lr": "interval(1,0)"}, r"sweep.space: lr=interval\(1,0\): .* the smaller one first"),
    ],
)
def test_a_wrong_space_of_an_experiment_is_refused(node: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_space(node, is_grid=False)
