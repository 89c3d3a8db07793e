"""Figures from a few invented rows: what is drawn, what is refused, the same bytes each time."""

from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from PIL import Image
from synthetic_results import LABELS, NOTICE, PAPERS, item, printed_file, responses, runs, script

from xkd.errors import Refused
from xkd.report import arrays, curves, looks, plots, published, reinforced

#: Those of Attentive show saliency, see `test_saliency_tables`.
FIGURES = sorted(
    path.stem for path in PAPERS.glob("*/figures/*.py") if path.parts[-3] != "attentive"
)


def six_runs() -> pd.DataFrame:
    methods = ("ce", "le_uniform", "le_grad_input", "le_guided_bp", "le_grad", "le_gradcam")
    return runs({f"cifar10/resnet14/{name}": 0.9 + k / 500 for k, name in enumerate(methods)}, 3)


def taught_runs() -> pd.DataFrame:
    means = {
        f"cifar100/{student}/{method}/from-{teacher}-ce_teacher": 0.7 + gain + size
        for student, size in (("resnet20", 0), ("resnet56", 0.03))
        for teacher in ("resnet20", "resnet56")
        for method, gain in (("kd", 0), ("oracle", 0.01))
    }
    sizes = {"resnet20": 278_324, "resnet56": 861_620}
    frame = runs(means, seeds=2)
    return frame.assign(parameters=frame.network.map(sizes))


def clusters() -> pd.DataFrame:
    rows = []
    for gamma in (0, 0.5, 2):
        for labels in ("super", "sub"):
            value = {0: 0.1, 0.5: 0.3, 2: 0.2}[gamma]
            common = {"kind": "gradient", "gamma": gamma, "split": "train", "labels": labels}
            common["top1"] = 0.8 + gamma / 20
            for seed in (0, 1):
                noisy = {"silhouette": value + seed / 100, "seed": seed}
                rows.append({**common, **noisy, "space": "embedding", "metric": "euclidean"})
            for metric in ("euclidean", "cosine"):
                plain = {"silhouette": value / 2, "seed": None}
                rows.append({**common, **plain, "space": "logits", "metric": metric})
    return pd.DataFrame(rows)


def embeddings() -> arrays.Embeddings:
    draw = np.random.default_rng(0)
    groups = np.repeat([0, 1, 11], 20)
    points = {f"gradient-{gamma}": draw.random((60, 2)) for gamma in ("0", "0.5", "5")}
    names = [f"superclass {k}" for k in range(12)]
    return arrays.Embeddings(
        points, groups, groups, names, np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 20, 40])
    )


def explanations(signed: bool, classes: int = 3) -> arrays.Explanations:
    draw = np.random.default_rng(1)
    maps = draw.normal(size=(2, classes, 4, 4))
    maps = maps if signed else np.maximum(maps, 0)
    cosines = np.tile(np.linspace(-0.5, 1, classes), (2, 1))
    images = draw.integers(0, 255, (2, 8, 8, 1 if signed else 3), dtype=np.uint8)
    names = [f"class{k}" for k in range(classes)]
    return arrays.Explanations(images, maps, cosines, np.array([2, 2]), names, signed, "Grad")


def similarity() -> arrays.Similarity:
    matrix = np.array([[1, 0.2, 0.9], [0.2, 1, -0.001], [0.9, -0.001, 1]])
    return arrays.Similarity(matrix, ["cat", "ship", "dog"], [("dog", "cat")], "Grad-CAM")


def drawn(name: str, scale: str) -> tuple:
    """Figure and tidy data of any figure script."""
    module, entry = script(name), item(scale)
    answers = responses({"cifar10/resnet20": 0.9, "cifar10/resnet32": 0.91})
    match name:
        case "le_figure1":
            given = ([explanations(True), explanations(False)],)
        case "le_figure2":
            given = ([similarity()],)
        case "le_figure3":
            given = (six_runs(),)
        case "oracle_figure1b" | "oracle_figure5":
            return module.draw(taught_runs(), entry), curves.measured(taught_runs(), entry)
        case "oracle_figure3":
            return module.draw(embeddings(), entry), module.measured(embeddings(), entry)
        case "oracle_figure4":
            given = (clusters(),)
        case "oracle_reliability":
            return module.draw(answers, entry), module.measured(answers, entry)
        case "related_cost" | "related_last_minus_best":
            frame = pd.concat([taught_runs(), runs({"cifar100/resnet20/ce": 0.68}, seeds=2)])
            frame = module.measured(frame.assign(device="cpu", seconds=1.5))
            return module.draw(frame, entry), frame
        case _:
            given = (answers,)
    data = module.measured(*given, entry) if name == "le_figure3" else module.measured(*given)
    return module.draw(*given, entry), data


