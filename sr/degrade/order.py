"""Ops that apply several others: in order, in random order, or one of them."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from sr.degrade.op import DrawnOp, Op, draw_weighted
from sr.runtime.error import UserError
from sr.runtime.option_types import Fraction, NonNegativeFloat, NonNegativeInt


class Steps(Op):
    """Apply all ops in order; inside a `Shuffle`, no other op comes between them."""

    def __init__(self, ops: Sequence[Op], probability: Fraction = 1.0) -> None:
        super().__init__(probability)
        if not ops or not all(isinstance(op, Op) for op in ops):
            raise UserError(
                f"data.degrade: {type(self).__name__}.ops={ops}: expected a list of ops, each with a _target_"
            )
        self.ops = nn.ModuleList(ops)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join([*map(repr, self.ops), *self.describe_options()])})"

    def plan(self, rng: np.random.Generator) -> list[DrawnOp]:
        if rng.random() >= self.probability:
            return []
        return [step for op in self.draw_order(rng) for step in op.plan(rng)]

    def draw_order(self, rng: np.random.Generator) -> list[Op]:
        """Return the ops to apply to one image, in order."""
        return list(self.ops)


class Shuffle(Steps):
    """Apply all ops in an order drawn for each image; those at the indices `fixed_order` never change places."""

    def __init__(
        self, ops: Sequence[Op], probability: Fraction = 1.0, fixed_order: Sequence[NonNegativeInt] = ()
    ) -> None:
        super().__init__(ops, probability)
        self.fixed_order = sorted(fixed_order)
        if any(not isinstance(k, int) or not 0 <= k < len(ops) for k in fixed_order):
            raise UserError(
                f"data.degrade: Shuffle.fixed_order={fixed_order}: expected indices of ops, 0…{len(ops) - 1}"
            )

    def draw_order(self, rng: np.random.Generator) -> list[Op]:
        order = rng.permutation(len(self.ops)).tolist()
        in_order = iter(self.fixed_order)
        return [self.ops[next(in_order) if k in self.fixed_order else k] for k in order]


class OneOf(Steps):
    """Apply one of the ops, drawn by `weights`; None weights all equally."""

    def __init__(
        self, ops: Sequence[Op], probability: Fraction = 1.0, weights: Sequence[NonNegativeFloat] | None = None
    ) -> None:
        super().__init__(ops, probability)
        self.weights = list(weights or [1.0] * len(ops))
        if len(self.weights) != len(ops) or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise UserError(f"data.degrade: OneOf.weights={weights}: expected {len(ops)}, 0 or more each, not all 0")

    def draw_order(self, rng: np.random.Generator) -> list[Op]:
        return [self.ops[draw_weighted(rng, dict(enumerate(self.weights)))]]
