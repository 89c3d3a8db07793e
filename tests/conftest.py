"""Shared by all tests: one thread, as every job of the pipeline has; a trained teacher; small
projects, for those that run Snakemake.

Bits depend on the number of threads, and threads that wait for each other on a busy machine crawl.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from small_project import MANIFEST, Project

from xkd.plan.runs import Layout

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# `pytest &` and `nohup` ignore what tests send to processes, which would inherit that.
for number, usual in (signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def pytest_configure(config: pytest.Config) -> None:
    """Tests compare bits of CPUs, wherever they run; `-m gpu` asks for those of a GPU."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run whole workflows go first: begun last, one would keep a single core busy."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A layout with prepared images and a trained teacher, for tests that train students in it."""
    import fake_cells  # imports torch, which many tests do without

    layout = Layout(tmp_path_factory.mktemp("school"))
    fake_cells.prepared(layout)
    fake_cells.train(fake_cells.teacher_settings(), layout)
    return layout


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which one cell was trained on this machine, without SLURM and undisturbed."""
    made = Project(tmp_path_factory.mktemp("undisturbed") / "project")
    status, printed = made.run(MANIFEST)
    assert status == 0, printed
    return made


@pytest.fixture
def project(reference: Project, tmp_path: Path) -> Iterator[Project]:
    """A project in which nothing is left to do but to train and what follows."""
    made = Project(tmp_path / "ein Projekt é", reference)
    yield made
    made.abandon()


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[[Path], str]]:
    """Serves a folder at the address it returns, as the publishers' sites would."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
