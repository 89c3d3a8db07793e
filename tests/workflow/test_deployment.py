"""Which Python jobs get: conda's however it is asked for, or one whose path has a space."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PREPARED = "results/demo/data/digits/manifest.json"
LOG = "logs/demo/prepare/digits.log"
SAID = "python of the conda environment"

#: A stand-in for conda: enough for Snakemake to activate an environment, whose Python says so.
INFO = '{{"conda_prefix": "{base}", "platform": "linux-64", "conda_version": "25.1.0"}}'
CONDA = r"""#!/bin/bash
case "$*" in
  "info --json") echo '{info}';;
  "--version") echo "conda 25.1.0";;
  "config --get channel_priority --json") echo '{{"get": {{"channel_priority": "strict"}}}}';;
  *env\ create*)
    while [ $# -gt 0 ]; do
      [ "$1" = --prefix ] && prefix=$2
      case $1 in --prefix=*) prefix=${{1#--prefix=}};; esac
      shift
    done
    mkdir -p "$prefix/bin" "$prefix/conda-meta"
    touch "$prefix/conda-meta/history"
    printf '#!/bin/bash\necho "{said}"\nexec {python} "$@"\n' > "$prefix/bin/python"
    chmod +x "$prefix/bin/python";;
esac
"""
PROFILE = "software-deployment-method: conda\n"
SPELLINGS = {
    "--sdm conda": ["--sdm", "conda"],
    "--sdm=conda": ["--sdm=conda"],
    "--use-conda": ["--use-conda"],
    "in full": ["--software-deployment-method", "conda"],
    "in a profile": ["--profile", "conda_profile"],
}


def project(folder: Path) -> Path:
    """A copy of the project, without results."""
    folder.mkdir(parents=True)
    for name in ("workflow", "envs", "profiles"):
        hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=hidden)
    for name in ("Snakefile", "config.yaml", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def snakemake(
    folder: Path, *arguments: str, python: str = sys.executable, path: str = "", extra: str = ""
) -> str:
    """What it prints, once it has succeeded. path, extra: to begin PATH and to be PYTHONPATH."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XKD_CONFIG")}
    environment |= {"PYTHONPATH": extra} if extra else {}
    environment["PATH"] = f"{path}{environment['PATH']}"
    command = [python, "-m", "snakemake", "--cores", "1", "--quiet", "rules", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def with_conda(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project, and a folder of programs in which there is conda."""
    base = tmp_path_factory.mktemp("conda")
    (base / "bin").mkdir()
    text = CONDA.format(info=INFO.format(base=base), said=SAID, python=sys.executable)
    for name, content in (("conda", text), ("activate", 'export PATH="$1/bin:$PATH"\n')):
        (base / "bin" / name).write_text(content)
        (base / "bin" / name).chmod(0o755)
    folder = project(tmp_path_factory.mktemp("project") / "xkd")
    (folder / "conda_profile").mkdir()
    (folder / "conda_profile" / "config.yaml").write_text(PROFILE)
    return folder, base / "bin"


@pytest.mark.slow
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_jobs_use_condas_python_however_conda_is_asked_for(
    with_conda: tuple[Path, Path], spelling: list[str]
) -> None:
    folder, programs = with_conda
    shutil.rmtree(folder / "results", ignore_errors=True)
    snakemake(folder, *spelling, "--", PREPARED, path=f"{programs}:")
    assert (folder / LOG).read_text().splitlines()[0] == SAID


@pytest.mark.slow
def test_without_conda_jobs_use_the_python_of_snakemake(with_conda: tuple[Path, Path]) -> None:
    folder, programs = with_conda
    shutil.rmtree(folder / "results", ignore_errors=True)
    snakemake(folder, "--", PREPARED, path=f"{programs}:")
    assert SAID not in (folder / LOG).read_text()


OVERLAY = """
seeds: [0]
recipes: { r_mlp: { epochs: 2 } }
experiments:
  le_table3: [{ datasets: [mnist], networks: [mlp1024], methods: [ce] }]
"""


@pytest.mark.slow
def test_an_environment_under_a_folder_with_a_space_serves_every_kind_of_job(
    tmp_path: Path,
) -> None:
    folder = project(tmp_path / "my projects" / "it's xkd")
    venv.create(folder / ".venv", symlinks=True)
    python = folder / ".venv" / "bin" / "python"
    (site,) = (folder / ".venv" / "lib").glob("python*/site-packages")
    host = sysconfig.get_path("purelib")
    (site / "host.pth").write_text(f"import site; site.addsitedir({host!r})\n")
    (folder / "overlay.yaml").write_text(OVERLAY)
    snakemake(folder, "--configfile", "overlay.yaml", "--", "le_table3", python=str(python))
    assert (folder / "results" / "demo" / "tables" / "le_table3.csv").is_file()


def test_jobs_find_what_snakemake_itself_was_told_to_find(tmp_path: Path) -> None:
    """A cluster's modules add folders to PYTHONPATH; a job must not lose them."""
    extra, told = tmp_path / "a module's folder", tmp_path / "told"
    extra.mkdir()
    (extra / "sitecustomize.py").write_text(
        f"import sys\nwith open({str(told)!r}, 'a') as file:\n    print(sys.orig_argv, file=file)\n"
    )
    snakemake(project(tmp_path / "xkd"), "--", PREPARED, extra=str(extra))
    assert "'xkd', 'prepare', 'digits'" in told.read_text()
