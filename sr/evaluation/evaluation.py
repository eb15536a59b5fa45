"""Evaluate a net, or result images, on named sets: measured, compared with published values, and tracked as a run."""

import math
import re
from functools import partial

from omegaconf import DictConfig

from sr.callback.panels import draw_panel
from sr.checkpoint.interpolate import OPTIONS, describe_interpolation, format_label
from sr.config import schema
from sr.config.build import build_data, build_part, select_device
from sr.data.folder import Folder
from sr.evaluation import report
from sr.evaluation.loading import build_predictor, load_net
from sr.evaluation.predictor import list_tags
from sr.evaluation.published import find_model, recognize_model
from sr.evaluation.reference import InferenceSettings, Reference
from sr.evaluation.set_evaluator import SetEvaluator
from sr.lifecycle.provenance import fingerprint_data
from sr.lifecycle.run_start import RunStart, create_run_folder
from sr.lifecycle.tracked_run import TrackedRun
from sr.metric.key import MetricKey
from sr.model.evaluation import EvaluationOutput
from sr.record.result import EVALUATION_FILE, SUMMARY_FILE, EvaluationResult, SetResult, set_results_to_json
from sr.track.columns import name_columns


class Evaluation:
    """Evaluates what a config names. `choices` are the choices of its groups, `overrides` the words of the command line."""

    def __init__(self, cfg: DictConfig, choices: dict[str, str], overrides: list[str]) -> None:
        self.tracker = build_part(schema.to_plain(cfg.track), "track")
        self.device = select_device(cfg.device, needs_float64=True)
        loaded = load_net(
            cfg, choices, self.tracker, self.device
        )  # its scale and color are needed for all that follows
        self.leaks = loaded.leaks if loaded else ()
        self.config = schema.resolve_config(cfg, choices)
        self.run_start = RunStart("evaluate", self.config, choices, overrides)

        # Protocol and data.
        self.protocol = build_part(self.config["metric"], "metric")
        self.data = build_data(self.config)
        self.data.select_channels = self.protocol.select_channels
        self.data.prepare_data()
        self.data.setup("test")
        sets = self.data.eval_sets["test"]
        self.names = [self.data.set_name("test", k) for k in range(len(sets))]
        images = dict(zip(self.names, (image_set.names for image_set in sets), strict=True))
        self.fingerprint = fingerprint_data(self.config, self.data, self.protocol)

        # What is evaluated, and what it is compared with.
        self.predictor = build_predictor(self.config, choices, loaded, images, self.protocol, self.device)
        self.model = self._find_published_model()
        protocols = {
            name: self.protocol.describe(self.data.describe_lr("test", k)) for k, name in enumerate(self.names)
        }
        settings = InferenceSettings(self.config["ensemble"], self.config["tile"])
        self.reference = Reference(self.model, self.config["against"], self.protocol, settings, protocols, images)

        self.results: dict[str, SetResult] = {}  # by set
        self.unfinished: dict[str, SetResult] = {}  # the set that was interrupted

    def run(self) -> None:
        """Evaluate all sets; everything that was measured is saved, however the run ends."""
        folder = create_run_folder(self.config["paths"]["runs"], self._format_title())
        self.tracked_run = TrackedRun(self.run_start, self.tracker, folder)
        tags = list_tags(self.config)
        with self.tracked_run.open(self, self.protocol.name, tags, self.device, self.fingerprint):
            cost = {"parameters": self.predictor.parameters, "multiply_adds_1280x720": self.predictor.multiply_adds}
            self.tracker.log_points({f"cost/{key}": value for key, value in cost.items() if value is not None}, 0)
            for index, name in enumerate(self.names):
                self.results[name] = self._evaluate_set(index, name)
                self._log(name, self.results[name])
                self.tracker.mark_saved(0)  # a finished set is never evaluated again

    def _find_published_model(self) -> str | None:
        """Return the name of this net in the published tables, as the user gives it or by its class and size."""
        if self.config["published"] is not None:
            return find_model(self.config["published"])
        if self.predictor.parameters is None or self.config["interpolate"] is not None:
            return None
        return recognize_model(self.predictor.name, self.predictor.parameters)

    def _evaluate_set(self, index: int, name: str) -> SetResult:
        evaluator = SetEvaluator(self.data, index, self.predictor, self.reference, self.device)
        interpolated = describe_interpolation(self.config).get("interpolated")
        try:
            result = evaluator.evaluate(partial(self._log_panels, name, evaluator.images.names[: self.tracker.panels]))
        except BaseException:  # Ctrl-C as well
            unfinished = evaluator.build_unfinished_result()
            if unfinished:
                unfinished.interpolated = interpolated
                self.unfinished[name] = unfinished
            raise
        result.interpolated = interpolated
        result.leaks = [str(leak) for leak in self.leaks if leak.set == name]
        if isinstance(self.data, Folder) and self.data.sets["test"][index] == self.data.name:
            result.notes.append(
                f"these are the {result.count} images that data={self.data.name} holds out, not the whole folder"
            )
        return result

    def _log_panels(self, set_name: str, shown: list[str], names: list[str], output: EvaluationOutput) -> None:
        """Log a panel of each image of the batch whose name is in `shown`."""
        for k, image in enumerate(names):
            if image in shown:
                single = EvaluationOutput(*(tensor[k : k + 1] for tensor in output))
                self.tracker.log_image(f"panels/test/{set_name}/{image}", partial(draw_panel, single, self.protocol), 0)

    def _log(self, name: str, result: SetResult) -> None:
        """Log the means of a set, without those that are nan."""
        cost = {"ms_per_image": result.ms_per_image, "peak_memory_mb": result.peak_memory_mb}
        means = result.metrics | {key: value for key, value in cost.items() if value is not None}
        points = {MetricKey("test", name, key): value for key, value in means.items()}
        points |= {MetricKey("test", name, key, "bicubic"): value for key, value in result.bicubic.items()}
        points = {key: value for key, value in points.items() if not math.isnan(value)}
        self.tracker.log_points(name_columns(points, self.data, self.protocol), 0)

    def store(self, status: str) -> None:
        """Write evaluate.json and summary.json, and give the tracker the table as the run's description."""
        self.tracked_run.save_text(EVALUATION_FILE, set_results_to_json(self.results | self.unfinished))
        self.tracked_run.save_text(SUMMARY_FILE, self._summarize(status).to_json())
        if self.results:
            lines = [f"    {line}" for line in self._format_table().splitlines()]
            title = f"{self._format_label()}, protocol {self.protocol.name}"
            self.tracker.set_description("\n".join([title, "", *lines]))

    def print(self, status: str) -> None:
        """Print the table, and where the run is."""
        label = f"{self._format_label()} ×{self.config['scale']}, protocol {self.protocol.name}"
        print(f"\n{status.lower()}: {label}\n")
        print(f"{self._format_table()}\n" if self.results else "", end="")
        for name, result in self.unfinished.items():
            print(f"{name}: interrupted; the values of its first {result.count} images are in {EVALUATION_FILE}")
        self.tracked_run.print_location()

    def _format_table(self) -> str:
        cost = report.format_cost(self.predictor.parameters, self.predictor.multiply_adds)
        return report.format_report(self.results, self.protocol, cost)

    def _format_title(self) -> str:
        """Return the name of the run's folder."""
        name = re.sub(r"\W+", "-", self.predictor.name.lower())
        name += "" if self.config["interpolate"] is None else f"-alpha-{self.config['alpha']}"
        return f"evaluate-{name}_{'-'.join(self.names)}_x{self.config['scale']}"[:100]

    def _format_label(self) -> str:
        """Return the net's name with everything that changes its numbers: IMDN+ is IMDN with self-ensemble."""
        tile = f" in tiles of {self.config['tile']}" if self.config["tile"] else ""
        return f"{self.predictor.name}{'+' * bool(self.config['ensemble'])}{format_label(self.config)}{tile}"

    def _summarize(self, status: str) -> EvaluationResult:
        return EvaluationResult(
            run_id=self.tracker.run_id,
            status=status,
            protocol={name: result.protocol for name, result in self.results.items()},
            net=self._format_label(),
            published=self.model,
            scale=self.config["scale"],
            parameters=self.predictor.parameters,
            multiply_adds_1280x720=self.predictor.multiply_adds,
            **{key: self.config[key] for key in OPTIONS},
            images=self.config["images"],
        )