def texts(figure: object) -> list[str]:
    parts = [figure, *figure.subfigs]
    found = [text.get_text() for part in parts for text in part.texts]
    found += [part._suptitle.get_text() for part in parts if part._suptitle]
    legends = [legend for part in parts for legend in part.legends]
    return found + [text.get_text() for legend in legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_from_a_few_rows_and_says_when_it_is_a_demo(name, tmp_path):
    figure, data = drawn(name, "demo")
    assert NOTICE in texts(figure)
    assert "published" not in " ".join(texts(figure)).replace(NOTICE, "")
    output = SimpleNamespace(**{kind: tmp_path / f"f.{kind}" for kind in ("csv", "pdf", "png")})
    plots.save(figure, data, output)
    assert len(pd.read_csv(output.csv)) == len(data) > 0
    assert Image.open(output.png).width <= 1200
    assert output.pdf.read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.csv", "f.pdf", "f.png"]


@pytest.mark.parametrize("name", ["le_figure3", "oracle_figure3", "oracle_reliability"])
def test_the_same_numbers_give_the_same_bytes(name, tmp_path):
    def saved(folder: str) -> list[bytes]:
        kinds = ("csv", "pdf", "png")
        output = SimpleNamespace(**{kind: tmp_path / folder / f"f.{kind}" for kind in kinds})
        plots.save(*drawn(name, "paper"), output)
        return [getattr(output, kind).read_bytes() for kind in kinds]

    assert saved("one") == saved("two")


def test_paper_figures_carry_no_demo_notice():
    assert NOTICE not in texts(drawn("le_figure3", "paper")[0])


def many_methods(name: str) -> Figure:
    """The figure with as many methods, of as long names, as the paper's layout has."""
    methods = ["dkd_equal", "at_equal", "fitnet_equal", "kd_equal", "sad_equal", "oracle_gamma0"]
    labels = {name: f"{name.split('_')[0].upper()}, one recipe" for name in methods}
    labels = {**LABELS, "methods": {**LABELS["methods"], **labels}}
    students = ("resnet20", "resnet32", "resnet56", "resnet110")
    means = {
        f"cifar100/{student}/{method}/from-{teacher}-ce_teacher": 0.7 + place / 100
        for student in students
        for teacher in students
        for place, method in enumerate([*methods, "oracle"])
    }
    frame = runs(means, seeds=3)
    frame["parameters"] = frame.network.map({name: k for k, name in enumerate(students)})
    return script(name).draw(frame, item(labels=labels))


def outside(figure: Figure) -> list[str]:
    """Texts and legends that reach over the edge of a figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer, whole = canvas.get_renderer(), figure.bbox.padded(1)
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    for axes in figure.axes:  # ticks beyond the limits of an axis are not drawn
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not (axes.axison and low <= tick.get_loc() <= high):
                    shown = [one for one in shown if one not in (tick.label1, tick.label2)]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    boxes += [("legend", one.get_window_extent(renderer)) for one in figure.findobj(Legend)]
    return [
        name
        for name, box in boxes
        if box.x0 < whole.x0 or box.x1 > whole.x1 or box.y0 < whole.y0 or box.y1 > whole.y1
    ]


@pytest.mark.parametrize("scale", ["demo", "paper"])
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_outside_a_figure(name, scale):
    assert outside(drawn(name, scale)[0]) == []


@pytest.mark.parametrize("name", ["oracle_figure5", "oracle_figure1b"])
def test_legends_of_many_methods_stay_inside(name):
    assert outside(many_methods(name)) == []


def test_a_users_matplotlibrc_changes_no_figure(tmp_path):
    def drawn_bytes(name: str) -> bytes:
        figure, data = drawn("le_figure3", "paper")
        output = SimpleNamespace(**{k: tmp_path / f"{name}.{k}" for k in ("csv", "pdf", "png")})
        plots.save(figure, data, output)
        return output.png.read_bytes()

    plain = drawn_bytes("plain")
    theirs = {"font.family": ["serif"], "lines.linewidth": 5, "text.usetex": True}
    theirs |= {"savefig.bbox": "tight", "savefig.dpi": 300, "axes.unicode_minus": False}
    with matplotlib.rc_context(theirs):
        assert drawn_bytes("theirs") == plain
        assert matplotlib.rcParams["lines.linewidth"] == 5


def test_drawing_leaves_matplotlibs_own_settings_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    drawn("le_figure3", "paper")
    assert dict(matplotlib.rcParams) == before


def test_dots_stand_at_the_means_and_controls_stand_apart():
    axes = drawn("le_figure3", "paper")[0].axes[0]
    means = [group.lines[0].get_ydata()[0] for group in axes.containers]
    assert means == pytest.approx([0.9, 0.902, 0.904, 0.906, 0.908, 0.910])
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["CE", "LE-Uniform", "Grad*Input", "GuidedBP", "Grad", "Grad-CAM"]
    assert not axes.patches  # no bars that start above zero


def test_panels_of_one_quantity_have_scales_of_one_length():
    two = pd.concat([six_runs(), six_runs().assign(network="resnet8", top1=lambda f: f.top1 / 2)])
    figure = script("le_figure3").draw(two, item())
    first, second = (axes.get_ylim() for axes in figure.axes)
    assert first[1] - first[0] == pytest.approx(second[1] - second[0])
    assert first != second


def test_published_means_stand_beside_ours_at_paper_scale():
    printed = published.load(printed_file("le_figures"), LABELS, "Figure 3")
    module = script("le_figure3")
    data = module.measured(six_runs(), item(), printed).set_index("method")
    assert data.published["le_grad"] == pytest.approx(0.9101)
    assert "published" in texts(module.draw(six_runs(), item(), printed))


def test_print_is_not_handed_to_a_demo_figure():
    inputs = {"published": printed_file("le_figures")}
    assert published.beside(inputs, item("demo")) is None
    assert published.beside({}, item("paper")) is None
    assert len(published.beside(inputs, item("paper"))) == 14


def test_pairs_find_the_authors_records_whatever_trained_the_teacher():
    path = printed_file("oracle_official_repo")
    printed = published.load(path, LABELS, "student json (Figure 5)")
    data = curves.measured(taught_runs(), item(), printed)
    ours = data[(data.method == "oracle") & (data.teacher == "resnet56")].set_index("network")
    assert ours.published["resnet20"] == pytest.approx(0.7130)  # last epoch, as ours
    assert data[data.method == "kd"].published.isna().all()


def test_teachers_and_students_are_ordered_by_size():
    names = ["resnet56-ce_teacher", "resnet20-ce_teacher"]
    assert curves.in_order(names, taught_runs()) == names[::-1]


def test_the_star_marks_the_best_mean_of_the_panel():
    axes = script("oracle_figure5").draw(taught_runs(), item()).axes[0]
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert star.get_ydata()[0] == pytest.approx(0.71 + 0.002)  # at the end of its whisker


def test_figure_1b_takes_the_smallest_student_unless_told():
    module = script("oracle_figure1b")
    assert set(module.of_one_student(taught_runs(), item()).network) == {"resnet20"}
    named = module.of_one_student(taught_runs(), item(settings={"student": "resnet56"}))
    assert set(named.network) == {"resnet56"}


def test_silhouettes_are_averaged_over_embedding_seeds():
    data = script("oracle_figure4").measured(clusters())
    row = data[(data.space == "embedding") & (data.labels == "sub") & (data.gamma == 0.5)].iloc[0]
    assert (row["n"], row["mean"]) == (2, pytest.approx(0.305))
    assert row["std"] == pytest.approx(0.01 / 2**0.5)


def test_a_ring_marks_the_best_gamma():
    axes = script("oracle_figure4").draw(clusters(), item()).axes[0]
    rings = [line for line in axes.lines if line.get_markersize() == 11]
    assert [ring.get_xdata()[0] for ring in rings] == [0.5, 0.5]


def test_the_notebooks_values_are_read_by_gamma():
    path = printed_file("oracle_official_repo")
    rows = script("oracle_figure4").recorded(
        published.load(path, LABELS, "t-SNE/silhouette notebook")
    )
    found = rows.set_index(["gamma", "what"]).value
    assert found[(2.0, "sub")] == pytest.approx(0.387, abs=5e-4)
    assert set(rows.what) == {"super", "sub", "top1"}
    assert 0.8 < found[(0.0, "top1")] < 0.9


def test_figure_3_says_which_gammas_there_are():
    with pytest.raises(Refused, match=r"no embedding for γ in 7; found gradient-0, gradient-0.5"):
        script("oracle_figure3").draw(embeddings(), item(settings={"gammas": [7]}))


def test_reliability_takes_the_gamma_nearest_to_one_half():
    answers = responses({"cifar10/resnet20": 0.9}, gammas=(0, 0.2, 0.6, 5))
    shown = script("oracle_reliability").chosen(answers, item())
    assert shown.reinforcement.tolist() == ["gradient-0", "gradient-0.6"]


def test_printed_entropies_are_shown_with_the_data_set_they_belong_to():
    printed = published.load(printed_file("oracle_table3_entropy"), LABELS)
    right = reinforced.unswapped(printed, LABELS)
    assert right[right.dataset == "cifar10"].value.max() == pytest.approx(0.66)
    assert right[right.dataset == "cifar100"].value.max() == pytest.approx(5.39)


def test_maps_of_a_row_share_a_scale_and_zero_maps_stay_blank():
    panel = explanations(signed=True)
    panel.maps[0] *= 100
    panel.maps[1, 0] = 0
    figure = script("le_figure1").draw([panel], item())
    images = [axes.images[0] for axes in figure.subfigs[0].axes[:8]]
    assert {image.norm.vmin for image in images[1:4]} == {-1}
    assert max(np.abs(image.get_array()).max() for image in images[1:4]) == 1
    assert not images[5].get_array().any()  # second row, first class
    labels = [axes.get_xlabel() for axes in figure.subfigs[0].axes[1:4]]
    assert labels == ["−0.50", "0.25", "1.00"]


def test_a_grid_of_too_many_classes_is_refused():
    with pytest.raises(Refused, match="has 13 classes"):
        script("le_figure1").draw([explanations(True, classes=13)], item())


def test_named_pairs_are_framed_and_ranked():
    module = script("le_figure2")
    figure = module.draw([similarity()], item())
    frames = [patch.get_xy() for patch in figure.axes[0].patches]
    assert frames == [(0, 2), (2, 0)]  # lower corners of the cells (dog, cat) and (cat, dog)
    told = figure.axes[1].get_xlabel()
    assert "ranks 1 of 3" in told
    assert "? more similar than others: undecided here (p = 0.67)" in told  # 2 of 3 ways
    assert module.measured([similarity()]).named.tolist() == [True, False, False]
    assert "0.00" in [text.get_text() for text in figure.axes[0].texts]  # no negative zero


def test_two_panels_of_similarities_share_a_scale_with_zero_in_its_middle():
    weak = similarity()._replace(similarity=similarity().similarity / 3)
    figure = script("le_figure2").draw([similarity(), weak], item())
    scales = [axes.collections[0].get_clim() for axes in figure.axes[:2]]
    assert scales == [(-0.9, 0.9)] * 2


def test_panels_are_titled_in_the_papers_words(tmp_path):
    content = {"similarity": np.eye(2), "class_names": np.array(["a", "b"])}
    about = {"explanation": "gradcam", "network": "resnet14", "dataset": "cifar10"}
    np.savez(tmp_path / "s.npz", **content, **about, pairs=np.array([["a", "b"]]))
    (panel,) = arrays.similarities(str(tmp_path / "s.npz"), LABELS)
    assert panel.title == "Grad-CAM, ResNet14, CIFAR-10"
    assert panel.pairs == [("a", "b")]
    np.savez(tmp_path / "s.npz", **content, **about | {"explanation": "guided_bp"})
    (panel,) = arrays.similarities(str(tmp_path / "s.npz"), LABELS)
    assert panel.title == "GuidedBP, ResNet14, CIFAR-10"


def test_damaged_and_incomplete_arrays_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    with pytest.raises(Refused, match="is missing"):
        arrays.similarities(path, LABELS)
    np.savez(path, similarity=np.eye(2))
    with pytest.raises(Refused, match="lacks class_names"):
        arrays.similarities(path, LABELS)
    path.write_bytes(b"PK no archive")
    with pytest.raises(Refused, match="is damaged"):
        arrays.similarities(path, LABELS)


def test_embeddings_without_superclasses_fall_back_to_classes(tmp_path):
    content = {"gradient-0/embedding": np.zeros((4, 2)), "labels": np.array([0, 0, 1, 1])}
    content["split"] = np.array("test")
    np.savez(tmp_path / "e.npz", **content, class_names=np.array(["a", "b"]))
    found = arrays.embeddings(tmp_path / "e.npz")
    assert found.group_names == ["a", "b"]
    assert found.groups.tolist() == [0, 0, 1, 1]


def test_methods_shown_together_differ_in_more_than_colour():
    together = [
        ("ce", "dkd", "at", "fitnet", "kd", "sad", "oracle_gamma0", "oracle"),
        ("ce", "dropout", "label_smoothing", "confidence_penalty", "le_gradcam"),
        ("le_uniform", "le_permut", "le_grad_input", "le_guided_bp", "le_grad", "le_gradcam"),
        ("ce", "kd", "cwtm", "cwtm_permut", "cwtm_random", "dkpp"),
        ("kd", "hint", "at", "fsp", "takd", "le_gradcam"),
    ]
    for methods in together:
        chosen = [looks.look(method) for method in methods]
        assert len({look.color for look in chosen}) == len(chosen)
        assert len({look.marker for look in chosen}) == len(chosen)
        assert len({look.hatch for look in chosen}) == len(chosen)


@pytest.mark.parametrize(
    ("method", "family"),
    [("kd_official", "kd"), ("oracle_gamma0", "oracle_gamma0"), ("oracle", "oracle"),
     ("le_gradcam_signed", "le_gradcam"), ("ce_teacher", "ce"), ("something_new", None)],
)  # fmt: skip
def test_variants_belong_to_the_longest_known_family(method, family):
    assert looks.family(method) == family


def test_variants_of_one_method_are_told_apart():
    frame = taught_runs()
    frame["method"] = frame.method.replace({"kd": "kd_official", "oracle": "kd_equal"})
    labels = {**LABELS, "methods": {"kd_official": "KD", "kd_equal": "KD"}}
    entries = curves.legend_entries(curves.measured(frame, item()), item() | {"labels": labels})
    assert [entry.get_label() for entry in entries[:2]] == ["KD (equal)", "KD (official)"]
    assert len({entry.get_markerfacecolor() for entry in entries[:2]}) == 2


def test_methods_come_in_the_houses_order():
    shuffled = ["oracle", "new_one", "sad", "kd", "ce", "kd_equal", "dkd", "kd"]
    assert looks.ordered(shuffled) == ["ce", "dkd", "kd", "kd_equal", "sad", "oracle", "new_one"]


def test_gamma_ticks_prefer_round_steps_with_room_between():
    axes = (
        script("oracle_entropy")
        .draw(
            responses(
                {"cifar10/resnet20": 0.9}, gammas=(0, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)
            ),
            item(),
        )
        .axes[0]
    )
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["0", "0.1", "0.3", "1", "3", "10"]


def test_dark_knowledge_adds_up_to_the_accuracy_of_the_whole_split():
    answers = responses({"cifar10/cnn10": 0.9})
    data = script("le_dark_knowledge").measured(answers)
    assert set(data.split) == {"train", "test"}
    for _, bins in data.groupby("split"):
        assert bins.share.sum() == pytest.approx(1)
        full = bins[bins["count"] > 0]
        weighted = (full.share * full.confidence.astype(float)).sum()
        assert bins.mean_confidence.iloc[0] == pytest.approx(weighted)
        plain = answers[
            (answers.reinforcement == "gradient-0") & (answers.split == bins.split.iloc[0])
        ]
        assert bins.argmax_is_label.iloc[0] == plain.top1.iloc[0]
