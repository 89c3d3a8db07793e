"""Folders of pictures as people have them: what is read, what is left out, what is refused."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_data import IMAGENET
from PIL import Image

from xkd.data.dataset import load
from xkd.data.prepare import prepare
from xkd.data.sources._pictures import FORMATS, decoded
from xkd.errors import Refused
from xkd.files import read_json
from xkd.plan.settings import DatasetSettings

MINE = DatasetSettings("mine", "imagenet_folder", 2, 3, 24, *IMAGENET, resized_crop=True)


def colours(seed: int) -> Image.Image:
    """A picture of 40 x 32 pixels in which neighbours are alike."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(noise).resize((40, 32))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Two classes of four pictures to learn from and two to test with."""
    for part, count in (("train", 4), ("val", 2)):
        for label in ("cats", "dogs"):
            folder = tmp_path / "mine" / part / label
            folder.mkdir(parents=True)
            for n in range(count):
                colours(n).save(folder / f"p{n}.jpg")
    return tmp_path / "mine"


def prepared(mine: Path, settings: DatasetSettings = MINE) -> dict:
    return prepare(settings, mine.parent, mine.parent / "out")


def counts(mine: Path) -> tuple[int, int]:
    found = prepared(mine)["counts"]
    return found["train"], found["test"]


# ------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tif", ".PNG", ".jpeg", ""])
def test_pictures_of_every_usual_format_are_read(mine: Path, suffix: str) -> None:
    for part in ("train", "val"):
        old = mine / part / "dogs" / "p1.jpg"
        with Image.open(old) as picture:
            picture.save(old.with_suffix(suffix), Image.registered_extensions().get(suffix, "PNG"))
        old.unlink()
    assert counts(mine) == (8, 4)


def test_pictures_in_deeper_folders_belong_to_their_class(mine: Path) -> None:
    for old in sorted(mine.glob("*/dogs/p1.jpg")):
        (old.parent / "images" / "more").mkdir(parents=True)
        old.rename(old.parent / "images" / "more" / "p1.jpg")
    assert prepared(mine)["per_class"]["train"] == [4, 4]
    assert prepared(mine)["per_class"]["test"] == [2, 2]


def test_folders_that_contain_themselves_end(mine: Path) -> None:
    (mine / "train" / "dogs" / "again").symlink_to(mine / "train" / "dogs")
    (mine / "val" / "dogs" / "round").symlink_to(mine / "val" / "dogs" / "round")
    assert counts(mine) == (8, 4)


def test_names_need_not_be_tidy(mine: Path) -> None:
    dogs = mine / "train" / "dogs"
    (dogs / "p0.jpg").rename(dogs / "a\nb.jpg")
    os.rename(os.fsencode(dogs / "p1.jpg"), os.fsencode(dogs) + b"/caf\xe9.jpg")
    grey = colours(1).convert("L")
    grey.save(os.fsencode(mine) + b"/val/dogs/caf\xe9.png")
    manifest = prepared(mine)
    files = load(mine.parent / "out").split("train").files
    assert len(files) == 8
    assert all((mine.parent / file).is_file() for file in files)
    assert manifest["notes"]["grey_files"] == ["mine/val/dogs/caf\\xe9.png"]
    assert read_json(mine.parent / "out" / "manifest.json") == manifest | {
        name: list(manifest[name]) for name in ("class_names",)
    }


@pytest.mark.parametrize("name", ["new\nline", os.fsdecode(b"caf\xe9")])
def test_class_names_that_cannot_be_printed_are_refused(mine: Path, name: str) -> None:
    for part in ("train", "val"):
        (mine / part / "dogs").rename(mine / part / name)
    with pytest.raises(Refused, match=r"class folder '.*' has no printable name; rename it"):
        prepared(mine)


# -------------------------------------------------------------------- what every mode becomes


