"""One process that has imported torch and forks for every job: two seconds less for each of them.

    python -m xkd.warm COMMAND ...

runs a command, such as Snakemake. Each `python -m xkd VERB` that it starts, and each drawing script
(`python -m xkd.warm --script FILE`), hands its command line, environment and output to the warm
process and stays as a thin client: it passes signals on, ends with the exit status of the job, and
takes the job with it when it is killed. Results are the same.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

VARIABLE = "XKD_WARM"  # path of the socket
PRELOADED = (
    "xkd.analyses.base",
    "xkd.engine.backends.loop",
    "xkd.engine.backends.procs",
    "xkd.engine.cell",
    "xkd.engine.table",
    "xkd.search",
    # what drawing scripts import, and what Snakemake puts at their head
    "xkd.report.drawing",
    "xkd.report.plots",
    "xkd.report.saliency",
    "snakemake.script",
)
SCRIPT = "--script"
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LIMIT = 2**20  # bytes of a request

Main = Callable[[Sequence[str]], int]
AFFECTS_RESULTS = False


# -------------------------------------------------------------------------------------- the client


def handed_over() -> int | None:
    """The exit status of this process's command line, carried out by the warm process.

    Returns: None where there is no warm process; then the command is this process's own affair.
    """
    path = os.environ.get(VARIABLE)
    if not path or "WORLD_SIZE" in os.environ:  # torchrun's processes are their own
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        return None
    request = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    content = json.dumps(request).encode()
    connection.sendall(len(content).to_bytes(4))
    socket.send_fds(connection, [content[:1]], [1, 2])
    connection.sendall(content[1:])
    answer = connection.recv(2)
    if len(answer) < 2:  # the warm process is gone, and the job with it
        return 1
    by_signal, status = answer
    if by_signal:  # end likewise
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(status, signal.SIG_DFL)
        os.kill(os.getpid(), status)
    return status


# -------------------------------------------------------------------------------- the warm process


def serve(path: Path, main: Main, read: Callable[[Path], object] = Path) -> None:
    """Carry out requests until the process is ended.

    Args:
        main: from a command line to its exit status.
        read: of a job's frozen config, once, so that the jobs after it find it in memory.
    """
    import selectors
    from importlib import import_module

    from xkd import fingerprint as code

    for module in PRELOADED:
        import_module(module)
    code.by_module(*(name for name in sys.modules if name.startswith("xkd.")))  # remembered
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    jobs: dict[int, socket.socket] = {}
    ended, wake = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # those of a terminal are the clients' affair
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is server:
                    _accept(server, jobs, main, read)
                else:
                    os.read(ended, 4096)
            _reap(jobs)


def _accept(
    server: socket.socket,
    jobs: dict[int, socket.socket],
    main: Main,
    read: Callable[[Path], object],
) -> None:
    connection, _ = server.accept()
    try:
        size = int.from_bytes(_received(connection, 4))
        first, outputs, _, _ = socket.recv_fds(connection, 1, 2)
        request = json.loads(first + _received(connection, min(size, LIMIT) - 1))
    except (OSError, ValueError):
        connection.close()
        return
    with contextlib.suppress(Exception):  # what is wrong with it, the job will say
        if frozen := request["environment"].get("XKD_CONFIG"):
            read(Path(request["folder"], frozen))
    if process := os.fork():
        jobs[process] = connection
        for output in outputs:
            os.close(output)
        return
    try:
        server.close()
        for other in jobs.values():
            other.close()
        _become(request, outputs, connection)
        status = _carry_out(request["arguments"], main)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # as an interpreter ends: joblib's processes are told to
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _carry_out(arguments: Sequence[str], main: Main) -> int:
    if arguments[:1] != [SCRIPT]:
        return main(arguments)
    _run_script(arguments[1])
    return 0


def _run_script(path: str) -> None:
    """As `python path` would."""
    from runpy import run_path

    sys.argv[:] = [path]
    sys.path.insert(0, str(Path(path).parent))
    run_path(path, run_name="__main__")


def _received(connection: socket.socket, size: int) -> bytes:
    """Raises OSError if the other end is gone before."""
    content = b""
    while len(content) < size:
        if not (part := connection.recv(size - len(content))):
            raise OSError("the client is gone")
        content += part
    return content


def _become(request: dict, outputs: Sequence[int], connection: socket.socket) -> None:
    """Make the fork the process that the client would have been."""
    os.setsid()  # Ctrl-C reaches it by its client
    for target, output in zip((1, 2), outputs, strict=True):
        os.dup2(output, target)
        os.close(output)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, *PASSED_ON):
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    threading.Thread(target=_follow, args=(connection,), daemon=True).start()


def _follow(client: socket.socket) -> None:
    """Take the client's signals; end when it is gone, as a killed process would."""
    while message := client.recv(1):
        os.kill(os.getpid(), message[0])
    os.kill(os.getpid(), signal.SIGKILL)


def _reap(jobs: dict[int, socket.socket]) -> None:
    """Tell clients whose jobs have ended how they ended."""
    while jobs:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        code = os.waitstatus_to_exitcode(status)
        with jobs.pop(process) as connection, contextlib.suppress(OSError):
            connection.send(bytes([code < 0, abs(code)]))


# ------------------------------------------------------------------------------------- the command


def run(command: Sequence[str]) -> int:
    """The exit status of a command, run beside a warm process that ends with it."""
    import subprocess
    import tempfile

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # jobs set the number that they use
    with tempfile.TemporaryDirectory(prefix="xkd-warm-") as folder:
        path = Path(folder) / "socket"
        code = (
            "from pathlib import Path; from xkd.__main__ import main; from xkd.plan import frozen; "
        )
        code += f"from xkd.warm import serve; serve(Path({str(path)!r}), main, frozen.plan)"
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        server = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
        try:
            process = subprocess.Popen(command, env={**os.environ, VARIABLE: str(path)})
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda number, frame: process.send_signal(number))
            return process.wait()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] != [SCRIPT]:
        sys.exit(run(sys.argv[1:]))
    if (status := handed_over()) is not None:
        sys.exit(status)
    _run_script(sys.argv[2])
