"""The demo in small on a cluster, by the documentation's own words, and the same without SLURM."""

import re
import shlex
import textwrap

import pytest
from cluster import Cluster
from small_project import ROOT, Project


def five_steps() -> tuple[str, list[str]]:
    """The profile that the five steps of docs/cluster.md have a user write, and their command."""
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    profile, command = re.findall(r"```(?:yaml)?\n(.*?)```", text, re.DOTALL)
    python, module, snakemake, *arguments = shlex.split(command)
    assert [python, module, snakemake] == [".venv-slurm/bin/python", "-m", "snakemake"]
    return textwrap.dedent(profile), arguments


@pytest.fixture(scope="module")
def done(reference: Project, cluster: Cluster, tmp_path_factory) -> Project:
    """A project that ran to its end on the cluster, in steps 3 to 5."""
    profile, arguments = five_steps()
    home = tmp_path_factory.mktemp("home")
    own = home / ".config" / "snakemake" / "mycluster" / "config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(profile)
    made = Project(tmp_path_factory.mktemp("cluster") / "project")
    where = {"cluster": cluster, "profile": None, "environment": {"HOME": str(home)}}
    arguments = [word.replace("scale=paper", "scale=demo") for word in arguments]
    status, planned = made.run(*arguments, "-n", **where)
    assert status == 0, planned
    assert re.search(r"^train +\d", planned, re.MULTILINE)
    status, printed = made.run(*arguments, **where)
    assert status == 0, printed
    status, printed = reference.run("--quiet", "rules")
    assert status == 0, printed
    return made


def test_numbers_are_those_of_a_local_run_bit_for_bit(reference: Project, done: Project) -> None:
    names = (
        "weights.safetensors", "history.csv", "metrics.json", "predictions.npz", "cell.json",
        "search.json", "responses.json", "clusters.csv", "le_table3.csv", "oracle_table4.csv",
        "oracle_figure4.csv",
    )  # fmt: skip
    expected = reference.files(names)
    assert {path.rpartition("/")[2] for path in expected} == set(names)
    assert done.files(names) == expected


def test_jobs_went_where_the_profile_sent_them(cluster: Cluster, done: Project) -> None:
    jobs = cluster.run("squeue", "--states=all", "--noheader", "--format=%P %a %k").splitlines()
    trained = [job for job in jobs if "rule_train" in job or "rule_search" in job]
    assert trained
    assert all(job.startswith("gpu lab ") for job in trained)
    assert any(job.startswith("cpu lab rule_prepare") for job in jobs)


def test_status_says_that_all_is_done(cluster: Cluster, done: Project) -> None:
    first, *_ = done.status(cluster)
    finished, of = re.search(r"(\d+) of (\d+) jobs done", first).groups()
    assert finished == of
