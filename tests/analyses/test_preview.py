"""Previews of reinforced inputs: which images are shown, and on which scale."""

import torch

from xkd.analyses import _preview


def seen(before: list[list[float]], after: list[list[float]], labels: list[int]) -> _preview.Seen:
    count = len(labels)
    images = torch.zeros(count, 1, 2, 2)
    shares = (torch.tensor(before), torch.tensor(after))
    return _preview.Seen(torch.arange(count), torch.tensor(labels), images, images, *shares)


def test_images_whose_predicted_class_changes_come_first_then_the_largest_change():
    before = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]]
    after = [[0.8, 0.2], [0.45, 0.55], [0.65, 0.35], [0.9, 0.1]]
    # 2 changes class by 0.45 of the true class's share, 1 by 0.15; then 3 by 0.4, and 0 by 0.1
    top = _preview._top(seen(before, after, labels=[0, 1, 0, 0]))
    assert top.indices.tolist() == [2, 1, 3, 0]
    assert top.after[0].tolist() == torch.tensor([0.65, 0.35]).tolist()


def test_no_more_than_fit_are_kept():
    many = [[k / 40, 1 - k / 40] for k in range(20)]
    top = _preview._top(seen(many, [[0.0, 1.0]] * 20, labels=[0] * 20))
    assert len(top.labels) == _preview.IMAGES
    assert top.indices[0] == 19
