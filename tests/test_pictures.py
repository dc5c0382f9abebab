"""What one sees: the pictures of TEST, to the dot, and the samples.png of a training."""

import io
import math

import numpy as np
import pytest
import torch
from helpers import HISTORY, SHOWN, TEST, frames_in, picture, save_generator, shows, words_alone
from PIL import Image

import MNIST_MLP_GAN_TEST as pictures
from MNIST_MLP_GAN_TEST import draw_z, find_checkpoints, generate, load_generator, load_rows


def test_checkpoints_come_in_order_of_epoch_and_nothing_else_counts(tmp_path):
    others = ["D_1.pth", "G_.pth", "G_x.pth", "G_1-2.pth", "G_3.pth.unfinished", "last.pt"]
    for file in ["G_10.pth", "G_9.pth", "G_0.pth", "G_100.pth", *others]:
        (tmp_path / file).touch()
    found = find_checkpoints(tmp_path)
    assert list(found) == [0, 9, 10, 100]
    assert found[9] == tmp_path / "G_9.pth"


def test_rows_are_epochs_or_means_and_by_default_five_from_first_to_last(tmp_path):
    epochs = [[*pictures.parse_epochs(row)] for row in ["7", "5-5", "0-3"]]
    assert epochs == [[7], [5], [0, 1, 2, 3]]
    assert pictures.choose_evenly(range(201), 5) == [0, 50, 100, 150, 200]
    assert pictures.choose_evenly([7, 8, 10], 5) == [7, 8, 10]
    for epoch in range(10, 19):
        save_generator(tmp_path, epoch, hidden_size=1)
    assert [*load_rows(None, find_checkpoints(tmp_path))] == ["10", "12", "14", "16", "18"]


def test_mean_is_of_every_weight_and_of_one_itself(tmp_path):
    for epoch in range(4):
        save_generator(tmp_path, epoch, hidden_size=3, latent_size=2)
    rows = load_rows(["0-3", "0", "1", "2", "3"], find_checkpoints(tmp_path))
    mean, *ones = (list(G.parameters()) for G in rows.values())
    for weight, *weights in zip(mean, *ones, strict=True):
        torch.testing.assert_close(weight, sum(weights) / 4)
    saved = torch.load(tmp_path / "G_2.pth", weights_only=True).values()
    assert all(map(torch.equal, ones[2], saved))


def test_each_file_is_printed_and_is_what_its_name_says(drawn, tmp_path):
    outputs = drawn.outputs
    names = [f"MNIST_MLP_GAN{end}" for end in [".png", ".gif", "_WALK.png", ".html"]]
    names += ["G_9-11.pth", "MNIST_MLP_GAN_CURVES.png"]
    assert drawn.printed.splitlines() == [str(outputs / name) for name in names]
    assert {path.name for path in outputs.iterdir()} == set(names)
    image = generate(load_generator(outputs / "G_9-11.pth"), torch.randn(1, 100))
    torch.testing.assert_close(image[0], SHOWN["epochs 9-11"])
    history = np.genfromtxt(io.StringIO(HISTORY), delimiter=",", names=True)
    pictures.draw_curves(history).savefig(tmp_path / "curves.png")
    curves = [picture(path, "RGB") for path in [outputs / names[-1], tmp_path / "curves.png"]]
    assert np.array_equal(*curves)


def test_grid_shows_each_row_beside_its_label(drawn):
    page = picture(drawn.outputs / "MNIST_MLP_GAN.png")
    assert page.shape == (5 * (2 * 29 + 1), 80 + 5 * (5 * 29 + 1))
    for column in range(5):
        assert shows(page, 0, column, SHOWN["epochs 9-11"], levels=2, scale=5)
        assert shows(page, 1, column, SHOWN["epoch 10"], scale=5)
    labels = {(40, 5 * 15): "epochs\n9-11", (40, 5 * 44): "epoch\n10"}  # at the rows' middles
    assert np.array_equal(page[:, :80], words_alone(page, 18, labels)[:, :80])


def test_long_label_fits_beside_its_tiles():
    for row in ["7", "181-200", "1001-2000"]:
        page = np.array(pictures.draw_grid({row: torch.ones(5, 784)}).convert("L"))
        left = page.shape[1] - 5 * (5 * 29 + 1)
        assert (page[:, :3] == 255).all()
        assert (page[:, left - 3 : left] == 255).all()


def test_animation_shows_each_epoch_then_the_mean_under_its_title(drawn):
    frames, _ = frames_in(drawn.outputs / "MNIST_MLP_GAN.gif")
    for frame, (title, image) in zip(frames, SHOWN.items(), strict=True):
        assert frame.shape == (36 + 3 * (5 * 29 + 1), 3 * (5 * 29 + 1))
        for place in [(0, 0), (4, 4)]:
            assert shows(frame, *place, image, levels=9, scale=3)  # of 16 grays
        words = words_alone(frame, 20, {(frame.shape[1] / 2, 18): title})
        assert np.array_equal(frame[:36], words[:36])


