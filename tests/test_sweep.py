

# conf/sweep/*.yaml.


@pytest.mark.group("sweep")
def test_every_sampler_chooses_trials(choice: str, compose: Callable, sweep: Callable[..., Study]) -> None:
    settings = compose(f"sweep={choice}", "sweep.trials=2")["sweep"]
    words = ("x=1,2",) if settings["sampler"] is None else ("x=interval(0,10)",)
    assert [trial.state for trial in sweep(*words, settings=settings).trials] == [TrialState.COMPLETE] * 2


@pytest.mark.group("sweep/pruner")
def test_every_pruner_is_asked(choice: str, compose: Callable, sweep: Callable[..., Study]) -> None:
    settings = compose(f"sweep/pruner={choice}")["sweep"]
    assert len(sweep("x=3,9", settings=settings).trials) == 2


# The command.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_steps=2"], "expected an option that varies"),
        (["scale=2,5"], "scale=5: expected one of 2, 3, 4, 8"),
        (["model/net=espcn,edzr"], "edzr"),
        (["seed=0,1", "sweep.trials=0"], "sweep.trials=0"),
        (["seed=0,1", "sweep.jobs=two"], "sweep.jobs=two"),
        (["seed=0,1", "sweep.name=../x"], "sweep.name=../x"),
        (["seed=0,1", "sweep.objective=beauty"], "sweep.objective=beauty: expected one of psnr, ssim"),
        (["seed=range(0,100)", "data.batch=range(1,200)", "data.patch=range(1,200)"], "at most 10000 combinations"),
        (["model.optimizer.lr=interval(1e-4,1e-2)"], "type sweep=tpe"),
        (["sweep=tpes", "seed=0,1"], "tpe"),
        (["seed=0,1", "sweep/pruner=median", "sweep.objective=[psnr,train_seconds]"], "one objective only"),
        (["seed=0,1", "sweep.trails=3"], "sweep.trials"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_trains(
    sr: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setenv("SR_RUNS", str(tmp_path / "runs"))
    answer = sr("run", "-m", *words)
    assert answer.code == 2, answer.err
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "runs").exists()


def test_the_wrong_trial_is_named(sr: Callable) -> None:
    assert "(in the trial scale=5 seed=0; nothing was run)" in sr("run", "-m", "scale=2,5", "seed=0").err


def test_a_sweep_without_m_is_refused(sr: Callable) -> None:
    answer = sr("run", "sweep=tpe")
    assert (answer.code, "a sweep needs -m: python -m sr.run -m sweep=tpe" in answer.err) == (2, True)
