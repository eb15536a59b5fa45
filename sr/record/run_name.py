"""The name of a run, as a list of runs shows it: `espcn l1 s0`, `srresnet hinge s1 x4 lr=1e-3`.

What a run varies comes first, and is shortened if needed: the list of runs in a browser shows some twenty characters.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from sr.record.hyperparameters import list_chosen_parts, select_hyperparameters

VISIBLE_LENGTH = 20  # characters of a name that are always visible
MAX_LENGTH = 32  # of a name: one that is wider than an image card of the page widens the image's column
MIN_NET, MIN_WORD, MIN_PART = 5, 3, 2  # characters that are left of a net, of another word, and of each in a list
NAMED = ("model.net", "model.adversarial", "model.loss", "seed", "scale", "data", "data.path", "data.hr", "data.lr")
NOT_NAMED = (
    "model", "model.alarm", "experiment", "trainer.accelerator", "trainer.devices", "data.val", "data.test", "data.workers",
)  # fmt: skip


def format_run_name(
    config: Mapping[str, Any], groups: Mapping[str, str | None], changed: Sequence[str], typed: Sequence[str]
) -> str:
    """Return the name of a run; it depends on the arguments alone, which are those of `select_hyperparameters`.

    First come net, loss (of a GAN the adversarial loss) and seed, then scale and data unless they are the defaults, then,
    where there is space, the other options that were `typed`, and the experiment. Two runs that differ in one of the first
    differ within the first `VISIBLE_LENGTH` characters, as far as these suffice for three letters of each word.
    """
    params = select_hyperparameters(config, groups, changed)
    seed, scale = f"s{config['seed']}", f"x{config['scale']}"
    heads = [*_list_kinds(params, changed), [f"{seed} {scale}", f"{seed}{scale}"] if "scale" in changed else [seed]]
    if {"data", "data.path"} & {*changed}:
        heads.append(_list_forms(_name_data(config, params), MIN_WORD))
    chosen = {*groups, *list_chosen_parts(config)}
    others = [key for key in typed if key in params and key not in (*NAMED, *NOT_NAMED)]
    words = [
        params[key] if key in chosen else f"{_shorten_key(key, others)}={PurePath(params[key]).name}" for key in others
    ]
    experiment = [params["experiment"]] if "experiment" in params else []
    name = " ".join(_fit(heads))[:MAX_LENGTH]
    for word in (*words, *experiment):
        name += f" {word}" if len(name) + 1 + len(word) <= MAX_LENGTH else ""
    return name


def make_folder_name(name: str) -> str:
    """Return a name as a short part of a path that needs no quotes anywhere."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)[:MAX_LENGTH].strip("-.")


def _list_kinds(params: Mapping[str, str], changed: Sequence[str]) -> Iterator[list[str]]:
    """Yield the forms of the net, and of the losses that it is trained with."""
    yield _list_forms(params.get("model.net", "no-net"), MIN_NET)
    is_gan = "model.adversarial" in params
    if is_gan:
        yield _list_forms(params["model.adversarial"], MIN_WORD)
    elif params.get("model") not in ("cnn", None):
        yield _list_forms(params["model"], MIN_WORD)
    if "model.loss" in params and (not is_gan or "model.loss" in changed):
        yield _list_forms(params["model.loss"], MIN_WORD)


def _shorten_key(key: str, others: Sequence[str]) -> str:
    """Return the last word of an option, or the last two if another option ends in the same one."""
    last = key.rpartition(".")[2]
    is_unique = sum(other.rpartition(".")[2] == last for other in others) == 1
    return last if is_unique else ".".join(key.split(".")[-2:])


def _name_data(config: Mapping[str, Any], params: Mapping[str, str]) -> str:
    """Return the names of the folders of the training images, or of their source."""
    data = config["data"]
    places = data.get("path") or data.get("hr") or []
    paths = [PurePath(str(place)) for place in (places if isinstance(places, list) else [places])]
    return "+".join(path.name if path.is_absolute() else next(iter(path.parts), "") for path in paths) or params["data"]


def _list_forms(word: str, shortest: int) -> list[str]:
    """Return a word and shorter forms of it, down to `shortest` characters: `srresnet_small`, `srresnet-s`, `srresne-s` …

    Of `l1+features` each part is shortened, to `MIN_PART` characters.
    """
    if "+" in word:
        parts = word.split("+")
        forms = ["+".join(part[:k] for part in parts) for k in range(max(map(len, parts)), MIN_PART - 1, -1)]
    else:
        stem, *rest = word.split("_")
        ending = "-" + "".join(part[:1] for part in rest) if rest else ""
        forms = [word, *(stem[:k] + ending for k in range(len(stem), max(1, shortest - len(ending)) - 1, -1))]
    return list(dict.fromkeys(forms))


def _fit(heads: Sequence[list[str]]) -> list[str]:
    """Return one form of each word: the longest word is shortened until all together are visible."""
    forms = [list(head) for head in heads]
    while len(" ".join(form[0] for form in forms)) > VISIBLE_LENGTH and any(len(form) > 1 for form in forms):
        max((form for form in forms if len(form) > 1), key=lambda form: len(form[0])).pop(0)
    return [form[0] for form in forms]
