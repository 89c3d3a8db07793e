"""Jobs that are stopped in every way a cluster knows, and what a later one makes of them.

Each test ends with the comparison to a run that nobody disturbed.
"""

import json
import re
import signal
from collections.abc import Callable

import pytest
import yaml
from cluster import Cluster
from small_project import CELL, IMPATIENT, MANIFEST, PROFILE, Project, wait_for

States = Callable[[], dict[str, str]]
FILES = ("weights.safetensors", "history.csv", "metrics.json", "predictions.npz")


@pytest.fixture
def expect_the_same(reference: Project, project: Project) -> Callable[[], None]:
    """That the trained cell is what an undisturbed run left."""

    def expect() -> None:
        found = project.files((*FILES, "cell.json"))
        known = reference.files((*FILES, "cell.json"))
        assert len(found) == 2 * len(FILES) + 1
        assert found == {name: known[name] for name in found}

    return expect


def modified(project: Project) -> list[int]:
    return [path.stat().st_mtime_ns for path in project.folder.rglob("weights.safetensors")]


def checkpoint(project: Project) -> bool:
    """Whether there is one, if only the last but one: jobs are also killed while they write."""
    return any((project.folder / f"results/demo/runs/{CELL}/.resume").glob("seed0.pt*"))


def test_a_job_cut_by_its_time_limit_is_tried_again_and_continues(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    costs = project.folder / "workflow/xkd/plan/costs.py"
    costs.write_text(costs.read_text().replace("STARTING = 15", "STARTING = 0"))  # one minute
    project.hold()
    snakemake = project.start(MANIFEST, cluster=cluster)
    (first,) = project.held()
    wait_for(lambda: states()[first] == "TIMEOUT", project)
    assert checkpoint(project)
    project.release()
    status, printed = project.end(snakemake)
    assert status == 0, printed
    second = str(int(first) + 1)
    assert states() == {first: "TIMEOUT", second: "COMPLETED"}
    for job, limit in ((first, "00:01:00"), (second, "00:02:00")):
        assert f"TimeLimit={limit}" in cluster.run("scontrol", "show", "job", job)
    assert "seed 0 continues after epoch" in project.log()
    expect_the_same()


def test_a_preempted_job_is_requeued_and_continues(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    project.hold()
    spot = ("--default-resources", "slurm_partition=spot", "--retries", "0")
    snakemake = project.start(MANIFEST, *spot, cluster=cluster)
    (job,) = project.held()
    cluster.run("sbatch", "--nodelist=n1", "--cpus-per-task=4", "--output=/dev/null", "--wrap=true")
    wait_for(lambda: states()[job] == "PENDING", project)
    assert checkpoint(project)
    project.release()
    status, printed = project.end(snakemake)
    assert status == 0, printed
    assert states()[job] == "COMPLETED"
    assert "Restarts=1" in cluster.run("scontrol", "show", "job", job)
    assert "seed 0 continues after epoch" in project.log()
    expect_the_same()


def test_a_job_on_a_lost_node_is_requeued_to_another_one(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(MANIFEST, "--retries", "0", cluster=cluster)
    (job,) = project.held()
    node = cluster.run("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    wait_for(lambda: states()[job] != "RUNNING", project)
    project.release()
    status, printed = project.end(snakemake)
    if "DOWN" in cluster.run("scontrol", "show", "node", node):  # it may have come back by itself
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
    assert status == 0, printed
    assert states()[job] == "COMPLETED"
    expect_the_same()


def test_a_job_cancelled_by_hand_is_tried_again_and_continues(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(MANIFEST, cluster=cluster)
    (first,) = project.held()
    cluster.run("scancel", first)
    wait_for(lambda: states()[first] == "CANCELLED", project)
    project.release()
    status, printed = project.end(snakemake)
    assert status == 0, printed
    assert list(states().values()) == ["CANCELLED", "COMPLETED"]
    assert "seed 0 continues after epoch" in project.log()
    expect_the_same()


def test_ctrl_c_cancels_the_jobs_and_the_same_command_continues(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(MANIFEST, cluster=cluster)
    (first,) = project.held()
    told = project.status(cluster)[-1]
    assert re.match(rf"running: train {CELL}: 0 of 2 seeds done, .*SLURM job {first} on ", told)
    snakemake.send_signal(signal.SIGINT)
    status, printed = project.end(snakemake)
    assert status == 1, printed
    wait_for(lambda: states()[first] == "CANCELLED", project)
    assert checkpoint(project)
    assert "seed 0 continues after epoch" in project.status(cluster)[-1]
    project.release()
    status, printed = project.run(MANIFEST, cluster=cluster)
    assert status == 0, printed
    assert "seed 0 continues after epoch" in project.log()
    expect_the_same()


def test_after_a_killed_snakemake_nobody_writes_beside_the_orphaned_job(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    project.hold()
    snakemake = project.start(MANIFEST, cluster=cluster)
    (orphan,) = project.held()
    snakemake.kill()
    snakemake.wait()
    lock = project.folder / f"results/demo/runs/{CELL}/.resume/lock"
    holder = json.loads(lock.read_text())
    assert holder["job"] == orphan

    status, printed = project.run(MANIFEST, "--retries", "0", cluster=cluster)
    assert status == 1
    assert f"`squeue -j {orphan}`" in printed
    assert f"`scancel {orphan}`" in printed
    assert states()[orphan] == "RUNNING"
    assert json.loads(lock.read_text()) == holder

    project.release()
    wait_for(lambda: states()[orphan] == "COMPLETED", project)
    trained = modified(project)
    status, printed = project.run(MANIFEST, cluster=cluster)
    assert status == 0, printed
    assert modified(project) == trained
    expect_the_same()


def test_of_two_snakemakes_at_once_the_second_submits_nothing(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    project.hold()
    first = project.start(MANIFEST, cluster=cluster)
    project.held()
    before = project.printed
    status, printed = project.run(MANIFEST, cluster=cluster)
    assert status != 0
    assert "cannot be locked" in printed
    assert len(states()) == 1
    project.release()
    assert project.end(first)[0] == 0, before
    expect_the_same()


def test_a_config_edited_meanwhile_concerns_later_runs_only(
    cluster: Cluster, project: Project, states: States, expect_the_same: Callable
) -> None:
    cluster.run("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test")
    try:
        snakemake = project.start(MANIFEST, cluster=cluster)
        wait_for(lambda: list(states().values()) == ["PENDING"], project)
        assert f"queued: train {CELL}: SLURM job {next(iter(states()))}: PENDING" in "\n".join(
            project.status(cluster)
        )
        config = project.folder / "config.yaml"
        content = yaml.safe_load(config.read_text())
        content["scales"]["demo"]["recipes"]["r_mlp"]["lr"] = 0.5
        config.write_text(yaml.safe_dump(content))
    finally:
        cluster.run("scontrol", "update", "nodename=n1,n2", "state=resume")
    status, printed = project.end(snakemake)
    assert status == 0, printed
    expect_the_same()
    planned = project.run(MANIFEST, "--dry-run", cluster=cluster)[1]
    assert "Params have changed" in planned


def test_a_job_that_fails_is_tried_three_times_and_no_more(
    cluster: Cluster, project: Project, states: States
) -> None:
    data = project.folder / "results/demo/data/digits/data.safetensors"
    data.write_bytes(data.read_bytes()[:-1])
    status, printed = project.run(MANIFEST, cluster=cluster)
    assert status == 1
    assert list(states().values()) == ["FAILED"] * 3, printed
    summary = printed[printed.index("1 job failed") :]
    assert f"  train {CELL}: results/demo/data/digits/data.safetensors is damaged" in summary
    assert f"[logs/demo/train/{CELL}.log]" in summary
    assert f"to continue: {IMPATIENT} --workflow-profile {PROFILE} " in summary


def test_a_request_that_no_node_can_meet_ends_at_once_with_the_schedulers_reason(
    cluster: Cluster, project: Project, states: States
) -> None:
    greedy = ("--set-resources", "train:mem_mb=9999999")
    status, printed = project.run(MANIFEST, *greedy, cluster=cluster)
    assert status == 1
    summary = printed[printed.index("1 job failed") :]
    assert f"  train {CELL}: Memory specification can not be satisfied" in summary
    assert "RUNNING" not in states().values()


def test_a_gpu_job_holds_exactly_one_gpu(
    cluster: Cluster, project: Project, states: States
) -> None:
    project.hold()
    own = project.folder / "mycluster"
    own.mkdir()
    (own / "config.yaml").write_text(
        "default-resources: {slurm_account: lab}\n"
        "set-resources: {train: {gpu: 1, slurm_partition: gpu}}\n"
    )
    other = MANIFEST.replace("/ce/", "/le_grad/")
    snakemake = project.start("--profile", str(own), "--", MANIFEST, other, cluster=cluster)
    seen = project.held(2)
    assert sorted(seen.values()) == ["0", "1"]
    for job in seen:
        assert "gres/gpu=1" in cluster.run("scontrol", "show", "job", job).split("TRES=")[1]
    rows = cluster.run("squeue", "--noheader", "--format=%j %k %a").splitlines()
    assert all(row.startswith("xkd_") for row in rows)
    assert "rule_train_wildcards_digits_mlp1024_ce lab" in "\n".join(rows)
    snakemake.send_signal(signal.SIGINT)
    project.end(snakemake)
    wait_for(lambda: set(states().values()) == {"CANCELLED"}, project)
