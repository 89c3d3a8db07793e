"""A cluster without accounting, where `sacct` exists and answers nothing."""

from cluster import Cluster
from small_project import MANIFEST, Project, wait_for


def test_jobs_are_followed_to_their_end(
    cluster_without_accounting: Cluster, reference: Project, project: Project
) -> None:
    cluster = cluster_without_accounting
    project.hold()
    snakemake = project.start(MANIFEST, cluster=cluster)
    (first,) = project.held()
    cluster.run("scancel", first)  # a failure has to be noticed as well
    wait_for(lambda: "Trying to restart job" in project.printed, project)
    project.release()
    status, printed = project.end(snakemake)
    assert status == 0, printed
    found = project.files()
    assert found.items() <= reference.files().items()
    assert found
