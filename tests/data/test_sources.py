import gzip
import io
import pickle
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_data import CIFAR10, CIFAR100, MNIST, damaged_file, grey, md5

from xkd.data import sources
from xkd.data.dataset import load
from xkd.data.prepare import prepare
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings


def published(settings: DatasetSettings) -> type:
    """torchvision's class of the data set, which lists its files and their MD5s."""
    import torchvision

    return getattr(torchvision.datasets, settings.name.upper())


@pytest.fixture
def fake_mnist(tmp_path, monkeypatch) -> tuple[Path, DatasetSettings]:
    """40 training and 20 test images in the published layout."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        images, labels = grey(count, seed=count), np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("images-idx3", images[:, 0]), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            packed = gzip.compress(header + values.tobytes())
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(packed)
    listed = [(name, md5(folder / name)) for name, _ in published(MNIST).resources]
    monkeypatch.setattr(published(MNIST), "resources", listed)
    return tmp_path, replace(MNIST, mean=(0.5,), std=(0.289,), holdout=10)


@pytest.fixture(params=["cifar10", "cifar100"])
def fake_cifar(request, tmp_path, monkeypatch) -> tuple[Path, DatasetSettings]:
    """One training and one test batch of random images in the published layout, and its archive."""
    settings = {"cifar10": CIFAR10, "cifar100": CIFAR100}[request.param]
    kind = published(settings)
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    for name, seed in (("one", 1), ("two", 2)):
        labels = [n % settings.classes for n in range(200)]
        keys = {"labels": labels} if settings.classes == 10 else {
            "fine_labels": labels, "coarse_labels": [n % 20 for n in labels]
        }  # fmt: skip
        data = grey(200, seed, size=32, channels=3).reshape(200, -1)
        (folder / name).write_bytes(pickle.dumps({"data": data, **keys}))
    names = {"label_names" if settings.classes == 10 else "fine_label_names": [
        f"class {n}" for n in range(settings.classes)
    ], "coarse_label_names": [f"group {n}" for n in range(20)]}  # fmt: skip
    (folder / "meta").write_bytes(pickle.dumps(names))
    with tarfile.open(tmp_path / kind.filename, "w:gz") as archive:
        archive.add(folder, kind.base_folder)
    for attribute, value in {
        "train_list": [["one", md5(folder / "one")]],
        "test_list": [["two", md5(folder / "two")]],
        "meta": {**kind.meta, "filename": "meta", "md5": md5(folder / "meta")},
        "tgz_md5": md5(tmp_path / kind.filename),
    }.items():
        monkeypatch.setattr(kind, attribute, value)
    random = {"mean": (0.5,) * 3, "std": (0.289,) * 3}
    return tmp_path, replace(settings, holdout=settings.classes, **random)


def test_mnist_is_read_from_the_published_files(fake_mnist, tmp_path):
    root, settings = fake_mnist
    manifest = prepare(settings, root, tmp_path / "out")
    data = load(tmp_path / "out")
    assert torch.equal(data.split("train").images, torch.from_numpy(grey(40, seed=40)))
    assert torch.equal(data.split("test").images, torch.from_numpy(grey(20, seed=20)))
    assert data.split("test").labels.tolist() == [n % 10 for n in range(20)]
    assert all(value.startswith("md5:") for value in manifest["sources"].values())
    assert len(manifest["sources"]) == 4


def test_cifar_is_read_from_the_published_files(fake_cifar, tmp_path):
    root, settings = fake_cifar
    prepare(settings, root, tmp_path / "out")
    train = load(tmp_path / "out").split("train")
    assert torch.equal(train.images, torch.from_numpy(grey(200, 1, size=32, channels=3)))
    assert train.labels.tolist() == [n % settings.classes for n in range(200)]
    if settings.classes == 100:
        assert torch.equal(train.coarse, train.labels % 20)
    else:
        assert train.coarse is None


DAMAGES = [
    ("absent", r"{} is missing; set data_root: .* or allow download: true"),
    (
        "truncated",
        r"{} is damaged .*: md5 [0-9a-f]{{32}} of its \d+ bytes, expected [0-9a-f]{{32}}",
    ),
    ("altered", r"{} is damaged .*: md5 [0-9a-f]{{32}} of its \d+ bytes, expected [0-9a-f]{{32}}"),
]


@pytest.mark.parametrize(("how", "message"), DAMAGES)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_damaged_mnist_is_refused_by_name(fake_mnist, tmp_path, name, how, message):
    root, settings = fake_mnist
    damaged_file(root, name, how)
    with pytest.raises(Refused, match=message.format(name)) as refusal:
        prepare(settings, root, tmp_path / "out")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("how", "message"), DAMAGES)
@pytest.mark.parametrize("name", ["one", "two", "meta"])
def test_damaged_cifar_is_refused_by_name_and_never_unpickled(
    fake_cifar, tmp_path, monkeypatch, name, how, message
):
    root, settings = fake_cifar
    damaged_file(root, name, how)
    opened = []
    monkeypatch.setattr(
        "xkd.data.sources._cifar.pickle.loads",
        lambda content, encoding, loads=pickle.loads: opened.append(content) or loads(content),
    )
    with pytest.raises(Refused, match=message.format(name)):
        prepare(settings, root, tmp_path / "out")
    assert how == "absent" or next(root.rglob(name)).read_bytes() not in opened


@pytest.mark.parametrize("how", ["absent", "truncated"])
def test_cifar_is_fetched_where_downloads_are_allowed(
    fake_cifar, tmp_path, monkeypatch, serve, how
):
    root, settings = fake_cifar
    damaged_file(root, "one", how)
    archive = tmp_path / "site" / published(settings).filename
    archive.parent.mkdir()
    next(root.glob("*.tar.gz")).rename(archive)
    monkeypatch.setattr(published(settings), "url", serve(archive.parent) + archive.name)
    fetched = sources.read(root, settings, download=True)
    assert np.array_equal(fetched.train_images, grey(200, 1, size=32, channels=3))


def test_mnist_is_fetched_from_the_first_mirror_that_has_it(
    fake_mnist, tmp_path, monkeypatch, serve
):
    root, settings = fake_mnist
    mirrors = [serve(tmp_path / "nothing"), serve(root / "MNIST" / "raw")]
    monkeypatch.setattr(published(settings), "mirrors", mirrors)
    fetched = sources.read(tmp_path / "fresh", settings, download=True)
    assert np.array_equal(fetched.train_images, grey(40, seed=40))


def test_a_download_of_something_else_is_refused_in_one_line(
    fake_cifar, tmp_path, monkeypatch, serve
):
    root, settings = fake_cifar
    damaged_file(root, "one", "absent")
    archive = next(root.glob("*.tar.gz"))
    monkeypatch.setattr(published(settings), "url", serve(root) + archive.name)
    monkeypatch.setattr(published(settings), "tgz_md5", "0" * 32)
    with pytest.raises(Refused, match=r"cannot download http:.*; check the network") as refusal:
        prepare(settings, root, tmp_path / "out", download=True)
    assert "\n" not in str(refusal.value)


def test_a_site_that_does_not_answer_is_refused_in_one_line(
    fake_mnist, tmp_path, monkeypatch, serve
):
    _, settings = fake_mnist
    monkeypatch.setattr(published(settings), "mirrors", [serve(tmp_path / "nothing")])
    with pytest.raises(
        Refused, match=r"cannot download http:.* 404.*; check the network"
    ) as refusal:
        sources.read(tmp_path / "fresh", settings, download=True)
    assert "\n" not in str(refusal.value)


# ------------------------------------------------------------------------------------ archives


def tar_with(path: Path, member: tarfile.TarInfo, content: bytes = b"evil") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        member.size = len(content) if member.isreg() else 0
        archive.addfile(member, io.BytesIO(content))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("fine/../../evil"),
        link("door", ".."),
        link("door", "/etc"),
    ],
    ids=["parent", "parent in the midst", "link to the parent", "absolute link"],
)
def test_an_archive_that_would_leave_its_folder_is_refused(tmp_path, member):
    folder = tmp_path / "data"
    folder.mkdir()
    archive = tar_with(folder / "a.tar.gz", member)
    with pytest.raises(
        Refused, match=r"cannot unpack .*a\.tar\.gz: .* (outside|absolute)"
    ) as refusal:
        sources.unpack_archive(archive, folder)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "a.tar.gz"]


def test_a_zip_stays_in_its_folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name in ("../evil", "/evil", "fine/file"):
            archive.writestr(name, "content")
    sources.unpack_archive(folder / "a.zip", folder)
    assert not (tmp_path / "evil").exists()
    assert (folder / "fine" / "file").read_text() == "content"


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_broken_archive_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"PK\x03\x04 or whatever")
    with pytest.raises(Refused, match="cannot unpack") as refusal:
        sources.unpack_archive(tmp_path / name, tmp_path)
    assert "\n" not in str(refusal.value)
