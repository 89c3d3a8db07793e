"""A cluster for all tests in this folder."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, missing
from small_project import Project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slurm")


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Skips what cannot run here, and says what is missing."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("snakemake-executor-plugin-slurm is not installed: run `make test-slurm`")
    if problem := missing(accounting=False):
        pytest.skip(f"no SLURM to test with: {problem}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """With accounting, so that `sacct` tells what became of jobs."""
    yield from _cluster(accounting=True)


@pytest.fixture(scope="session")
def cluster_without_accounting() -> Iterator[Cluster]:
    yield from _cluster(accounting=False)


def _cluster(accounting: bool) -> Iterator[Cluster]:
    if problem := missing(accounting):
        pytest.skip(f"no SLURM to test with: {problem}")
    with Cluster(accounting) as cluster:
        yield cluster


@pytest.fixture
def states(cluster: Cluster, project: Project) -> Iterator[Callable[[], dict[str, str]]]:
    """Job -> state, of the jobs that began in this test; none of them outlives it."""
    before = set(_states(cluster))
    yield lambda: {job: state for job, state in _states(cluster).items() if job not in before}
    project.abandon()
    cluster.cancel()


def _states(cluster: Cluster) -> dict[str, str]:
    rows = cluster.run("squeue", "--states=all", "--noheader", "--format=%i %T").splitlines()
    return dict(sorted((row.split() for row in rows), key=lambda row: int(row[0])))
