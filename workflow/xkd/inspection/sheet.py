"""Sheets of images: of a data set, of reinforced images, of explanations, of a network's errors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xkd.errors import Refused
from xkd.files import read_json
from xkd.inspection.arrays import read_tensors
from xkd.inspection.target import Target
from xkd.readers import read_npz

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 10  # images in a row
SIDE, GAP, ABOVE, LEFT, DPI = 128, 16, 44, 72, 120  # of a picture, in pixels, and around it


def draw(target: Target, out: Path) -> str:
    """Write the sheet that fits a result. Returns: what it shows, in one line.

    Raises: Refused when there are no images in it, or their data set is not prepared.
    """
    name, path = target.path.name, target.path
    if target.dataset or name == "data.safetensors":
        figure, shows = data_sheet(path if path.is_dir() else path.parent)
    elif name == "images.safetensors":
        figure, shows = reinforced_sheet(target)
    elif name == "explanations.npz":
        figure, shows = explanation_sheet(read_npz(path))
    elif target.run and target.kind == "runs":
        figure, shows = error_sheet(target)
    else:
        raise Refused(
            f"{path}: no images to draw; expected a prepared data set, images.safetensors of "
            "responses, explanations.npz, or a run"
        )
    figure.savefig(out)
    return f"{out}: {shows}"


def data_sheet(folder: Path, split: str = "test") -> tuple["Figure", str]:
    """The first images of every class, a row per class, at most ten rows."""
    tensors, names = read_tensors(folder / "data.safetensors"), _names(folder)
    images, labels = tensors[f"{split}_images"], tensors[f"{split}_labels"]
    if not len(images):
        raise Refused(f"{folder}: its {split} images stay in their files; open those")
    classes = np.unique(labels)[:10]
    rows = [np.flatnonzero(labels == c)[:COLUMNS] for c in classes]
    grid = [[_picture(images[i]) for i in row] for row in rows]
    titles = [[f"#{i}" for i in row] for row in rows]
    shown = [_name(names, c) for c in classes]
    return _sheet(grid, titles, shown), f"{split} images of {len(classes)} classes"


def reinforced_sheet(target: Target, split: str = "test") -> tuple["Figure", str]:
    """x, x* − x and x*: first images whose predicted class changes, then those that change most.

    Differences share one scale, given in the row's name, in units of the normalised input.
    """
    folder, root = target.path.parent, target.path.parents[1]
    changed = read_tensors(target.path)[split].astype(np.float32)
    after = read_npz(folder / f"{split}.npz")
    before = read_npz(root / "gradient-0" / f"{split}.npz")
    labels = after["labels"].astype(int)
    was, now = before["logits"].argmax(1), after["logits"].argmax(1)
    plain, names, mean, std = _plain(target, split)
    plain = (plain[: len(changed)] / 255 - mean) / std
    difference = changed - plain
    score = (was != now)[: len(changed)] * 1e6 + np.abs(difference).max((1, 2, 3))
    chosen = np.argsort(-score, kind="stable")[:COLUMNS]
    scale = float(np.abs(difference[chosen]).max()) or 1.0
    grid = [
        [_picture(_bytes(plain[i], mean, std)) for i in chosen],
        [_picture(_bytes(difference[i] / scale / 2 + 0.5, 0, 1)) for i in chosen],
        [_picture(_bytes(changed[i], mean, std)) for i in chosen],
    ]
    titles = [
        [f"#{i} {_name(names, labels[i])}" for i in chosen],
        ["" for _ in chosen],
        [f"{_name(names, was[i])} → {_name(names, now[i])}" for i in chosen],
    ]
    moved = int((was != now).sum())
    shows = (
        f"{len(chosen)} {split} images; the predicted class changes for {moved} of {len(labels)}"
    )
    return _sheet(grid, titles, ["x", f"x* − x\n± {scale:.2g}", "x*"]), shows


def explanation_sheet(arrays: dict[str, NDArray]) -> tuple["Figure", str]:
    """An image and its explanation for every class, a row per image."""
    maps, images = arrays["maps"], arrays["images"]
    names, labels = [str(n) for n in arrays["class_names"]], arrays["labels"]
    count = min(maps.shape[1], COLUMNS)
    grid = [[image.squeeze(), *maps[i, :count]] for i, image in enumerate(images)]
    titles = [
        ["", *(_name(names, c) + (" (true)" if c == labels[i] else "") for c in range(count))]
        for i in range(len(images))
    ]
    shown = [_name(names, label) for label in labels]
    return _sheet(grid, titles, shown), f"{len(images)} images, {count} classes"


def error_sheet(target: Target) -> tuple["Figure", str]:
    """Test images that a run gets wrong, the most confident first: label → predicted class."""
    run = target.layout.run(target.run)
    found = read_npz(run / "predictions.npz")
    plain, names, _, _ = _plain(target, "test")
    if len(plain) != len(found["labels"]):
        raise Refused(f"{run}: its predictions are not of the test images")
    wrong = np.flatnonzero(found["labels"] != found["predicted"])
    wrong = wrong[np.argsort(-found["confidence"][wrong], kind="stable")][: 4 * COLUMNS]
    if not len(wrong):
        raise Refused(f"{run}: no test image is wrong")
    rows = [wrong[i : i + COLUMNS] for i in range(0, len(wrong), COLUMNS)]
    grid = [[_picture(plain[i]) for i in row] for row in rows]
    titles = [
        [
            f"#{i} {_name(names, found['labels'][i])} → {_name(names, found['predicted'][i])}\n"
            f"{100 * found['confidence'][i]:.0f} %"
            for i in row
        ]
        for row in rows
    ]
    return _sheet(grid, titles, [""] * len(rows)), f"{len(wrong)} of the images that are wrong"


def _plain(target: Target, split: str) -> tuple[NDArray, Sequence[str], NDArray, NDArray]:
    """Images [N, C, H, W], class names, mean and s.d. per channel of the data set of a cell."""
    folder = target.layout.data(target.cell.dataset)
    manifest = read_json(folder / "manifest.json")
    of = manifest["normalisation"]
    mean, std = (np.array(of[key], dtype=np.float32)[:, None, None] for key in ("mean", "std"))
    images = read_tensors(folder / "data.safetensors")[f"{split}_images"]
    if not len(images):
        raise Refused(f"{folder}: its {split} images stay in their files")
    return images, manifest["class_names"], mean, std


def _names(folder: Path) -> Sequence[str]:
    return read_json(folder / "manifest.json")["class_names"]


def _name(names: Sequence[str], index: Any) -> str:
    return str(names[int(index)])[:14] if int(index) < len(names) else str(index)


def _bytes(image: NDArray, mean: Any, std: Any) -> NDArray:
    return (255 * (image * std + mean)).clip(0, 255).round().astype(np.uint8)


def _picture(image: NDArray) -> NDArray:
    """[C, H, W] as matplotlib has it."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def _sheet(
    grid: Sequence[Sequence[NDArray]], titles: Sequence[Sequence[str]], rows: Sequence[str]
) -> "Figure":
    """All pictures on one canvas, which is drawn at once: a hundred axes would take seconds."""
    import matplotlib
    from matplotlib.figure import Figure

    columns = max(map(len, grid))
    height, width = len(grid) * (SIDE + ABOVE), LEFT + columns * (SIDE + GAP)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.axis("off")
        for row, pictures in enumerate(grid):
            top = row * (SIDE + ABOVE) + ABOVE
            axes.text(LEFT - 6, top + SIDE / 2, rows[row], ha="right", va="center", fontsize=8)
            for column, picture in enumerate(pictures):
                left = LEFT + column * (SIDE + GAP)
                shown = _fitted(_coloured(picture))
                canvas[top : top + len(shown), left : left + shown.shape[1]] = shown
                axes.text(left, top - 3, titles[row][column], va="bottom", fontsize=7)
        axes.imshow(canvas, interpolation="nearest", aspect="equal")
    return figure


def _coloured(picture: NDArray) -> NDArray:
    """uint8, [H, W, 3]; grey stays grey, maps of numbers are coloured from least to greatest."""
    if picture.dtype != np.uint8:
        from matplotlib import colormaps

        span = float(picture.max() - picture.min()) or 1.0
        picture = (255 * colormaps["viridis"]((picture - picture.min()) / span)).astype(np.uint8)
        return picture[..., :3]
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)


def _fitted(picture: NDArray) -> NDArray:
    """As large as fits a square of SIDE: pixels repeated, or left out."""
    largest = max(picture.shape[:2])
    if largest > SIDE:
        step = -(-largest // SIDE)
        return picture[::step, ::step]
    return picture.repeat(SIDE // largest, axis=0).repeat(SIDE // largest, axis=1)
