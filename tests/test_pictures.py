"""What one sees: TEST's pictures, the samples.png of a training, and what TEST puts on the page."""

import base64
import contextlib
import io
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, TEST, first_images
from looks import frames_in, picture, says, shows
from matplotlib.colors import to_rgb
from PIL import Image
from runs import contents, load, save_last, save_networks

import MNIST_MLP_GAN_TEST as pictures
from MNIST_MLP_GAN_NETWORK import generate, picture_seed, sample_z
from MNIST_MLP_GAN_TEST import COLORS, load_discriminator, load_generator

GRID, GIF, PAGE = "MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif", "MNIST_MLP_GAN.html"
WALK, CURVES = "MNIST_MLP_GAN_WALK.png", "MNIST_MLP_GAN_CURVES.png"
HISTORY = [[13, 1.2, 0.8, 0.6, 0.4], [14, 1.3, 0.7, 0.5, 0.45]]
# A run of which all is known: what each G draws, 1 is ink, and each D's scores of real and fake
DOT = torch.eye(784)[0]
MARK = torch.nn.functional.pad(torch.ones(8, 8), (0, 20, 0, 20)).flatten()
GRAY = (DOT + MARK) / 2
DRAWS = {9: DOT, 10: MARK, 11: GRAY, 12: DOT, 13: MARK, 14: DOT}
SCORES = {9: (0.5, 0.45), 10: (0.8, 0.3), 11: (0.3, 0.1), 12: (0.9, 0.2), 13: (0.6, 0.4)}
SCORES[14] = (0.7, 0.15)
SHOWN = {f"epoch {epoch}": (DRAWS[epoch], SCORES[epoch]) for epoch in DRAWS}
SHOWN["mean of epochs 13-14"] = (GRAY, SCORES[14])  # of biases of 10 and -10 the mean is 0: gray


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What TEST made and printed of that run."""
    run = tmp_path_factory.mktemp("run")
    for epoch in DRAWS:
        save_networks(run, epoch, image=DRAWS[epoch], scores=SCORES[epoch])
    save_last(run, HISTORY)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        pictures.main(["--run", str(run), "--rows", "11", "10"])
    return SimpleNamespace(run=run, printed=printed.getvalue())


def read_page(run):
    """What is in the page of a run, and the weights of each stop: a dict of title to [G's, D's].

    The weights are in bfloat16, with a row for each input.
    """
    text = (run / PAGE).read_text(encoding="utf-8")
    page = json.loads(re.search(r"const run = (.*?);</script>", text)[1])
    stops = {}
    for stop in page["stops"]:
        data = [{k: base64.b64decode(text) for k, text in stop[player].items()} for player in "GD"]
        stops[stop["title"]] = data
    return page, stops


def as_on_the_page(path):
    """A network's weights as ``read_page`` returns them."""
    weights = {name: weight.movedim(0, -1).bfloat16() for name, weight in load(path).items()}
    return {k: x.contiguous().view(torch.int16).numpy().tobytes() for k, x in weights.items()}


# ---- Which epochs, which networks ----


def test_checkpoints_come_in_order_of_epoch_and_nothing_else_counts(tmp_path):
    others = ["D_1.pth", "G_.pth", "G_x.pth", "G_1-2.pth", "G_3.pth.unfinished", "G_mean.pth"]
    for file in ["G_10.pth", "G_9.pth", "G_0.pth", "G_100.pth", "last.pt", *others]:
        (tmp_path / file).touch()
    found = pictures.find_checkpoints(tmp_path)
    assert [*found.items()] == [(n, tmp_path / f"G_{n}.pth") for n in [0, 9, 10, 100]]


def test_epochs_are_chosen_early_and_the_last():
    assert pictures.choose_epochs([*range(41)], 5) == [0, 1, 3, 12, 40]
    assert pictures.choose_epochs([*range(201)], 5) == [0, 1, 6, 34, 200]
    assert pictures.choose_epochs([7, 8, 10, 11, 12, 13], 5) == [7, 8, 10, 11, 13]
    assert pictures.choose_epochs([*range(5)], 5) == [*range(5)]
    assert pictures.choose_epochs([3], 5) == [3]
    assert pictures.load_mean(dict.fromkeys(range(5)), {}) == {}  # too few for a mean


