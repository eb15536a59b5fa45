"""Evaluate a net, or result images, on named sets: measured, compared with published values, and tracked as a run."""

from omegaconf import DictConfig

from sr.checkpoint.interpolate import describe_interpolation
from sr.config import schema
from sr.config.build import build_data, build_part, select_device
from sr.evaluation.cost import check_cost, measure_cost
from sr.evaluation.loading import build_predictor, load_net, load_uncertainty_nets
from sr.evaluation.logger import EvaluationLogger
from sr.evaluation.predictor import MAX_NET_LENGTH, list_tags
from sr.evaluation.profile import evaluate_profile
from sr.evaluation.published import find_model, recognize_model
from sr.evaluation.reference import Reference
from sr.evaluation.report import EvaluationReport
from sr.evaluation.set_evaluator import SetEvaluator
from sr.evaluation.uncertainty import SpreadEvaluator
from sr.image.batch import EvaluationOutput
from sr.lifecycle.provenance import fingerprint_data
from sr.lifecycle.run_start import RunStart
from sr.lifecycle.tracked_run import TrackedRun
from sr.record.result import SetResult
from sr.record.run_name import MAX_LENGTH
from sr.runtime import malloc
from sr.runtime.error import UserError


class Evaluation:
    """Evaluates what a config names. `choices` are the choices of its groups, `overrides` the words of the command line."""

    def __init__(self, cfg: DictConfig, choices: dict[str, str], overrides: list[str]) -> None:
        malloc.retain_freed_memory()
        self.tracker = build_part(schema.to_plain(cfg.track), "track")
        self.device = select_device(cfg.device, needs_float64=True)
        loaded = load_net(cfg, choices, self.tracker, self.device)  # first, for it brings scale and color
        self.leaks, self.checkpoint_sha256 = (loaded.leaks, loaded.sha256) if loaded else ((), None)
        self.config = schema.resolve_config(cfg, choices)

        # Protocol and data.
        self.protocol = build_part(self.config["metric"], "metric")
        self.data = build_data(self.config)
        self.data.set_protocol(self.protocol)
        self.data.prepare_data()
        self.data.setup("test")
        sets = self.data.eval_sets["test"]
        self.names = [self.data.set_name("test", k) for k in range(len(sets))]
        images = dict(zip(self.names, (image_set.names for image_set in sets), strict=True))

        # What is evaluated, and what it is compared with.
        self.predictor = build_predictor(self.config, choices, loaded, images, self.protocol, self.device)
        check_cost(self.config, self.predictor)
        self.profile = build_part(self.config["profile"], "profile") if "profile" in self.config else None
        if self.profile and self.protocol.depth != 8:
            raise UserError("profile=degrade: expected images of 8 bits (found metric.depth=16); leave one of them out")
        self.uncertainty_nets = None
        if self.config["uncertainty"] is not False:
            self.uncertainty_nets = load_uncertainty_nets(self.config, loaded, self.predictor, self.tracker)
        self.run_start = RunStart("evaluate", self.config, choices, overrides, self._format_name())
        lr = [self.data.describe_lr("test", k) for k in range(len(sets))]
        protocols = dict(zip(self.names, map(self.protocol.describe, lr), strict=True))
        model, against = self._find_published_model(), self.config["against"]
        self.reference = Reference(model, against, self.protocol, self.config["ensemble"], protocols, images)
        self.logger = EvaluationLogger(self.tracker, self.data, self.protocol)

    def run(self) -> None:
        """Evaluate all sets; everything that was measured is saved, however the run ends."""
        fingerprint = fingerprint_data(self.config, self.data, self.protocol)
        folder = self.run_start.create_folder()
        run = TrackedRun(self.run_start, self.tracker, folder)
        report = EvaluationReport(
            run, self.config, self.protocol, self.predictor, self.reference.model, self.checkpoint_sha256
        )
        with run.open(report, self.protocol.name, list_tags(self.config), self.device, fingerprint):
            report.ntire_score = measure_cost(self.config, self.predictor, self.device)
            self.logger.log_cost(self.predictor, report.ntire_score)
            for index, name in enumerate(self.names):
                report.results[name] = self._evaluate_set(index, report)
                self.logger.log_result(name, report.results[name])
                if self.profile:
                    rows = evaluate_profile(self.profile, self.data, index, self.predictor, self.protocol, self.device)
                    for row in rows:
                        report.results[name].profile.append(row)  # one by one: an interrupt leaves those before

    def _evaluate_set(self, index: int, report: EvaluationReport) -> SetResult:
        """Return the result of a set; if it is interrupted, put what is finished of it into the report."""
        evaluator = SetEvaluator(self.data, index, self.predictor, self.reference, self.device)
        name, interpolated = evaluator.name, describe_interpolation(self.config).get("interpolated")
        selected = evaluator.images.names[: self.tracker.panels if self.data.has_panels else 0]
        spread = self._create_spread_evaluator() if self.uncertainty_nets else None

        def show(names: list[str], output: EvaluationOutput) -> None:
            self.logger.log_panels(name, selected, names, output)
            if spread:
                spread.update(output, names)

        try:
            result = evaluator.evaluate(show)
        except BaseException:  # Ctrl-C as well
            partial_result = evaluator.build_unfinished_result()
            if partial_result:
                partial_result.interpolated = interpolated
                report.unfinished[name] = partial_result
            raise
        if spread:
            result.uncertainty, report.sheets[name] = spread.compute(), spread.sheets
            self.logger.log_sheets(name, {image: sheet for image, sheet in spread.sheets.items() if image in selected})
        result.interpolated = interpolated
        result.leaks = [str(leak) for leak in self.leaks if leak.set == name]
        if self.data.sets["test"][index] == self.data.name and (note := self.data.describe_own_set("test")):
            result.notes.append(note)
        return result

    def _create_spread_evaluator(self) -> SpreadEvaluator:
        options = (self.config[option] for option in ("color", "ensemble", "tile"))
        return SpreadEvaluator(self.uncertainty_nets, self.protocol, self.data.degrade, *options)

    def _find_published_model(self) -> str | None:
        """Return the name of this net in the published tables, as the user gives it or by its class and size."""
        if self.config["published"] is not None:
            return find_model(self.config["published"])
        if self.predictor.parameters is None or self.config["interpolate"] is not None:
            return None
        return recognize_model(self.predictor.name, self.predictor.parameters)

    def _format_name(self) -> str:
        """Return the name of the run: the net, the scale and the sets."""
        alpha = "" if self.config["interpolate"] is None else f" alpha={self.config['alpha']}"
        name = f"{self.predictor.name.lower()[:MAX_NET_LENGTH]} evaluate{alpha}"
        return f"{name} x{self.config['scale']} {'+'.join(self.names)}"[:MAX_LENGTH].strip()
