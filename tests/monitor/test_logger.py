"""What a terminal shows of a run of Snakemake, and the state that it leaves for `xkd status`."""

import io
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from xkd.files import write_json
from xkd.monitor import pipeline
from xkd.monitor.failures import Failures
from xkd.monitor.logger import Reporter, Work
from xkd.monitor.outcome import closing, outcome
from xkd.monitor.targets import Translator
from xkd.plan import config
from xkd.plan.grid import Plan
from xkd.plan.runs import Cell, Layout

ROOT = Path(__file__).resolve().parents[2]
CELL = Cell("digits", "half_resnet14", "le_gradcam")
LOG = f"logs/demo/train/{CELL}.log"
WORKS = {
    1: Work("prepare", "digits"),
    2: Work("train", str(CELL)),
    3: Work("le_table2", ""),
    4: Work("responses", "digits/cnn10/ce/seed0"),
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(config.load(ROOT / "config.yaml"))


@pytest.fixture
def told(plan, tmp_path, monkeypatch):
    """A logger as Snakemake's, its reporter, and what was printed."""
    monkeypatch.chdir(tmp_path)
    layout = Layout(Path("results/demo"))
    layout.cell(CELL).mkdir(parents=True)
    scores = {"0": 0.94, "1": 0.96}
    runs = {seed: {"metrics": {"top1": score}} for seed, score in scores.items()}
    write_json(layout.manifest(CELL), {"runs": runs})
    failures, out = Failures(), io.StringIO()
    reporter = Reporter(plan, layout, failures, out)
    logger = logging.getLogger("as Snakemake's")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [failures, reporter]
    yield SimpleNamespace(logger=logger, reporter=reporter, layout=layout, out=out)
    reporter.end()


def start(told, *jobs: int) -> None:
    told.logger.info("Execute", extra={"event": "job_started", "jobs": list(jobs)})


def finish(told, job: int, done: int, total: int = len(WORKS)) -> None:
    told.logger.info("Finished", extra={"event": "job_finished", "job_id": job})
    told.logger.info(None, extra={"event": "progress", "done": done, "total": total})


def test_a_finished_cell_is_one_line_with_accuracy_seeds_count_and_time_left(told):
    told.reporter.begin(WORKS)
    start(told, 2)
    finish(told, 2, 1)
    line = told.out.getvalue()
    assert line.count("\n") == 1
    assert line.startswith("[1/4  ")
    assert "  ~0 s left]  LE(Grad-CAM) · ResNet14/2 · Digits: 95.00 ± 1.41 % (2 seeds)" in line


def test_items_are_told_with_their_files_and_what_nobody_waits_for_is_not(told):
    told.reporter.begin(WORKS)
    finish(told, 4, 1)
    assert told.out.getvalue() == ""
    finish(told, 3, 2)
    assert "LE Table 2: results/demo/tables/le_table2.html" in told.out.getvalue()


def test_a_failed_job_is_told_at_once_with_its_reason(told):
    Path(LOG).parent.mkdir(parents=True)
    Path(LOG).write_text("xkd train: seed 3: the loss became nan at epoch 2\n")
    told.reporter.begin(WORKS)
    fields = {"rule_name": "train", "log": [LOG], "jobid": 2, "rule_msg": None}
    told.logger.error("Error in rule", extra={"event": "job_error", **fields})
    assert f"FAILED train {CELL}: seed 3: the loss became nan at epoch 2" in told.out.getvalue()


def test_a_dry_run_and_a_job_on_a_cluster_say_nothing(told):
    start(told, 2)
    finish(told, 2, 1)
    assert told.out.getvalue() == ""
    assert not told.layout.pipeline().exists()


def test_a_damaged_manifest_is_no_reason_to_stop(told):
    told.layout.manifest(CELL).write_text("{}")
    told.reporter.begin(WORKS)
    finish(told, 2, 1)
    assert "Digits: finished" in told.out.getvalue()


def test_time_left_is_in_proportion_to_the_limits_that_rules_ask_for(told, monkeypatch):
    clock = iter([0.0, 30.0])
    monkeypatch.setattr("xkd.monitor.logger.time.monotonic", lambda: next(clock))
    works = {1: Work("train", str(CELL), 16, 16), 2: Work("train", str(CELL), 46, 16)}
    told.reporter.writer.begin = lambda: None
    told.reporter.works, told.reporter._began = works, next(clock)
    told.reporter._weight = works[1].weight
    # of 6 s and 6 + 60 * 30 / 3 s the first is done, after 30 s
    assert told.reporter.left() == pytest.approx(30 * 606 / 6)


def test_jobs_of_snakemake_are_taken_with_rule_wildcards_and_limit():
    def job(number, rule, wildcards, **resources):
        named = SimpleNamespace(name=rule)
        return SimpleNamespace(
            jobid=number, rule=named, wildcards_dict=wildcards, resources=resources
        )

    class Hashed(SimpleNamespace):
        __hash__ = object.__hash__

    jobs = [job(7, "train", {"cell": str(CELL)}, runtime=20), job(8, "le_table2", {})]
    works = Work.of([Hashed(**vars(one)) for one in jobs])
    assert works == {
        7: Work("train", str(CELL), 20.0, 20.0),
        8: Work("le_table2", "", 0.0, 20.0),
    }


def test_the_state_is_there_while_snakemake_works_and_gone_afterwards(told):
    told.reporter.begin(WORKS)
    start(told, 1, 2)
    finish(told, 1, 1)
    found = pipeline.read(told.layout)
    assert (found.done, found.total) == (1, 4)
    assert found.running == {("train", str(CELL))}
    told.reporter.end()
    assert pipeline.read(told.layout) is None


def test_a_second_snakemake_does_not_write_into_the_state_of_the_first(told, plan):
    told.reporter.begin(WORKS)
    other = Reporter(plan, told.layout, Failures(), io.StringIO())
    other.begin({9: Work("train", "other")})
    assert pipeline.read(told.layout).total == 4
    other.end()
    assert pipeline.read(told.layout).total == 4


def test_only_warnings_of_others_reach_the_terminal_once_the_reporter_replaces_them(told):
    stream = io.StringIO()
    others = logging.StreamHandler(stream)
    told.logger.addHandler(others)
    told.reporter.replace(told.logger)
    told.logger.info("Select jobs to execute...")
    told.logger.warning("something odd")
    assert stream.getvalue() == "something odd\n"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("No rule to produce le_tabel2 (if you use ...).", "unknown target 'le_tabel2'; did you "),
        (
            "No rule to produce results/demo/runs/digits/mlp256/cee/cell.json (if ...).",
            "no experiment of config.yaml at scale demo has the cell digits/mlp256/cee",
        ),
        ("No rule to produce a/b.txt (if you ...", "no rule makes a/b.txt; "),
        (
            "InputFunctionException in rule train:\n  Refused: no such thing\nTraceback",
            "no such th",
        ),
    ],
)
def test_a_target_that_no_rule_makes_is_one_line(plan, message, line):
    translator = Translator(plan, Layout(Path("results/demo")), lambda: ["all", "le_table2"])
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, message, (), None)
    record.event = "error"
    assert translator.filter(record)
    assert record.msg.startswith(line)
    assert "\n" not in record.msg