def test_animation_of_a_long_run(call, folders):
    """201 epochs: all of the first 20, at most 50 frames, endless, the last one held."""
    for epoch in range(201):
        image = torch.rand(784) / 5 - 0.1
        save_generator(folders.checkpoints, epoch, image=image, hidden_size=1)
    call(TEST, *folders.options)
    path = folders.outputs / "MNIST_MLP_GAN.gif"
    assert Image.open(path).info["loop"] == 0  # for ever
    frames, milliseconds = frames_in(path)
    assert 45 <= len(frames) <= 50
    for number, epoch in [(0, 0), (19, 19), (-1, 200)]:
        words = words_alone(frames[0], 20, {(frames[0].shape[1] / 2, 18): f"epoch {epoch}"})
        assert np.array_equal(frames[number][:36], words[:36])
    assert milliseconds[-1] == 2000
    assert all(100 <= shown_for <= 500 for shown_for in milliseconds[:-1])
    assert path.stat().st_size < 3_000_000  # of nothing but noise


def test_each_place_keeps_its_z_in_all_pictures(call, folders):
    save_generator(folders.checkpoints, 0, hidden_size=32, latent_size=7)  # of any size
    G = load_rows(["0"], find_checkpoints(folders.checkpoints))["0"]
    for options, seed in [([], 0), (["--seed", 1], 1)]:
        call(TEST, *folders.options, *options)
        page = picture(folders.outputs / "MNIST_MLP_GAN.png")
        (frame,), _ = frames_in(folders.outputs / "MNIST_MLP_GAN.gif")
        steps = picture(folders.outputs / "MNIST_MLP_GAN_WALK.png")
        assert steps.shape == (3 * (5 * 29 + 1), 3 * (9 * 29 + 1))
        z = draw_z(G, 25, seed)
        images = generate(G, z)
        for i in range(25):
            assert shows(frame, i // 5, i % 5, images[i], levels=9, scale=3)
        # A line of the walk goes from a tile of the first row to the one below it.
        middles = generate(G, (z[:5] + z[5:10]) / math.sqrt(2))
        for i in range(5):
            assert shows(page, 0, i, images[i], scale=5)
            assert shows(steps, i, 0, images[i], scale=3)
            assert shows(steps, i, 4, middles[i], scale=3)
            assert shows(steps, i, 8, images[i + 5], scale=3)


def test_walk_is_an_arc():
    """Of equal steps: from two vectors of length 1 at a right angle, all are of length 1."""
    a, b = torch.eye(7)[:2]
    steps = pictures.walk(a, b, 9)
    torch.testing.assert_close(steps[[0, 4, 8]], torch.stack([a, (a + b) / math.sqrt(2), b]))
    torch.testing.assert_close(steps.norm(dim=1), torch.ones(9))
    cosines = (steps[:-1] * steps[1:]).sum(dim=1)
    torch.testing.assert_close(cosines, torch.full((8,), math.cos(math.pi / 16)))


def test_samples_of_a_training_are_those_that_test_will_draw(train, tmp_path):
    train(tmp_path, "--latent-size", 7)
    G = load_rows(["2"], find_checkpoints(tmp_path))["2"]
    images = generate(G, draw_z(G, 25, seed=0))
    page = picture(tmp_path / "samples.png")
    assert page.shape == (4 * (5 * 29 + 1), 4 * (5 * 29 + 1))
    for i in range(25):
        assert shows(page, i // 5, i % 5, images[i], scale=4)
    assert (page[:4] == 255).all()  # white around them


def test_curves_are_the_historys_columns_and_the_equilibrium_is_dotted():
    history = np.genfromtxt(io.StringIO(HISTORY), delimiter=",", names=True)
    losses, scores = pictures.draw_curves(history).axes
    ln_2 = math.log(2)
    for axes, place, label, heights, look in [
        (losses, 0, "d_loss", [1.2, 1.3], ("-", "tab:blue")),
        (losses, 1, "g_loss", [0.8, 0.7], ("-", "tab:orange")),
        (losses, 2, "d_loss at equilibrium: 2 ln 2", [2 * ln_2] * 2, (":", "tab:blue")),
        (losses, 3, "g_loss at equilibrium: ln 2", [ln_2] * 2, (":", "tab:orange")),
        (scores, 0, "D(x)", [0.6, 0.5], ("-", "tab:blue")),
        (scores, 1, "D(G(z))", [0.4, 0.5], ("-", "tab:orange")),
        (scores, 2, "both at equilibrium: 0.5", [0.5] * 2, (":", "gray")),
    ]:
        line, legend = axes.lines[place], axes.get_legend()
        assert line.get_ydata() == pytest.approx(heights)
        assert line.get_xdata() == pytest.approx([0, 1] if ":" in look else [9, 10])
        assert legend.get_texts()[place].get_text() == label
        for shown in [line, legend.legend_handles[place]]:
            assert (shown.get_linestyle(), shown.get_color()) == look
    assert [len(axes.lines) for axes in (losses, scores)] == [4, 3]
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "loss")
    assert (scores.get_xlabel(), scores.get_ylabel()) == ("epoch", "D's mean score")
    assert (losses.get_ylim()[0], scores.get_ylim()) == (0, (0, 1))
    one_epoch = pictures.draw_curves(history[:1]).axes[0].lines[0]
    assert one_epoch.get_marker() == "o"  # a line through one point would not be seen


def test_without_a_history_the_other_pictures_are_made(call, folders):
    save_generator(folders.checkpoints, 0)
    (folders.checkpoints / "history.csv").unlink()
    line = call(TEST, *folders.options, fails=True)
    assert line == f"error: {folders.checkpoints / 'history.csv'} not found."
    assert len([*folders.outputs.iterdir()]) == 4
