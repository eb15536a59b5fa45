"""Parameter importances of a sweep: how much of the spread of an objective each option explains, by fANOVA.

Hutter, Hoos, Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance" (ICML 2014), as Optuna has it: a
random forest is fitted to the trials that have finished, and the variance of its predictions is divided among the options.
"""

import math
from functools import lru_cache, partial
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

MIN_TRIALS = 10
RELIABLE_TRIALS = 50  # of which the shares hardly change from one sweep to another
EVALUATOR = "fANOVA, Optuna's FanovaImportanceEvaluator"


def list_finished(study: Study, objective: int) -> list[FrozenTrial]:
    """Return the trials that have a finite value of this objective."""
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return [trial for trial in trials if math.isfinite(trial.values[objective])]


def find_obstacle(study: Study, objective: int) -> str | None:
    """Return why there are no importances of this objective; None if there are."""
    trials = list_finished(study, objective)
    if len(trials) < MIN_TRIALS:
        return f"they need at least {MIN_TRIALS} trials that have finished (found {len(trials)})"
    if len({trial.values[objective] for trial in trials}) == 1:
        return "all trials have the same value"
    return None


@lru_cache(maxsize=8)
def compute_importances(study: Study, objective: int) -> dict[str, float]:
    """Return the share of each option, from 0 to 1, the largest first; together they are 1.

    It takes a second, of 1,000 trials ten: it is done once for a study, which must not change any more. The random forest
    has a seed, so that the same trials give the same shares.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # imports scikit-learn

    evaluator = FanovaImportanceEvaluator(seed=0)
    shares = get_param_importances(study, evaluator=evaluator, target=partial(_read_value, objective))
    return {name: float(share) for name, share in shares.items()}


def create_evaluator(study: Study, objective: int) -> Any:
    """Return an evaluator for Optuna's plot that has these importances, and does not compute them again."""
    from optuna.importance import BaseImportanceEvaluator

    class KnownImportances(BaseImportanceEvaluator):
        def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
            return compute_importances(study, objective)

    return KnownImportances()


def _read_value(objective: int, trial: FrozenTrial) -> float:
    return trial.values[objective] if trial.values else math.nan


def describe_reliability(study: Study, objective: int) -> str:
    """Return a sentence that says how the shares are computed, and how far they can be trusted."""
    count = len(list_finished(study, objective))
    caution = f", a rough estimate: fewer than {RELIABLE_TRIALS} trials" if count < RELIABLE_TRIALS else ""
    return f"Share of the variance that each option explains ({EVALUATOR}, from {count} trials{caution})."