def test_other_errors_keep_their_words(plan):
    translator = Translator(plan, Layout(Path("results/demo")), list)
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, "disk full", (), None)
    record.event = "error"
    assert translator.filter(record)
    assert record.msg == "disk full"


def test_the_outcome_counts_what_exists(plan, tmp_path):
    layout = Layout(tmp_path / "results" / "demo")
    assert outcome(plan, layout)[0].startswith(f"nothing in {layout.root} yet")
    for name in ("le_table2", "le_warmup"):
        for path in layout.item("tables", name).values():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
    wanted = sum(i.kind == "tables" and not i.optional for i in plan.items.values())
    rows = ("a,,holds,True", "a,resnet8,undecided,False", "b,,holds,True", "c,,undecided,True")
    claims = "\n".join(["item,network,outcome,counted", *rows]) + "\n"
    (layout.root / "tables" / "le_claims.csv").write_text(claims)
    (layout.root / "report.html").touch()
    assert outcome(plan, layout) == [
        f"tables   {layout.root}/tables/  (1 of {wanted} and 1 optional)",
        "claims   LE: 2 holds, 1 undecided",
        f"report   {layout.root}/report.html",
    ]


def test_a_run_that_made_nothing_of_the_results_says_what_it_made(plan, tmp_path):
    layout = Layout(tmp_path / "results" / "demo")
    page = str(tmp_path / "results" / "reference" / "index.html")
    assert closing(plan, layout, [page]) == [f"made     {page}"]
    mixed = [page, str(layout.root / "index.html")]
    assert closing(plan, layout, mixed) == closing(plan, layout, []) == outcome(plan, layout)
