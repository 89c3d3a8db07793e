"""Contrast against banks: its loss, its negatives, its banks; CRD and MCL-OKD, which use it."""

from math import exp, log

import pytest
import torch
from fake_methods import CLASSES, RECIPE, TRAIN_LABELS, numbers, real, same, total
from torch.nn import functional as F

from xkd import contrast
from xkd.contrast import Bank, Negatives
from xkd.errors import Refused

pytestmark = pytest.mark.usefixtures("seeded")
N = len(TRAIN_LABELS)  # 40, of which 10, 20 and 10 are of the classes 0, 1 and 2


@pytest.fixture
def seeded():
    torch.manual_seed(0)


def by_hand(bank, anchors, index, temperature, constant=None):
    """NCE and Z in plain loops, in double precision; shares no line with the library."""
    images, count = len(bank), index.shape[1] - 1
    numerators = [
        [exp(float(bank[j] @ anchor) / temperature) for j in row]
        for anchor, row in zip(anchors, index.tolist(), strict=True)
    ]
    if constant is None:
        constant = images * sum(map(sum, numerators)) / (len(anchors) * (count + 1))
    noise, loss = count / images, 0.0
    for first, *rest in numerators:
        loss -= log((first / constant) / (first / constant + noise + 1e-7))
        loss -= sum(log(noise / (each / constant + noise + 1e-7)) for each in rest)
    return loss / len(anchors), constant


def test_contrast_of_one_image_and_one_negative_by_hand():
    """Both numerators are 1, so Z = N = 2, P = 1/2 and the noise mass K/N = 1/2."""
    numerators = torch.ones(1, 2, dtype=torch.float64)
    constant = contrast.partition(numerators, 2)
    assert constant == 2
    expected = -2 * log(0.5 / (1 + 1e-7))
    same(contrast.contrast_loss(numerators, constant, 2), expected)


@pytest.mark.parametrize("count", [3, 30])
def test_the_loss_is_that_of_plain_loops_gathered_or_scored_whole(count):
    """Three negatives of 4 images are gathered from 40 rows; for thirty, all rows are scored."""
    bank, anchors = (F.normalize(numbers(n, 5, seed=n), dim=1) for n in (N, 4))
    index = torch.stack([torch.randperm(N)[: count + 1] for _ in range(4)])
    assert (index.numel() > N) == (count == 30)
    numerators = contrast.similarities(bank, anchors, index, 0.1)
    loss, constant = by_hand(bank, anchors, index, 0.1)
    same(contrast.partition(numerators, N), constant)
    same(contrast.contrast_loss(numerators, torch.tensor(constant, dtype=torch.float64), N), loss)


