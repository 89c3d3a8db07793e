"""The summary at the end of a run in which jobs failed."""

import logging
from pathlib import Path

import pytest

from xkd.monitor.failures import Failures

LOG = "logs/demo/train/digits/resnet8/ce.log"


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """A logger as Snakemake's, its listener, and a folder with a job's log."""
    monkeypatch.chdir(tmp_path)
    Path(LOG).parent.mkdir(parents=True)
    Path(LOG).write_text("")
    listener = Failures()
    logger = logging.getLogger("as Snakemake's")
    logger.propagate = False
    logger.handlers = [listener]
    return logger, listener


def fail(logger, jobid: int = 4, rule: str = "train", log: str = LOG, said: str | None = None):
    fields = {"rule_name": rule, "log": [log], "jobid": jobid, "rule_msg": said}
    logger.error("Error in rule", extra={"event": "job_error", **fields})


def test_the_reason_is_the_jobs_last_words_and_the_command_can_be_typed(heard):
    logger, listener = heard
    Path(LOG).write_text("c: training\nxkd train: seed 3: the loss became nan at epoch 2\n")
    fail(logger)
    assert listener.summary(["/a/bin/snakemake", "--config", "seeds=[0, 1]"]) == [
        "",
        "1 job failed; everything that did not need them is kept:",
        f"  train digits/resnet8/ce: seed 3: the loss became nan at epoch 2  [{LOG}]",
        "to continue: /a/bin/snakemake --config 'seeds=[0, 1]'",
    ]
    module = ["/x/site-packages/snakemake/__main__.py", "-n"]
    assert listener.summary(module)[-1] == "to continue: python -m snakemake -n"


def test_a_job_that_succeeds_at_a_later_attempt_did_not_fail(heard):
    logger, listener = heard
    fail(logger)
    logger.warning("Finished", extra={"event": "job_finished", "job_id": 4})
    assert listener.summary(["snakemake"])[1] == "stopped; what is done is kept"


def test_a_job_that_fails_three_times_is_told_once(heard):
    logger, listener = heard
    for _ in range(3):
        fail(logger)
    assert len(listener.summary(["snakemake"])) == 4


def test_what_slurm_says_comes_before_the_last_words(heard):
    logger, listener = heard
    Path(LOG).write_text("c: stopped by signal 15; checkpoints are left\n")
    fail(logger, said="SLURM-job '12' failed, SLURM status is: 'TIMEOUT'. Reason: Unknown.")
    assert ": SLURM job 12: TIMEOUT; c: stopped by signal 15; " in listener.summary(["s"])[2]


def test_a_refused_submission_tells_the_schedulers_words_in_one_line(heard):
    logger, listener = heard
    fail(
        logger,
        said="SLURM sbatch failed. The error message was 'sbatch: error: Memory specification can "
        "not be satisfied\nsbatch: error: Batch job submission failed'.\n    sbatch call:\n  x'.",
    )
    told = "Memory specification can not be satisfied Batch job submission failed"
    assert f"train digits/resnet8/ce: {told}  [" in listener.summary(["s"])[2]


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        ("returned non-zero exit status 137", "ended by SIGKILL; out of memory?"),
        ("died with <Signals.SIGKILL: 9>", "ended by SIGKILL; out of memory?"),
        ("returned non-zero exit status 143", "ended by SIGTERM"),
        ("died with <Signals.SIGHUP: 1>", "ended by SIGHUP"),
    ],
)
def test_a_killed_job_has_its_signal_told_and_not_its_last_progress(heard, ended, told):
    logger, listener = heard
    Path(LOG).write_text("c: seed 0  epoch 3/9  loss 0.1  900 images/s, 5 s left\n")
    logger.error(f"Command 'x;  python -m xkd train c > {LOG} 2>&1' {ended}.")
    fail(logger)
    assert f": {told}  [" in listener.summary(["s"])[2]


def test_the_rule_of_a_table_is_its_name(heard):
    logger, listener = heard
    fail(logger, rule="le_table2", log="logs/demo/tables/le_table2.log")
    assert listener.summary(["s"])[2].startswith("  le_table2: ")