def test_networks_are_loaded_with_the_sizes_of_the_run_of_the_file_or_of_the_caller(tmp_path):
    save_networks(tmp_path, 1, hidden_size=8, latent_size=3)
    for sizes in [{}, {"hidden_size": 8, "latent_size": 3}]:
        G = load_generator(str(tmp_path / "G_1.pth"), **sizes)
        sizes.pop("latent_size", None)
        D = load_discriminator(str(tmp_path / "D_1.pth"), **sizes)
        assert (G.latent_size, G.linear1.out_features, D.linear1.out_features) == (3, 8, 8)
        assert [G.training, D.training] == [False, False]
        for network, name in [(G, "G_1.pth"), (D, "D_1.pth")]:
            saved = load(tmp_path / name).values()
            assert all(map(torch.equal, network.state_dict().values(), saved))
    for load_network in [load_generator, load_discriminator]:
        with pytest.raises(FileNotFoundError):
            load_network(tmp_path / "G_2.pth")


def test_long_run_has_every_network_where_its_title_says(call, tmp_path):
    """The first 20 epochs are in the animation, some of the rest, and the last, held; for ever."""
    for epoch in range(100):
        image, scores = torch.full((784,), epoch / 100), (0.6, 0.1 + epoch / 250)
        save_networks(tmp_path, epoch, image=image, scores=scores, hidden_size=1)
    save_last(tmp_path, [], checksum=pictures.MNIST, hidden_size=1)
    call(TEST, "--run", tmp_path)
    assert CURVES not in contents(tmp_path)  # without any losses
    assert Image.open(tmp_path / GIF).info["loop"] == 0
    frames, milliseconds = frames_in(tmp_path / GIF)
    assert 40 <= len(frames) <= 55
    assert milliseconds[-1] >= 2000
    assert all(100 <= shown_for <= 500 for shown_for in milliseconds[:-1])
    grays = [frame[64 + 300, 300] for frame in frames]
    for number, epoch in [*enumerate(range(20)), (-2, 99)]:
        assert says(frames[number][:64], f"epoch {epoch}")
        ink = math.tanh(20 * epoch / 100 - 10) / 2 + 0.5
        assert abs(grays[number] - 255 * (1 - ink)) < 10
    assert says(frames[-1][:64], "mean of epochs 66-99")

    page, stops = read_page(tmp_path)
    epochs = [0, 1, 2, 5, 10, 21, 46, 99]
    expected = {f"epoch {n}": [f"G_{n}.pth", f"D_{n}.pth"] for n in epochs}
    expected["mean of epochs 66-99"] = ["G_mean.pth", "D_99.pth"]
    assert [*stops] == [*expected]
    for title, names in expected.items():
        assert stops[title] == [as_on_the_page(tmp_path / name) for name in names]
    real_images = load(tmp_path / "last.pt")["real_images"]
    assert base64.b64decode(page["real_images"]) == real_images.numpy().tobytes()
    assert page["mnist"]


# ---- What TEST draws ----


def test_each_file_is_what_its_name_says(drawn):
    made = {name for name in contents(drawn.run) if not re.match(r"[GD]_\d|last", name)}
    assert made == {GRID, GIF, WALK, CURVES, PAGE, "G_mean.pth"}
    assert str(drawn.run / PAGE) in drawn.printed
    page, stops = read_page(drawn.run)
    assert [*stops] == [*SHOWN]  # the rows are among them
    assert not page["mnist"]
    image = generate(load_generator(drawn.run / "G_mean.pth"), torch.randn(1, 100))
    torch.testing.assert_close(image[0], GRAY)
    for name in [GRID, GIF, WALK, CURVES]:  # the README shows them at half their size
        width, height = Image.open(drawn.run / name).size
        assert (width % 2, height % 2) == (0, 0)


def test_grid_shows_each_row_beside_its_label(drawn, tmp_path, call):
    page = picture(drawn.run / GRID)
    for row, epoch in enumerate([11, 10]):
        label = page[6 * 29 * row : 6 * 29 * (row + 1), :140]
        assert says(label, f"epoch\n{epoch}")
        for column in range(5):
            assert shows(page, row, column, DRAWS[epoch], scale=6, left=140)
    for epoch in range(41):
        save_networks(tmp_path, epoch, image=torch.rand(784), hidden_size=1)
    call(TEST, "--run", tmp_path)
    page = picture(tmp_path / GRID)
    for row, epoch in enumerate([0, 1, 3, 12, 40]):
        assert says(page[6 * 29 * row : 6 * 29 * (row + 1), :140], f"epoch\n{epoch}")
        (image,) = generate(load_generator(tmp_path / f"G_{epoch}.pth"), torch.zeros(1, 100))
        assert shows(page, row, 4, image, scale=6, left=140)


