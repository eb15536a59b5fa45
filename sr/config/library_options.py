"""Declare the values that make sense for options of other libraries' classes, whose own annotations allow more.

The keys are prefixes of a `_target_`; an option that a class does not have is of no account.
"""

from typing import Annotated, Any, Literal

from annotated_types import Ge

from sr.runtime.option_types import Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

_OPTIMIZER: dict[str, Any] = {
    "lr": NonNegativeFloat,
    "betas": tuple[Decay, Decay],
    "eps": PositiveFloat,
    "weight_decay": NonNegativeFloat,
    "momentum": Decay,
    "dampening": Fraction,
    "alpha": Decay,
    "warmup_steps": NonNegativeInt,
}
LIBRARY_OPTIONS: dict[str, dict[str, Any]] = {
    "torch.optim.": _OPTIMIZER,
    "schedulefree.": _OPTIMIZER,
    "torch.nn.": {"reduction": Literal["mean", "sum"]},
    "optuna.": {
        "population_size": Annotated[int, Ge(2)],
        "n_startup_trials": NonNegativeInt,
        "n_warmup_steps": NonNegativeInt,
        "min_resource": PositiveInt,
        "reduction_factor": Annotated[int, Ge(2)],
    },
}
