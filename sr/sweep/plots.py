"""Plots of a sweep: Optuna's own, by Plotly for the page and by Matplotlib as PNG files."""

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial

from sr.record.run_file import write_atomic
from sr.sweep.importance import create_evaluator, find_obstacle, list_finished

MAX_FRONT_OBJECTIVES = 3  # Optuna draws no front of more
DPI = 100
MAX_LEGEND = 12  # entries
MAX_LINES = 500  # in a chart that has one for each trial: a browser draws a thousand in seconds


@dataclass(frozen=True)
class Plot:
    """A plot of Optuna, drawn by a function of this name in `optuna.visualization` or `optuna.visualization.matplotlib`."""

    name: str  # of its PNG file
    title: str
    function: str
    arguments: dict[str, Any]
    obstacle: str | None = None  # why it cannot be drawn
    options: list[str] = field(default_factory=list)  # of which each has a part of the plot

    def draw(self, module: ModuleType, **arguments: Any) -> Any:
        """Return the figure of Plotly, or the axes of Matplotlib."""
        return getattr(module, self.function)(**self.arguments | arguments)


@dataclass(frozen=True)
class Chart:
    """A plot as the page shows it; without a figure, `note` says why."""

    title: str
    figure: Any = None
    is_part: bool = False  # one of several of the same kind
    note: str = ""


def list_plots(study: Study, objectives: Sequence[str]) -> Iterator[Plot]:
    """Yield the plots of a study: of each objective, of the Pareto front, of the course of the trials."""
    for index, objective in enumerate(objectives):
        yield from _list_objective_plots(study, objective, index, f"_{index + 1}" if len(objectives) > 1 else "")
    if len(objectives) > 1:
        count = len(study.best_trials)
        obstacle = "no trial has finished" if not count else None
        if len(objectives) > MAX_FRONT_OBJECTIVES:
            obstacle = f"Optuna draws at most {MAX_FRONT_OBJECTIVES} objectives (found {len(objectives)})"
        arguments = {"study": study, "target_names": list(objectives)}
        yield Plot("pareto_front", "Pareto front", "plot_pareto_front", arguments, obstacle)
    else:
        count = sum(bool(trial.intermediate_values) for trial in study.get_trials(deepcopy=False))
        obstacle = _limit_lines(count) if count else "no trial has reported a validation"
        title = f"Validations: {objectives[0]} by step"
        yield Plot("intermediate_values", title, "plot_intermediate_values", {"study": study}, obstacle)
    obstacle = None if study.get_trials(deepcopy=False) else "no trial has begun"
    yield Plot("timeline", "Timeline", "plot_timeline", {"study": study}, obstacle)


def _list_objective_plots(study: Study, objective: str, index: int, suffix: str) -> Iterator[Plot]:
    """Yield the plots of one of the objectives."""
    count = len(list_finished(study, index))
    obstacle = None if count > 1 else f"it needs two trials that have finished (found {count})"
    arguments = {"study": study, "target_name": objective}
    if suffix:  # of a single objective Optuna draws the best value so far as well, unless it has a target

        def read_value(trial: FrozenTrial) -> float:
            return trial.values[index]

        arguments["target"] = read_value
    options = sorted({key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    title = f"Optimization history of {objective}"
    yield Plot(f"history{suffix}", title, "plot_optimization_history", arguments, obstacle)
    title = f"Parallel coordinates of {objective}"
    limit = obstacle or _limit_lines(count)
    yield Plot(f"parallel_coordinates{suffix}", title, "plot_parallel_coordinate", arguments, limit)
    yield Plot(f"slices{suffix}", f"{objective} by option", "plot_slice", arguments, obstacle, options)
    title, obstacle = f"Parameter importances for {objective}", find_obstacle(study, index)
    if not obstacle:
        arguments = arguments | {"evaluator": create_evaluator(study, index)}
    yield Plot(f"importances{suffix}", title, "plot_param_importances", arguments, obstacle)


def _limit_lines(count: int) -> str | None:
    return f"it has a line for each of {count} trials, and at most {MAX_LINES}" if count > MAX_LINES else None


def draw_charts(study: Study, objectives: Sequence[str]) -> Iterator[Chart]:
    """Yield the plots for the page. One that fails is left out with a note: no plot is worth a sweep."""
    import optuna.visualization

    for plot in list_plots(study, objectives):
        if plot.obstacle:
            yield Chart(plot.title, note=plot.obstacle)
            continue
        changes = [{"params": [option]} for option in plot.options] or [{}]
        titles = [plot.title.replace("option", option) for option in plot.options] or [plot.title]
        try:
            for title, change in zip(titles, changes, strict=True):
                yield Chart(title, plot.draw(optuna.visualization, **change), is_part=bool(plot.options))
        except Exception as error:  # whatever a library raises
            yield Chart(plot.title, note=_describe_error(error))


def write_images(study: Study, objectives: Sequence[str], folder: Path) -> list[Path]:
    """Write the plots that can be drawn as PNG files, and return their paths."""
    import matplotlib as mpl

    mpl.use("Agg")  # without a window
    import optuna.visualization.matplotlib as module
    from matplotlib import pyplot

    paths = []
    for plot in list_plots(study, objectives):
        if plot.obstacle:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # experimental, and labels that do not fit
                axes = plot.draw(module)
                figure = getattr(axes, "flat", [axes])[0].figure
                _remove_long_legends(figure)
                content = io.BytesIO()
                figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
            write_atomic(folder / f"{plot.name}.png", content.getvalue(), sync=False)
            paths.append(folder / f"{plot.name}.png")
        except OSError:
            raise
        except Exception:  # noqa: S112 the page has a note about it
            continue
        finally:
            pyplot.close("all")
    return paths


def _remove_long_legends(figure: Any) -> None:
    """Remove legends with an entry for each of many trials, which are several times as high as the plot."""
    for axes in figure.axes:
        legend = axes.get_legend()
        if legend is not None and len(legend.get_texts()) > MAX_LEGEND:
            legend.remove()


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
