"""Several ops as one: in turn, in random order, or one of them."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from sr.degrade.op import Op, Step, chosen
from sr.runtime.error import UserError


class Steps(Op):
    """One after the other; in a `Shuffle`, nothing comes between them."""

    def __init__(self, ops: Sequence[Op], probability: float = 1.0) -> None:
        super().__init__(probability)
        if not ops or not all(isinstance(op, Op) for op in ops):
            raise UserError(
                f"data.degrade: {type(self).__name__}.ops={ops}: expected a list of ops, each with a _target_"
            )
        self.ops = nn.ModuleList(ops)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([*map(repr, self.ops), *self._dials()])})"

    def plan(self, chance: np.random.Generator) -> list[Step]:
        if chance.random() >= self.probability:
            return []
        return [step for op in self.order(chance) for step in op.plan(chance)]

    def order(self, chance: np.random.Generator) -> list[Op]:
        return list(self.ops)


class Shuffle(Steps):
    """In an order drawn for each image. The ops of the places `ordered` keep their order among each other."""

    def __init__(self, ops: Sequence[Op], probability: float = 1.0, ordered: Sequence[int] = ()) -> None:
        super().__init__(ops, probability)
        self.ordered = sorted(ordered)
        if any(not isinstance(k, int) or not 0 <= k < len(ops) for k in ordered):
            raise UserError(f"data.degrade: Shuffle.ordered={ordered}: expected places in ops, 0…{len(ops) - 1}")

    def order(self, chance: np.random.Generator) -> list[Op]:
        order = chance.permutation(len(self.ops)).tolist()
        bound = iter(self.ordered)
        return [self.ops[next(bound) if k in self.ordered else k] for k in order]


class OneOf(Steps):
    """One of them, by `weights`; without them, each equally often."""

    def __init__(self, ops: Sequence[Op], probability: float = 1.0, weights: Sequence[float] | None = None) -> None:
        super().__init__(ops, probability)
        self.weights = list(weights or [1.0] * len(ops))
        if len(self.weights) != len(ops) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise UserError(f"data.degrade: OneOf.weights={weights}: expected {len(ops)}, 0 or more each, not all 0")

    def order(self, chance: np.random.Generator) -> list[Op]:
        return [self.ops[chosen(chance, dict(enumerate(self.weights)))]]