@pytest.mark.parametrize("anchors", [(4, 5), (3, 4, 5)])
def test_scoring_the_whole_bank_and_gathering_rows_agree_in_values_and_gradients(
    monkeypatch, anchors
):
    bank = F.normalize(numbers(N, 5, seed=0), dim=1)
    index = torch.stack([torch.randperm(N)[:6] for _ in range(4)])
    found = []
    for few in (False, True):
        rows = bank if few else torch.cat([bank] * 9)  # more rows than indices, or fewer
        rows = rows[:20] if few else rows
        v = F.normalize(numbers(*anchors, seed=1), dim=-1).requires_grad_()
        numerators = contrast.similarities(rows, v, index % 20, 0.07)
        numerators.log().square().sum().backward()
        found.append((numerators.detach(), v.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_loss_does_not_change_under_a_common_rotation():
    bank, anchors = (F.normalize(numbers(n, 5, seed=n), dim=1) for n in (N, 4))
    rotation, _ = torch.linalg.qr(numbers(5, 5, seed=7))
    index = torch.stack([torch.randperm(N)[:4] for _ in range(4)])
    losses = []
    for turn in (torch.eye(5).double(), rotation):
        numerators = contrast.similarities(bank @ turn, anchors @ turn, index, 0.1)
        losses.append(contrast.contrast_loss(numerators, contrast.partition(numerators, N), N))
    same(*losses)


# --------------------------------------------------------------------------------- negatives, banks


@pytest.mark.parametrize("count", [5, 20, 21, 500])
def test_negatives_are_of_other_classes_and_differ_within_a_list_where_they_can(count):
    negatives = Negatives(TRAIN_LABELS, count)
    labels = torch.tensor([0, 1, 2, 1])
    drawn = negatives(labels)
    assert drawn.shape == (4, count)
    assert not (TRAIN_LABELS[drawn] == labels[:, None]).any()
    assert negatives.replaced == (count > 20)  # images that are not of class 1
    if not negatives.replaced:
        assert all(len(set(row)) == count for row in drawn.tolist())


@pytest.mark.parametrize("count", [10, 400])
def test_every_image_of_another_class_is_drawn_equally_often(count):
    """To five standard deviations."""
    torch.manual_seed(0)
    negatives, label, draws = Negatives(TRAIN_LABELS, count), 0, 400
    drawn = negatives(torch.full((draws,), label)).flatten()
    seen = torch.bincount(drawn, minlength=N)[label != TRAIN_LABELS].double()
    expected = draws * count / 30
    assert (seen - expected).abs().max() < 5 * expected**0.5


def test_negatives_are_drawn_anew_every_time():
    negatives = Negatives(TRAIN_LABELS, 10)
    assert not torch.equal(negatives(TRAIN_LABELS[:4]), negatives(TRAIN_LABELS[:4]))


def test_contrast_within_a_single_class_is_refused():
    with pytest.raises(Refused, match="images of two classes at least; found one"):
        Negatives(torch.zeros(5, dtype=torch.int64), 3)


def test_a_bank_begins_uniform_and_moves_half_way_at_unit_length():
    torch.manual_seed(0)
    bank = Bank(1000, 12).double()
    assert bank.rows.abs().max() <= 0.5  # √(3/12)
    assert bank.rows.std() == pytest.approx(1 / 12**0.5, rel=0.02)
    before, anchors = bank.rows.clone(), F.normalize(numbers(2, 12, seed=3), dim=1)
    bank.update(torch.tensor([7, 3]), anchors)
    moved = (before[[7, 3]] + anchors) / 2
    same(bank.rows[[7, 3]], moved / moved.norm(dim=1, keepdim=True))
    kept = torch.ones(1000, dtype=torch.bool)
    kept[[7, 3]] = False
    assert torch.equal(bank.rows[kept], before[kept])


# --------------------------------------------------------------------------------------------- CRD


@pytest.fixture
def crd():
    method, batch = real("crd", negatives=6)
    teacher = batch.teacher._replace(embedding=batch.teacher.embedding.double())
    return method.double(), batch._replace(images=batch.images.double(), teacher=teacher)


def lists(method, batch, monkeypatch):
    """Fix the negatives, and return whole lists."""
    drawn = method.negatives(batch.labels)
    monkeypatch.setattr(method.negatives, "forward", lambda labels: drawn)
    return torch.cat([batch.index[:, None], drawn], dim=1)


def anchors_of(method, batch):
    with torch.no_grad():
        student = method.student(batch.images).embedding
        pairs = (method.student_head, student), (method.teacher_head, batch.teacher.embedding)
        return [F.normalize(x @ head.weight.T + head.bias, dim=1) for head, x in pairs]


def test_crd_crosses_anchors_and_banks_and_keeps_the_first_constants(crd, monkeypatch):
    method, batch = crd
    index = lists(method, batch, monkeypatch)
    constants = None, None
    for step in range(3):
        anchors = anchors_of(method, batch)
        banks = method.teacher_bank.rows.clone(), method.student_bank.rows.clone()
        found = method(batch, "train").terms["crd"]
        results = [
            by_hand(bank, anchor, index, 0.07, constant)
            for bank, anchor, constant in zip(banks, anchors, constants, strict=True)
        ]
        same(found, sum(loss for loss, _ in results))
        constants = [constant for _, constant in results]
        method.after_update(batch)
        same(method.constants, constants)
        same(
            method.teacher_bank.rows[batch.index],
            F.normalize(banks[0][batch.index] + anchors[1], dim=1),
        )
        same(
            method.student_bank.rows[batch.index],
            F.normalize(banks[1][batch.index] + anchors[0], dim=1),
        )
        with torch.no_grad():
            method.student_head.weight.mul_(1.5 + step)  # a step that changes all anchors


def test_only_rows_of_the_batch_change(crd):
    method, batch = crd
    before = method.teacher_bank.rows.clone()
    method(batch, "train")
    assert torch.equal(method.teacher_bank.rows, before), "not before the gradient is taken"
    method.after_update(batch)
    changed = (method.teacher_bank.rows != before).any(dim=1)
    assert changed.nonzero()[:, 0].tolist() == batch.index.tolist()
    same(method.teacher_bank.rows[batch.index].norm(dim=1), torch.ones(4))


def test_the_teachers_head_learns_from_the_second_term_alone_and_the_student_from_the_first():
    for muted, expected in (("teacher_bank", (0, 1)), ("student_bank", (1, 0))):
        method, batch = real("crd", negatives=6, weights={"crd": 0.8})
        getattr(method, muted).rows.zero_()  # nothing depends on an anchor against zeros
        method(batch, "train").terms["crd"].backward()
        heads = method.student_head.weight.grad, method.teacher_head.weight.grad
        assert tuple(int(grad.abs().max() > 1e-9) for grad in heads) == expected
        assert batch.teacher.embedding.grad is None


def test_crd_with_kd_adds_the_softened_divergence():
    method, batch = real("crd", negatives=6, weights={"ce": 1.0, "crd": 0.8, "kd": 1.0})
    assert set(method(batch, "train").terms) == {"ce", "crd", "kd"}


def test_banks_and_constants_are_state_and_constants_of_the_data_are_not():
    method, _ = real("crd", negatives=6)
    state = {name for name in method.state_dict() if not name.startswith(("student.", "teacher."))}
    assert {"student_bank.rows", "teacher_bank.rows", "constants"} <= state
    assert not {name for name in state if name.startswith("negatives")}


# ----------------------------------------------------------------------------------------- MCL-OKD


def test_mcl_contrasts_every_ordered_pair_with_constants_of_its_own(monkeypatch):
    method, batch = real("mcl_okd", negatives=5)
    method = method.double()
    for m, bank in enumerate(method.banks):
        bank.rows.copy_(F.normalize(numbers(N, 128, seed=m), dim=1))
    anchors = [F.normalize(numbers(4, 128, seed=10 + n), dim=1) for n in range(4)]
    index = lists(method, batch, monkeypatch)
    expected = sum(
        by_hand(method.banks[m].rows, anchors[n], index, 0.1)[0]
        for m in range(4)
        for n in range(4)
        if m != n
    )
    same(method.contrast(anchors, index), expected)


def test_mcl_distils_the_mean_of_all_peers_into_the_last_alone():
    method, batch = real("mcl_okd", negatives=5, weights={"kl": 1.0})
    result = method(batch, "train")
    peers = [*method.peers, method.student]
    logits = torch.stack([peer(batch.images).logits for peer in peers])
    mean = logits.mean(dim=0)
    p, q = (logits[-1] / 3).log_softmax(1), (mean / 3).log_softmax(1)
    expected = 9 * (q.exp() * (q - p)).sum(1).mean()
    torch.testing.assert_close(result.terms["kl"], expected)
    result.terms["kl"].backward()
    assert method.student.fc.weight.grad.abs().max() > 0
    assert all(peer.fc.weight.grad is None for peer in method.peers)


def test_mcl_trains_the_trunk_by_the_sum_over_its_peers():
    method, batch = real("mcl_okd", negatives=5, weights={"ce": 1.0})
    method(batch, "train").terms["ce"].backward()
    found = method.student.conv1.weight.grad.clone()
    total_gradient = torch.zeros_like(found)
    for peer in (*method.peers, method.student):
        loss = F.cross_entropy(peer(batch.images).logits, batch.labels)
        total_gradient += torch.autograd.grad(loss, method.student.conv1.weight)[0]
    torch.testing.assert_close(found, total_gradient)


def test_mcl_peers_are_whole_networks_of_one_trunk_and_branches_of_their_own():
    method, batch = real("mcl_okd", negatives=5)
    method.eval()
    trunk = method.student.trunk(batch.images)
    for peer in method.others.values():
        assert torch.equal(peer(batch.images).logits, peer.branch(trunk).logits)
        own, shared = peer.state_dict(), method.student.state_dict()
        assert own.keys() == shared.keys()
        assert torch.equal(own["layer1.0.conv1.weight"], shared["layer1.0.conv1.weight"])
    branches = [peer.layer2[0].conv1.weight for peer in (*method.peers, method.student)]
    assert all(not torch.equal(a, b) for i, a in enumerate(branches) for b in branches[:i])
    assert torch.equal(method(batch, "train").logits, method.student(batch.images).logits)


def test_mcl_updates_every_bank_by_its_own_anchors():
    method, batch = real("mcl_okd", negatives=5)
    before = [bank.rows.clone() for bank in method.banks]
    method(batch, "train")
    anchors = method._seen
    method.after_update(batch)
    for bank, old, anchor in zip(method.banks, before, anchors, strict=True):
        moved = F.normalize(old[batch.index] + anchor, dim=1)
        torch.testing.assert_close(bank.rows[batch.index], moved)
        assert torch.equal(bank.rows[4:], old[4:])


def test_mcl_counts_the_mean_of_all_logits():
    method, batch = real("mcl_okd", negatives=5)
    method.eval()
    logits = torch.stack([n(batch.images).logits for n in (*method.peers, method.student)])
    right = (logits.mean(0).argmax(1) == batch.labels).float().mean()
    assert method(batch, "train").meters["mean_top1"] == right


def test_mcl_adds_its_three_terms():
    method, batch = real("mcl_okd", negatives=5)
    terms = method(batch, "train").terms
    torch.testing.assert_close(total(method, method(batch, "train")).isfinite(), torch.tensor(True))
    assert method.stages(RECIPE)[0].weights_at(1) == {"ce": 1.0, "kl": 1.0, "contrast": 0.025}
    assert set(terms) == {"ce", "kl", "contrast"}
    assert terms["ce"] > CLASSES  # of four networks