def levels(size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Grey, from black to white."""
    return np.linspace(0, 255, size[0] * size[1]).round().reshape(size).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_grey_of_16_bits_keeps_its_upper_eight(tmp_path: Path, suffix: str, order: str) -> None:
    path = tmp_path / f"deep{suffix}"
    deep = (levels().astype(np.uint16) * 257).astype(order)
    Image.frombuffer("I;16", (32, 32), deep.astype("<u2").tobytes(), "raw", "I;16", 0, 1).save(path)
    picture, grey = decoded(path, path.read_bytes())
    assert grey
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture)[..., 0], levels())


def test_colour_of_16_bits_keeps_its_upper_eight(tmp_path: Path) -> None:
    import struct
    import zlib

    pixels = np.repeat(levels()[..., None].astype(">u2") * 257, 3, axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">2I5B", 32, 32, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    picture, grey = decoded(tmp_path / "deep.png", b"\x89PNG\r\n\x1a\n" + header + body)
    assert not grey
    assert np.array_equal(np.asarray(picture)[..., 1], levels())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_modes_of_eight_bits_become_rgb_as_in_torchvision(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("p.tif" if mode in ("PA", "CMYK", "YCbCr") else "p.png")
    try:
        colours(3).convert("P" if mode == "PA" else mode).convert(mode).save(path)
    except (OSError, ValueError):
        pytest.skip(f"this Pillow writes no {mode}")
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    picture, grey = decoded(path, path.read_bytes())
    assert np.array_equal(np.asarray(picture), expected)
    assert grey == (mode in ("1", "L", "LA"))


@pytest.mark.parametrize(("mode", "kind"), [("F", np.float32), ("I", np.int32)])
def test_pixels_without_a_place_in_eight_bits_are_refused_by_name(
    mine: Path, mode: str, kind: type
) -> None:
    path = mine / "val" / "dogs" / "p9.tif"
    Image.fromarray(levels().astype(kind)).save(path)
    with pytest.raises(Refused, match=rf"p9.tif cannot be used: pixels of mode {mode}, expected 8"):
        prepared(mine)


# ------------------------------------------------------------------------------ what is left out


def test_what_is_no_picture_is_left_out_counted_and_said(
    mine: Path, capsys: pytest.CaptureFixture
) -> None:
    (mine / "train" / "dogs" / "Thumbs.db").write_bytes(b"x")
    (mine / "val" / "cats" / "boxes.txt").write_text("1 2 3 4")
    manifest = prepared(mine)
    assert manifest["counts"] == {"train": 8, "holdout": 0, "test": 4}
    assert manifest["notes"]["no_pictures"] == 2
    said = "mine: 2 files are no pictures, left out: mine/train/dogs/Thumbs.db, mine/val/cats/"
    assert capsys.readouterr().out == f"{said}boxes.txt\n"


@pytest.mark.parametrize("part", ["train", "val"])
def test_names_that_begin_with_a_dot_are_left_out(mine: Path, part: str) -> None:
    (mine / part / "dogs" / "._p0.jpg").write_bytes(b"\0\5\x16\7" + bytes(60))
    (mine / part / ".ipynb_checkpoints").mkdir()
    (mine / part / "dogs" / ".ipynb_checkpoints").mkdir()
    colours(0).save(mine / part / "dogs" / ".ipynb_checkpoints" / "p0-checkpoint.jpg")
    (mine / part / "__MACOSX").mkdir()
    (mine / part / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert counts(mine) == (8, 4)
    assert load(mine.parent / "out").class_names == ("cats", "dogs")


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_link_to_nothing_is_one_line(mine: Path, part: str) -> None:
    (mine / part / "dogs" / "p9.jpg").symlink_to("/nowhere/p9.jpg")
    with pytest.raises(Refused, match=r"p9\.jpg (is a link to /nowhere|\(No such file)") as refusal:
        prepared(mine)
    assert "\n" not in str(refusal.value)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 32\n%%EndComments\nshowpage\n%%EOF\n"


def test_no_picture_makes_a_program_of_the_system_run(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow hands PostScript to Ghostscript, whatever the file is called."""
    program, ran = tmp_path / "bin" / "gs", tmp_path / "ran"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    (mine / "val" / "dogs" / "p1.JPEG").write_bytes(EPS)
    with pytest.raises(Refused, match=r"p1.JPEG cannot be used: found no JPEG, .* or TIFF in its"):
        prepared(mine)
    assert not ran.exists()
    (mine / "val" / "dogs" / "p1.JPEG").unlink()
    (mine / "val" / "dogs" / "p1").write_bytes(EPS)
    assert prepared(mine)["notes"]["files_that_are_no_pictures"] == "mine/val/dogs/p1"
    assert not ran.exists()
    with Image.open(mine / "val" / "dogs" / "p1") as picture, contextlib.suppress(Exception):
        picture.load()  # what would have happened
    assert ran.exists()


def test_a_pipe_is_not_waited_for(mine: Path) -> None:
    os.mkfifo(mine / "train" / "dogs" / "p9")
    assert counts(mine) == (8, 4)


def test_damaged_bytes_of_every_format_are_refused_by_name(tmp_path: Path) -> None:
    """Cut, or with bytes changed: decoded, or one line; never another exception."""
    draw = np.random.default_rng(0)
    refusals = []
    for kind in FORMATS:
        path = tmp_path / f"p.{kind.lower()}"
        colours(1).save(path, kind)
        sound = path.read_bytes()
        for _ in range(40):
            content = bytearray(sound[: draw.integers(len(sound) // 2, len(sound) + 1)])
            for place in draw.integers(0, len(content), draw.integers(0, 8)):
                content[place] = draw.integers(0, 256)
            try:
                decoded(path, bytes(content))
            except Refused as problem:
                refusals.append(str(problem))
    assert len(refusals) > 50
    assert all(" cannot be used: " in line and "\n" not in line for line in refusals)


# -------------------------------------------------------------------------------------- labels.csv

TABLE = "File,class_index,class_name\np0.jpg,1,hébé\np1.jpg,0,cat\n"


def listed(mine: Path, content: bytes) -> list[int]:
    """Labels by a table beside the two test pictures of the first class."""
    folder = mine / "val" / "cats"
    (folder / "labels.csv").write_bytes(content)
    settings = replace(MINE, name="cats")
    prepare(settings, folder.parent, mine.parent / "out")
    data = load(mine.parent / "out")
    assert data.class_names == ("cat", "hébé")
    return data.split("test").labels.tolist()


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.replace("\n", "\r\n").replace(",", ";").encode("utf-8-sig"),
        TABLE.replace(",", "\t").encode("utf-16"),
        (TABLE.replace(",", ";") + ";;\n\n ; ;\n").encode(),
        TABLE.replace(",", ", ").encode(),
    ],
    ids=["plain", "mark", "semicolons", "utf-16", "blank rows", "spaces"],
)
def test_a_table_of_labels_may_come_from_a_spreadsheet(mine: Path, content: bytes) -> None:
    assert listed(mine, content) == [1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TABLE.encode("latin-1"), "no text in UTF-8 .*; save it as UTF-8"),
        (b"", r"has 0 rows with the columns \(none\); expected some with file, class_index"),
        (b"file;label\np0.jpg;1\n", "has 1 rows with the columns file, label; expected"),
        (b"file,class_index\np0.jpg,1.0\n", "class_index '1.0', expected a number below 2"),
        (b"file,class_index\np0.jpg,\xc2\xb2\n", "class_index '²', expected a number below 2"),
        (b"file,class_index\np0.jpg\n", "class_index '', expected a number below 2"),
        (b"file,class_index\np7.jpg,1\n", "p7.jpg is missing"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(
    mine: Path, content: bytes, message: str
) -> None:
    with pytest.raises(Refused, match=message):
        listed(mine, content)