def groups(page, name):
    """The ranges of columns in which ``page``, (height, width, 3), has a color, by its name."""
    found = np.abs(page / 255 - to_rgb(COLORS[name])).max(axis=2) < 0.15
    columns = np.flatnonzero(found.any(axis=0))
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 16) + 1)
    return np.flatnonzero(found.any(axis=1)), [(part[0] - 4, part[-1] + 5) for part in parts]


def test_animation_shows_each_epoch_and_the_scores_by_the_d_of_that_epoch(drawn):
    """A line of dots where the score is, between where 0 and 1 are written, and its mean."""
    frames, _ = frames_in(drawn.run / GIF, "RGB")
    gray, _ = frames_in(drawn.run / GIF)
    places, scores = [], []
    for frame, page, (title, (image, wanted)) in zip(frames, gray, SHOWN.items(), strict=True):
        assert says(page[:64], title)
        for place in [(0, 0), (4, 4), (2, 3)]:
            assert shows(page, *place, image, scale=4, top=64, levels=12)  # of 16 grays
        strip = 64 + page.shape[1]  # below the images
        middles = []
        for name, label, score in zip(COLORS, ["100 real", "25 fakes"], wanted, strict=False):
            rows, (words, dots, number) = groups(frame[strip:], name)
            band = page[strip + rows[0] : strip + rows[-1] + 1]
            assert says(band[:, words[0] : words[1]], label)
            assert says(band[:, number[0] : number[1]], f"{score:.2f}")
            assert dots[1] - dots[0] < 24
            places.append(sum(dots) / 2)
            scores.append(score)
            above = page[strip + rows[0] - 6 : strip + rows[0] - 2, words[1] : number[0]]
            mark = words[1] + np.flatnonzero(above.mean(axis=0) < 40)  # of the mean
            assert abs(mark.mean() + 0.5 - places[-1]) < 2
            middles.append(rows.mean())
        assert middles[0] < middles[1]  # real above, fakes below
    slope, zero = np.polyfit(scores, places, 1)
    assert np.abs(zero + slope * np.array(scores) - places).max() < 1.5
    axis = page[strip + rows[-1] + 16 :]
    for score, word in [("0", "fake"), ("0.5", "D's score"), ("1", "real")]:
        x = round(zero + slope * float(score))
        assert says(axis[:26, x - 60 : x + 60], score)
        assert says(axis[26:, x - 60 : x + 60], word)


