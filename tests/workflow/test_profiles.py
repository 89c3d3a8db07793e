"""How to run, as the profiles say it: what Snakemake reads from them."""

from pathlib import Path

import pytest
from snakemake.profiles import ProfileConfigFileParser

PROFILES = Path(__file__).resolve().parents[2] / "profiles"


def read(name: str) -> dict:
    with (PROFILES / name / "config.yaml").open() as file:
        return dict(ProfileConfigFileParser().parse(file))


@pytest.mark.parametrize("name", ["default", "gpu", "slurm"])
def test_a_profile_keeps_going_and_completes_what_was_left_incomplete(name):
    found = read(name)
    assert found["keep-going"] == found["rerun-incomplete"] == "True"


def test_slurm_leaves_to_the_user_what_is_peculiar_to_a_cluster():
    found = read("slurm")
    # Of a user's profile and this one, this one wins, key by key.
    assert not {"default-resources", "set-resources", "resources", "slurm-qos"} & found.keys()
    assert "slurm_account" not in str(found)


def test_slurm_retries_but_never_by_arrays_and_asks_squeue():
    found = read("slurm")
    assert found["retries"] == "2"
    assert found["slurm-status-command"] == "squeue"
    assert found["slurm-jobname-prefix"] == "xkd"
    assert "slurm-array-jobs" not in found


def test_no_rule_retries_by_itself():
    rules = (PROFILES.parent / "rules").glob("*.smk")
    assert not [path.name for path in rules if "retries" in path.read_text()]


@pytest.mark.parametrize(("named", "count"), [("2,5", 2), ("1", 1)])
def test_gpu_counts_what_a_person_names(monkeypatch, named, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert read("gpu")["resources"] == [f"gpu={count}"]


def test_gpu_runs_jobs_without_a_gpu_too(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("glob.glob", lambda _: [])
    assert read("gpu")["resources"] == ["gpu=1"]
