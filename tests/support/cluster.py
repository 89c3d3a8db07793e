"""A real SLURM on this machine, for tests: controller, nodes and, if wanted, accounting.

    python tests/support/cluster.py .venv-slurm/bin/python -m snakemake --workflow-profile ...

starts a cluster, runs the command in its environment, and takes the cluster down again. All of it
lives in one folder, listens on loopback only, and ends with the process that started it; nothing
under /etc is read or written. Needs no root: jobs run as whoever starts it.

Real are queues, limits, signals, requeuing, pre-emption and CUDA_VISIBLE_DEVICES. GPUs are links to
/dev/null that SLURM counts and hands out; CPUs are counted, not bound; memory is watched.
"""

import argparse
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PACKAGES = "slurmctld slurmd slurm-client munge"
ACCOUNTING_PACKAGES = "slurmdbd mariadb-server"
CLIENTS = (
    "sbatch",
    "srun",
    "scancel",
    "squeue",
    "sacct",
    "sinfo",
    "scontrol",
    "sacctmgr",
    "sshare",
)
NODES = ("n1", "n2", "n3")  # n1 and n2 only compute, n3 has the GPUs
GPUS = 2
SPARE = 60  # ports for srun
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

CONFIG = """\
ClusterName=xkd
SlurmctldHost={host}({address})
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits for this many seconds, 120 unless said.
AuthInfo=socket={folder}/munge.socket,cred_expire=15
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SrunPortRange={srun_first}-{srun_last}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
# Not linuxproc: it kills by number and descent, and numbers come round again on a busy machine.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
PropagateResourceLimits=NONE
MailProg=/bin/true
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=10
MinJobAge=7200
ReturnToService=2
GresTypes=gpu
{accounting}
NodeName=n1 {node} Port={port1}
NodeName=n2 {node} Port={port2}
NodeName=n3 {node} Port={port3} Gres=gpu:{gpus}
PartitionName=cpu Nodes=n1,n2 Default=YES PriorityTier=10 MaxTime=1-0
PartitionName=gpu Nodes=n3 PriorityTier=10 MaxTime=1-0
PartitionName=spot Nodes=n1 PriorityTier=1 MaxTime=1-0
"""
NODE = "NodeHostname={host} NodeAddr={address} CPUs=4 RealMemory=12000 State=UNKNOWN"
ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={address}
AccountingStoragePort={port_dbd}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu"""
DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr={address}
DbdPort={port_dbd}
CommunicationParameters=NoInAddrAny
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StorageLoc=slurm
"""


def missing(accounting: bool) -> str | None:
    """What this machine lacks to start a cluster, and the remedy; None if nothing."""
    programs = ["munged", "slurmctld", "slurmd", "sbatch"]
    programs += ["slurmdbd", "mariadbd", "mariadb-install-db"] if accounting else []
    if absent := [name for name in programs if shutil.which(name, path=PATH) is None]:
        packages = f"{PACKAGES} {ACCOUNTING_PACKAGES}" if accounting else PACKAGES
        return f"no {', '.join(absent)} here: apt-get install --no-install-recommends {packages}"
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "nothing"
    if not address.startswith("127."):
        return (
            f"the host name resolves to {address}, and SLURM would listen there: "
            f"add '127.0.0.1 {socket.gethostname()}' to /etc/hosts"
        )
    return None


