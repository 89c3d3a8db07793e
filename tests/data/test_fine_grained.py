"""CUB-200-2011, FGVC-Aircraft and Stanford Cars from small folders in the published layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from xkd.data import sources
from xkd.data.prepare import prepare
from xkd.data.sources._fine_grained import central
from xkd.errors import Refused
from xkd.plan.settings import DatasetSettings


def settings(source: str, classes: int) -> DatasetSettings:
    return DatasetSettings(
        source, source, classes, 3, 28, (0.5,) * 3, (0.25,) * 3, resized_crop=True
    )


def picture(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    """A picture of noise, `size` (width, height), as a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(256, size=(size[1], size[0], 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=95)


def table(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def cub(tmp_path) -> Path:
    """Two classes of two training and one test picture each."""
    folder = tmp_path / "CUB_200_2011"
    names = ["001.Albatross", "002.Auklet"]
    rows = [(names[number % 2], f"bird_{number}.jpg") for number in range(6)]
    for seed, (name, file) in enumerate(rows):
        picture(folder / "images" / name / file, seed)
    table(folder / "images.txt", [f"{i} {n}/{f}" for i, (n, f) in enumerate(rows, 1)])
    table(folder / "image_class_labels.txt", [f"{i} {1 + (i - 1) % 2}" for i in range(1, 7)])
    table(folder / "train_test_split.txt", [f"{i} {int(i <= 4)}" for i in range(1, 7)])
    table(folder / "bounding_boxes.txt", [f"{i} 16.0 12.0 32.0 24.0" for i in range(1, 7)])
    table(folder / "classes.txt", [f"{i} {name}" for i, name in enumerate(names, 1)])
    return tmp_path


@pytest.fixture
def aircraft(tmp_path) -> Path:
    """Three variants of two families and one manufacturer; names with blanks and strokes."""
    folder = tmp_path / "fgvc-aircraft-2013b" / "data"
    levels = {
        "variant": ["707-320", "F/A-18 x", "ATR-72"],
        "family": ["Boeing 707", "Rest"],
        "manufacturer": ["Any one"],
    }
    files = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}
    for level, names in levels.items():
        table(folder / f"{files[level]}.txt", names)
        for part, first in (("train", 0), ("val", 3), ("test", 6)):
            rows = [f"{first + i:07d} {names[i % len(names)]}" for i in range(3)]
            table(folder / f"images_{level}_{part}.txt", rows)
    table(folder / "images_box.txt", [f"{i:07d} 16 12 48 36" for i in range(9)])
    for i in range(9):
        picture(folder / "images" / f"{i:07d}.jpg", i)
    return tmp_path


@pytest.fixture
def cars(tmp_path) -> Path:
    """Two classes of two training pictures and one test picture each, in MATLAB's format."""
    folder = tmp_path / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": np.array(["A", "B"], object)})
    fields = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O")]
    kind = np.dtype([*fields, ("class", "O"), ("fname", "O")])
    for part, count, place in (
        ("train", 4, "devkit/cars_train_annos.mat"),
        ("test", 2, "cars_test_annos_withlabels.mat"),
    ):
        rows = [(16, 12, 48, 36, 1 + i % 2, f"{i:05d}.jpg") for i in range(count)]
        savemat(folder / place, {"annotations": np.array([rows[i] for i in range(count)], kind)})
        for i in range(count):
            picture(folder / f"cars_{part}" / f"{i:05d}.jpg", i)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "classes", "train", "test"),
    [("cub", 2, [0, 1, 0, 1], [0, 1]), ("cars", 2, [0, 1, 0, 1], [0, 1])],
)
def test_the_authors_split_and_classes_are_read(name, classes, train, test, request, tmp_path):
    root = request.getfixturevalue(name)
    source = {"cub": "cub200", "cars": "stanford_cars"}[name]
    raw = sources.read(root, settings(source, classes))
    assert raw.train_labels.tolist() == train
    assert raw.test_labels.tolist() == test
    assert raw.test_images.shape == (2, 3, 28, 28)
    assert all((root / file).is_file() for file in raw.train_files)
    assert len(raw.class_names) == classes