def test_each_place_keeps_its_z_in_all_pictures(train, call, tmp_path):
    """In each frame, on the page, and in TRAIN's samples.png; and these are the images D scores."""
    train(tmp_path, "--epochs", 1, "--latent-size", 7, "--hidden-size", 32)  # of any size
    G, D = load_generator(tmp_path / "G_1.pth"), load_discriminator(tmp_path / "D_1.pth")
    for seed, typed in [(1, ["--seed", 1]), (picture_seed, [])]:
        call(TEST, "--run", tmp_path, "--rows", 1, *typed)
        z = sample_z(G, 25, seed)
        images = generate(G, z)
        torch.testing.assert_close(torch.tensor(read_page(tmp_path)[0]["z"]), z)
        page, walk = picture(tmp_path / GRID), picture(tmp_path / WALK)
        (_, frame), _ = frames_in(tmp_path / GIF)
        for i in range(25):
            assert shows(frame, i // 5, i % 5, images[i], scale=4, top=64, levels=12)
        # A line of the walk goes from a tile of the first row to the one below it.
        middles = generate(G, (z[:5] + z[5:10]) / math.sqrt(2))
        for i in range(5):
            assert shows(page, 0, i, images[i], scale=6, left=140)
            for column, image in [(0, images[i]), (4, middles[i]), (8, images[i + 5])]:
                assert shows(walk, i, column, image, scale=4)
    with torch.no_grad():
        scores = {"real": D(first_images(100) / 127.5 - 1), "fake": D(G(z))}
    (_, colored), _ = frames_in(tmp_path / GIF, "RGB")
    for name, score in scores.items():
        rows, (*_, number) = groups(colored[64 + 584 :], name)
        band = frame[64 + 584 + rows[0] : 64 + 584 + rows[-1] + 1]
        assert says(band[:, number[0] : number[1]], f"{score.mean().item():.2f}")

    page = picture(tmp_path / "samples.png")
    assert page.shape == (4 * (5 * 29 + 1), 4 * (5 * 29 + 1))
    assert all(shows(page, i // 5, i % 5, images[i], scale=4) for i in range(25))
    assert (page[:4] == 255).all()  # white around them


@pytest.mark.parametrize("lost", ["last.pt", "D_0.pth", "D_3.pth"])
def test_without_d_every_other_picture_is_made_and_one_line_says_why(lost, train, call, tmp_path):
    """Without its file, or with one that does not fit; or without last.pt."""
    train(tmp_path, "--epochs", 6, "--hidden-size", 8, "--latent-size", 3)
    (tmp_path / lost).unlink()
    if lost == "D_3.pth":
        torch.save({"another.weight": torch.zeros(3)}, tmp_path / lost)
    (line,) = [line for line in call(TEST, "--run", tmp_path).splitlines() if "no page" in line]
    assert ("another.weight" if lost == "D_3.pth" else lost) in line
    made = contents(tmp_path).keys()
    assert {GRID, GIF, WALK, "G_mean.pth"} < made
    assert (PAGE in made, CURVES in made) == (False, lost != "last.pt")
    frames, _ = frames_in(tmp_path / GIF)
    assert {frame.shape for frame in frames} == {(64 + 584, 584)}


def test_curves_are_the_historys_columns_and_the_equilibrium_is_dotted():
    """Each with its name, in its color, at its end, and none on another."""
    losses, scores = pictures.draw_curves([[*row, 99] for row in HISTORY]).axes  # 99: a learner's
    epochs, d_loss, g_loss, d_x, d_g_z = zip(*HISTORY, strict=True)
    log_2, half = (math.log(2), math.log(2)), (0.5, 0.5)
    expected = {
        losses: {"d_loss": (d_loss, "d_loss"), "g_loss": (g_loss, "g_loss")},
        scores: {"D(x)": (d_x, "real"), "D(G(z))": (d_g_z, "fake"), "0.5": (half, None)},
    }
    expected[losses] |= {"2 log 2": (tuple(2 * x for x in log_2), "d_loss")}
    expected[losses] |= {"log 2": (log_2, "g_loss")}
    for axes, wanted in expected.items():
        found = {tuple(line.get_ydata()): line for line in axes.lines}
        texts = {text.get_text(): text for text in axes.texts}
        assert (texts.keys(), len(found)) == (wanted.keys(), len(wanted))
        for name, (heights, thing) in wanted.items():
            line = found[heights]
            dotted = name in ["2 log 2", "log 2", "0.5"]
            assert line.get_linestyle() == (":" if dotted else "-")
            assert dotted or (*line.get_xdata(),) == epochs
            assert line.get_color() == texts[name].get_color()
            assert thing is None or line.get_color() == COLORS[thing]
        in_order = sorted(texts, key=lambda name: texts[name].xy[1])
        assert in_order == sorted(wanted, key=lambda name: wanted[name][0][-1])
        apart = np.diff([texts[name].xy[1] for name in in_order]) / np.ptp(axes.get_ylim())
        assert apart.min() > 0.05
    assert scores.get_ylim() == (0, 1)
    one_epoch = pictures.draw_curves(HISTORY[:1]).axes[0].lines[0]
    assert one_epoch.get_marker() == "o"  # a line through one point would not be seen


def test_curves_show_a_loss_below_0_and_scores_that_are_no_probabilities():
    losses, scores = pictures.draw_curves([[1, -3, -1, 2.5, -4], [2, -2, 0, 3, -5]]).axes
    assert losses.get_ylim()[0] <= -3
    assert scores.get_ylim()[0] <= -5
    assert scores.get_ylim()[1] >= 3


@pytest.mark.parametrize("name", ["page/page.css", "MNIST_MLP_GAN_STEPS.svg"])
def test_real_fake_and_gradient_have_the_pictures_colors_elsewhere(name):
    text = (ROOT / "assets" / name).read_text(encoding="utf-8")
    for thing in ["real", "fake", "gradient"]:
        assert re.search(rf"--{thing}: *(#\w+)", text)[1] == COLORS[thing]