class Cluster:
    """Use as a context. `environment` is what a process needs to find the cluster."""

    def __init__(self, accounting: bool = True) -> None:
        self.accounting = accounting
        self.folder = Path(tempfile.mkdtemp(prefix="xkd-slurm-", dir="/tmp"))  # sockets: short path
        self.folder.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{self.folder}/bin:{PATH}",
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "MYSQL_UNIX_PORT": f"{self.folder}/mysql.socket",
        }
        self._daemons: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        try:
            self._configure()
            self._start_munge()
            if self.accounting:
                self._start_accounting()
            self._start("slurmctld", "-D")
            self._wait("slurmctld", "scontrol", "ping")
            for node in NODES:
                (self.folder / f"spool-{node}").mkdir()
                self._start("slurmd", "-D", "-N", node)
            self._poll("all nodes", self._all_idle)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *problem: object) -> None:
        """End jobs, then daemons in reverse order, then remove everything."""
        self.cancel()
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def cancel(self) -> None:
        """End all jobs."""
        self._try("scancel", "--user", _user())
        end = time.monotonic() + 30
        while time.monotonic() < end and self._try("squeue", "--noheader"):
            time.sleep(0.2)

    def run(self, *command: str) -> str:
        """Output of a command that succeeds, such as `squeue --noheader`."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}")
        return done.stdout

    def _configure(self) -> None:
        """Configuration, the key of munge, fake GPUs, and clients that find the configuration."""
        port = _free_ports(len(NODES) + 2 + SPARE)
        known = {
            "folder": self.folder,
            "host": socket.gethostname().partition(".")[0],
            "address": socket.gethostbyname(socket.gethostname()),
            "user": _user(),
            "gpus": GPUS,
            "port": port,
            "port_dbd": port + 1,
            **{f"port{i}": port + 1 + i for i in range(1, len(NODES) + 1)},
            "srun_first": port + len(NODES) + 2,
            "srun_last": port + len(NODES) + 1 + SPARE,
        }
        known["node"] = NODE.format_map(known)
        none = "AccountingStorageType=accounting_storage/none"
        known["accounting"] = ACCOUNTING.format_map(known) if self.accounting else none
        self._write("slurm.conf", CONFIG.format_map(known))
        self._write("slurmdbd.conf", DATABASE.format_map(known), mode=0o600)
        self._write("gres.conf", f"NodeName=n3 Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n")
        for gpu in range(GPUS):
            (self.folder / f"gpu{gpu}").symlink_to("/dev/null")
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        for name in ("bin", "state"):
            (self.folder / name).mkdir()
        # Snakemake's plugin strips SLURM_* from the environment of its job steps; PATH survives.
        for client in CLIENTS:
            script = f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {client} "$@"\n'
            real = shutil.which(client, path=PATH)
            self._write(f"bin/{client}", script.replace(f"exec {client}", f"exec {real}"), 0o755)

    def _start_munge(self) -> None:
        names = ("socket", "key", "pid", "seed", "log")
        socket_, key, pid, seed, log = (f"{self.folder}/munge.{name}" for name in names)
        self._start(
            "munged", "--foreground", "--force", f"--socket={socket_}", f"--key-file={key}",
            f"--pid-file={pid}", f"--seed-file={seed}", f"--log-file={log}",
        )  # fmt: skip
        self._wait("munged", "munge", f"--socket={socket_}", "--no-input")

    def _start_accounting(self) -> None:
        """A database server of our own, without network, and SLURM's way to it."""
        data = f"--datadir={self.folder}/mysql"
        root = ["--user=root"] if os.getuid() == 0 else []
        install = ["mariadb-install-db", "--no-defaults", data, "--skip-test-db", *root]
        self.run(*install, "--auth-root-authentication-method=normal")
        socket_ = f"--socket={self.folder}/mysql.socket"
        server = ["mariadbd", "--no-defaults", data, socket_, "--skip-networking", *root]
        self._start(*server, "--innodb-buffer-pool-size=32M", "--innodb-lock-wait-timeout=900")
        client = ["mariadb", "--no-defaults", socket_, "-uroot", "--execute"]
        self._wait("mariadbd", *client, "select 1")
        self.run(
            *client,
            "create database slurm; create user slurm@localhost; grant all on slurm.* to"
            " slurm@localhost; flush privileges",
        )
        self._start("slurmdbd", "-D")
        self._wait("slurmdbd", "sacctmgr", "--noheader", "list", "cluster")
        for entity in ("cluster xkd", "account lab", f"user {_user()} account=lab"):
            self.run("sacctmgr", "--immediate", "add", *entity.split())

    def _start(self, name: str, *arguments: str) -> None:
        """A daemon that stays a child of ours, and ends when we do."""
        with (self.folder / f"{name}.out").open("ab") as log:
            command = ["setpriv", "--pdeathsig", "TERM", name, *arguments]
            self._daemons.append(
                subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
            )

    def _wait(self, name: str, *command: str) -> None:
        """Until the command succeeds."""
        self._poll(name, lambda: self._try(*command) is not None)

    def _poll(self, name: str, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not ready():
            if time.monotonic() > end:
                logs = {p.name: p.read_text(errors="replace")[-800:] for p in self._logs()}
                raise TimeoutError(f"{name} did not come up: {logs}")
            time.sleep(0.1)

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.out"))

    def _all_idle(self) -> bool:
        states = self._try("sinfo", "--noheader", "--Node", "--format", "%N %t") or ""
        return len({line for line in states.splitlines() if line.endswith(" idle")}) == len(NODES)

    def _try(self, *command: str) -> str | None:
        """Output, or None if the command fails."""
        try:
            return self.run(*command)
        except (RuntimeError, OSError):
            return None

    def _write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.touch(mode=mode)
        path.chmod(mode)
        path.write_text(text)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _free_ports(count: int) -> int:
    """The first of that many consecutive ports on which nobody listens."""
    for first in range(21000, 32000, 100):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError(f"no {count} free ports between 21000 and 32000")


def main(arguments: Sequence[str] | None = None) -> int:
    top = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    top.add_argument("--no-accounting", action="store_true", help="as on clusters without sacct")
    top.add_argument("command", nargs=argparse.REMAINDER)
    asked = top.parse_args(arguments)
    if problem := missing(not asked.no_accounting):
        print(problem, file=sys.stderr)
        return 2
    with Cluster(not asked.no_accounting) as cluster:
        return subprocess.run(asked.command or ["bash"], env=cluster.environment).returncode


if __name__ == "__main__":
    sys.exit(main())