def test_training_on_aircraft_takes_train_and_val_and_the_level_follows_from_the_classes(aircraft):
    raw = sources.read(aircraft, settings("fgvc_aircraft", 3))
    assert raw.class_names == ("707-320", "F/A-18 x", "ATR-72")
    assert raw.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert [Path(file).stem for file in raw.train_files[:4]] == [f"{i:07d}" for i in (0, 1, 2, 3)]
    raw = sources.read(aircraft, settings("fgvc_aircraft", 2))
    assert raw.class_names == ("Boeing 707", "Rest")
    assert raw.test_labels.tolist() == [0, 1, 0]
    with pytest.raises(Refused, match="3 of variant, 2 of family, 1 of manufacturer; expected"):
        sources.read(aircraft, settings("fgvc_aircraft", 5))


@pytest.mark.parametrize(("name", "source"), [("cub", "cub200"), ("cars", "stanford_cars")])
def test_boxes_follow_their_pictures_into_the_central_crop(name, source, request):
    root = request.getfixturevalue(name)
    raw = sources.read(root, settings(source, 2))
    # 64 × 48 becomes 42 × 32, the shorter side 8/7 of 28, then loses 7 and 2 on either side.
    top, left, bottom, right = raw.test_boxes[0]
    assert (top, bottom) == (round(12 * 2 / 3) - 2, round(36 * 2 / 3) - 2)
    assert abs(left - (16 * 42 / 64 - 7)) <= 1
    assert abs(right - (48 * 42 / 64 - 7)) <= 1


def test_a_box_is_cut_off_where_the_picture_is():
    image = Image.new("RGB", (200, 100))
    fitted, box = central(image, (0, 0, 100, 200), 70)
    assert fitted.size == (70, 70)
    assert box == (0, 0, 70, 70)


def test_they_are_prepared_with_their_boxes(cub, tmp_path):
    manifest = prepare(settings("cub200", 2), cub, tmp_path / "out")
    assert manifest["counts"] == {"train": 4, "holdout": 0, "test": 2}


@pytest.mark.parametrize("source", ["cub200", "fgvc_aircraft", "stanford_cars"])
def test_an_absent_data_set_is_one_clear_line_with_the_place_to_get_it(source, tmp_path):
    with pytest.raises(
        Refused, match=r"is missing; get the pictures from .*; *|data_root"
    ) as found:
        sources.read(tmp_path, settings(source, 2))
    assert "\n" not in str(found.value)
    assert "data_root" in str(found.value)


def test_pictures_and_rows_that_are_missing_are_named(cub, aircraft):
    (cub / "CUB_200_2011" / "images" / "001.Albatross" / "bird_0.jpg").unlink()
    with pytest.raises(Refused, match=r"1 of 4 training pictures .* missing, first .*bird_0.jpg"):
        sources.read(cub, settings("cub200", 2))
    table(cub / "CUB_200_2011" / "bounding_boxes.txt", ["1 0 0 5 5"])
    with pytest.raises(Refused, match="no class, split or box of picture 2"):
        sources.read(cub, settings("cub200", 2))
    folder = aircraft / "fgvc-aircraft-2013b" / "data"
    table(folder / "images_variant_val.txt", ["0000003 Zeppelin"])
    with pytest.raises(Refused, match="a class 'Zeppelin' that is not listed"):
        sources.read(aircraft, settings("fgvc_aircraft", 3))


def test_a_damaged_matlab_file_is_one_clear_line(cars):
    (cars / "stanford_cars" / "devkit" / "cars_train_annos.mat").write_bytes(b"no MATLAB" * 30)
    with pytest.raises(Refused, match=r"cars_train_annos.mat is damaged") as found:
        sources.read(cars, settings("stanford_cars", 2))
    assert "\n" not in str(found.value)


def test_another_number_of_classes_is_refused(cub):
    with pytest.raises(Refused, match="has 2 classes, the config says classes: 3"):
        sources.read(cub, settings("cub200", 3))
