"""The demo in small through the profile `slurm`, against the same without SLURM."""

import pytest
from cluster import Cluster

from small_project import Project


@pytest.fixture(scope="module")
def done(reference: Project, cluster: Cluster, tmp_path_factory) -> Project:
    """A project that ran to its end on the cluster."""
    made = Project(tmp_path_factory.mktemp("cluster") / "project")
    status, printed = made.run(cluster=cluster)
    assert status == 0, printed
    status, printed = reference.run("--quiet", "rules", cluster=None)
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
