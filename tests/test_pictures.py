"""What one sees: the pictures of TEST, to the dot, and the samples.png of a training."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from helpers import (
    HISTORY,
    NETWORK,
    SHOWN,
    TEST,
    TRAIN,
    contents,
    frames_in,
    largest_file,
    picture,
    save_generator,
    save_last,
    shows,
    words_alone,
)
from PIL import Image

import MNIST_MLP_GAN_TEST as pictures
from MNIST_MLP_GAN_NETWORK import generate, sample_z
from MNIST_MLP_GAN_TEST import choose_rows, load_generator


def stops_of(page):
    """The stops of a page's slider: (first epoch, last epoch, number of networks)."""
    text = page.read_text(encoding="utf-8")
    run = json.loads(re.search(r"<script>const run = (.*);</script>", text)[1])
    return [(stop["first"], stop["last"], stop["count"]) for stop in run["rows"]]


def test_checkpoints_come_in_order_of_epoch_and_nothing_else_counts(tmp_path):
    others = ["D_1.pth", "G_.pth", "G_x.pth", "G_1-2.pth", "G_3.pth.tmp"]
    for file in ["G_10.pth", "G_9.pth", "G_0.pth", "G_100.pth", "last.pt", *others]:
        (tmp_path / file).touch()
    found = pictures.find_checkpoints(tmp_path)
    assert [*found.items()] == [(n, tmp_path / f"G_{n}.pth") for n in [0, 9, 10, 100]]


def test_rows_by_default_are_early_epochs_the_last_and_the_mean_of_the_last_third():
    assert choose_rows([*range(41)]) == ["0", "1", "6", "40", "27-40"]
    assert choose_rows([*range(201)]) == ["0", "1", "14", "200", "134-200"]
    assert choose_rows([7, 8, 10, 11, 12, 13]) == ["7", "8", "10", "13", "12-13"]
    assert choose_rows([*range(5)]) == [*"01234"]


def test_default_rows_are_drawn_and_the_page_has_more(call, folders):
    for epoch in range(10):
        save_generator(folders.checkpoints, epoch, image=torch.rand(784))
    call(TEST, *folders.options)
    rows = ["0", "1", "3", "9", "6-9"]
    found = pictures.find_checkpoints(folders.checkpoints)
    samples = {row: generate(pictures.load_row(row, found), torch.randn(5, 100)) for row in rows}
    pictures.draw_grid(samples).save(folders.outputs / "expected.png")
    grid, expected = (folders.outputs / name for name in ["MNIST_MLP_GAN.png", "expected.png"])
    assert np.array_equal(picture(grid), picture(expected))
    page = folders.outputs / "MNIST_MLP_GAN.html"
    assert stops_of(page) == [*((n, n, 1) for n in [0, 1, 2, 3, 4, 6, 9]), (6, 9, 4)]
    (folders.checkpoints / "G_7.pth").unlink()
    call(TEST, *folders.options, "--rows", "5-9", "8")
    assert stops_of(page) == [*((n, n, 1) for n in [0, 1, 2, 3, 4, 6, 8, 9]), (5, 9, 4)]


def test_mean_is_of_every_weight_and_of_one_itself(tmp_path):
    for epoch in [0, 2, 3, 5]:
        save_generator(tmp_path, epoch, hidden_size=3, latent_size=2)
    found = pictures.find_checkpoints(tmp_path)
    rows = [pictures.load_row(row, found) for row in ["0-5", "0", "2", "3-3", "5"]]
    mean, *ones = (list(G.parameters()) for G in rows)
    for weight, *weights in zip(mean, *ones, strict=True):
        torch.testing.assert_close(weight, sum(weights) / 4)
    saved = torch.load(tmp_path / "G_3.pth", weights_only=True).values()
    assert all(map(torch.equal, ones[2], saved))


def test_sizes_come_from_the_run_or_the_first_layer_or_the_caller(tmp_path):
    save_generator(tmp_path / "alone", 1, hidden_size=8, latent_size=3)
    assert load_generator(str(tmp_path / "alone" / "G_1.pth")).latent_size == 3
    assert load_generator(tmp_path / "alone" / "G_1.pth", hidden_size=8, latent_size=3)
    save_generator(tmp_path / "run", 1, hidden_size=8)
    save_last(tmp_path / "run", [], hidden_size=8)
    assert load_generator(tmp_path / "run" / "G_1.pth").linear1.out_features == 8
    D = pictures.load_discriminator(pictures.load_last(tmp_path / "run" / "last.pt"))
    assert (D.linear1.out_features, D.training) == (8, False)


def test_each_file_is_what_its_name_says_and_the_page_is_named(drawn, tmp_path):
    names = [f"MNIST_MLP_GAN{end}" for end in [".png", ".gif", "_WALK.png", ".html", "_CURVES.png"]]
    assert contents(drawn.outputs).keys() == {*names, "G_9-11.pth"}
    assert str(drawn.outputs / "MNIST_MLP_GAN.html") in drawn.printed
    image = generate(load_generator(drawn.outputs / "G_9-11.pth"), torch.randn(1, 100))
    torch.testing.assert_close(image[0], SHOWN["epochs 9-11"])
    pictures.draw_curves(HISTORY).savefig(tmp_path / "curves.png")
    paths = [drawn.outputs / "MNIST_MLP_GAN_CURVES.png", tmp_path / "curves.png"]
    curves, expected = (picture(path, "RGB") for path in paths)
    assert np.array_equal(curves, expected)
    assert curves.shape == (420, 1000, 3)


def test_grid_shows_each_row_beside_its_label(drawn):
    page = picture(drawn.outputs / "MNIST_MLP_GAN.png")
    assert page.shape == (5 * (2 * 29 + 1), 80 + 5 * (5 * 29 + 1))
    for column in range(5):
        assert shows(page, 0, column, SHOWN["epochs 9-11"], levels=2, scale=5)
        assert shows(page, 1, column, SHOWN["epoch 10"], scale=5)
    labels = {(40, 5 * 15): "epochs\n9-11", (40, 5 * 44): "epoch\n10"}  # at the rows' middles
    assert np.array_equal(page[:, :80], words_alone(page, 18, labels)[:, :80])
    steps = picture(drawn.outputs / "MNIST_MLP_GAN_WALK.png")
    assert shows(steps, 0, 0, SHOWN["epoch 10"], scale=3)  # by the last row's G
    for row in ["7", "181-200", "1001-2000"]:  # a long label fits
        page = np.array(pictures.draw_grid({row: torch.ones(5, 784)}).convert("L"))
        left = page.shape[1] - 5 * (5 * 29 + 1)
        assert (page[:, [0, 1, 2, left - 3, left - 2, left - 1]] == 255).all()


def test_animation_shows_each_epoch_then_the_mean_under_its_title(drawn):
    frames, _ = frames_in(drawn.outputs / "MNIST_MLP_GAN.gif")
    for frame, (title, image) in zip(frames, SHOWN.items(), strict=True):
        assert frame.shape == (36 + 3 * (5 * 29 + 1), 3 * (5 * 29 + 1))
        for place in [(0, 0), (4, 4)]:
            assert shows(frame, *place, image, levels=9, scale=3)  # of 16 grays
        words = words_alone(frame, 20, {(frame.shape[1] / 2, 18): title})
        assert np.array_equal(frame[:36], words[:36])


def test_animation_of_a_long_run(call, folders):
    """201 epochs: all of the first 20, about 50 frames, endless, the last one held."""
    save_last(folders.checkpoints, [], hidden_size=1)
    for epoch in range(201):
        image = torch.rand(784) / 5 - 0.1
        save_generator(folders.checkpoints, epoch, image=image, hidden_size=1)
    call(TEST, *folders.options)
    path = folders.outputs / "MNIST_MLP_GAN.gif"
    assert Image.open(path).info["loop"] == 0  # for ever
    frames, milliseconds = frames_in(path)
    assert 45 <= len(frames) <= 51
    for number, title in [(0, "epoch 0"), (19, "epoch 19"), (-2, "epoch 200")]:
        words = words_alone(frames[0], 20, {(frames[0].shape[1] / 2, 18): title})
        assert np.array_equal(frames[number][:36], words[:36])
    assert milliseconds[-1] == 2000
    assert all(100 <= shown_for <= 500 for shown_for in milliseconds[:-1])
    assert path.stat().st_size < 3_000_000  # of nothing but noise


def test_each_place_keeps_its_z_in_all_pictures(train, call, tmp_path):
    train(tmp_path, "--epochs", 1, "--latent-size", 7, "--hidden-size", 32)  # of any size
    G = load_generator(tmp_path / "G_1.pth")
    options = ["--checkpoint-dir", tmp_path, "--output-dir", tmp_path, "--rows", 1]
    for seed, typed in [(1, ["--seed", 1]), (5, [])]:
        call(TEST, *options, *typed)
        page = picture(tmp_path / "MNIST_MLP_GAN.png")
        (_, frame), _ = frames_in(tmp_path / "MNIST_MLP_GAN.gif")
        steps = picture(tmp_path / "MNIST_MLP_GAN_WALK.png")
        assert steps.shape == (3 * (5 * 29 + 1), 3 * (9 * 29 + 1))
        z = sample_z(G, 25, seed)
        images = generate(G, z)
        for i in range(25):
            assert shows(frame, i // 5, i % 5, images[i], levels=9, scale=3)
        # A line of the walk goes from a tile of the first row to the one below it.
        middles = generate(G, (z[:5] + z[5:10]) / math.sqrt(2))
        for i in range(5):
            assert shows(page, 0, i, images[i], scale=5)
            for column, image in [(0, images[i]), (4, middles[i]), (8, images[i + 5])]:
                assert shows(steps, i, column, image, scale=3)
    assert not torch.equal(sample_z(G, 25, 0), sample_z(G, 25, 1))
    # And in the picture that TRAIN saves
    page = picture(tmp_path / "samples.png")
    assert page.shape == (4 * (5 * 29 + 1), 4 * (5 * 29 + 1))
    assert all(shows(page, i // 5, i % 5, images[i], scale=4) for i in range(25))
    assert (page[:4] == 255).all()  # white around them


def test_curves_are_the_historys_columns_and_the_equilibrium_is_dotted():
    losses, scores = pictures.draw_curves(HISTORY).axes
    epochs, d_loss, g_loss, d_x, d_g_z = zip(*HISTORY, strict=True)
    two_log_2, log_2 = "d_loss at equilibrium: 2 log 2", "g_loss at equilibrium: log 2"
    curves = {"d_loss": d_loss, "g_loss": g_loss, "D(x)": d_x, "D(G(z))": d_g_z}
    dotted = {two_log_2: 2 * math.log(2), log_2: math.log(2), "both at equilibrium: 0.5": 0.5}
    lines = {line.get_label(): line for axes in (losses, scores) for line in axes.lines}
    assert lines.keys() == curves.keys() | dotted.keys()
    for label, line in lines.items():
        x, y = (epochs, curves[label]) if label in curves else ([0, 1], [dotted[label]] * 2)
        assert (line.get_xdata(), line.get_ydata()) == (pytest.approx(x), pytest.approx(y))
        assert line.get_linestyle() == ("-" if label in curves else ":")
    assert lines[two_log_2].get_color() == lines["d_loss"].get_color()
    assert (len(losses.lines), len(scores.lines)) == (4, 3)
    assert (losses.get_ylim()[0], scores.get_ylim()) == (0, (0, 1))
    one_epoch = pictures.draw_curves(HISTORY[:1]).axes[0].lines[0]
    assert one_epoch.get_marker() == "o"  # a line through one point would not be seen


def test_curves_show_a_loss_below_0_and_no_number_that_a_learner_added():
    history = [[*row, 99] for row in [[1, -3, -1, 0.5, 0.5], [2, -2, 0, 0.5, 0.5]]]
    losses, scores = pictures.draw_curves(history).axes
    assert losses.get_ylim()[0] < -3
    assert max(max(line.get_ydata()) for axes in (losses, scores) for line in axes.lines) < 2


def test_without_last_or_its_losses_the_other_pictures_are_made(call, folders):
    save_generator(folders.checkpoints, 0)
    save_last(folders.checkpoints, [])  # of an untrained run
    assert "last.pt" not in call(TEST, *folders.options)
    (folders.checkpoints / "last.pt").unlink()
    assert "last.pt" in call(TEST, *folders.options)
    assert {"MNIST_MLP_GAN.html", "MNIST_MLP_GAN.png"} < contents(folders.outputs).keys()
    assert "MNIST_MLP_GAN_CURVES.png" not in contents(folders.outputs)


def test_page_that_cannot_be_made_costs_no_picture(start, edited):
    """A file beside its four does no harm."""
    copy = edited(NETWORK, "nn.Linear(hidden_size, 1)", "nn.Linear(hidden_size, 1)")
    page = copy / "assets" / "page"
    (page / ".DS_Store").write_bytes(b"\xff\xfe")
    start(copy, TRAIN)
    assert "no page" not in start(copy, TEST)
    made = contents(copy / "outputs")
    shutil.rmtree(copy / "outputs")
    page.rename(copy / "elsewhere")
    (line,) = [line for line in start(copy, TEST).splitlines() if "no page" in line]
    assert str(page) in line
    assert contents(copy / "outputs") == {name: made[name] for name in made if "html" not in name}
    (copy / "elsewhere").rename(page)
    network = (copy / NETWORK.name).read_text(encoding="utf-8")
    network = network.replace("self.leaky_relu = nn.LeakyReLU(0.2)", "self.leaky_relu = nn.PReLU()")
    (copy / NETWORK.name).write_text(network, encoding="utf-8")
    assert "no D on the page" in start(copy, TEST)
    assert contents(copy / "outputs").keys() == made.keys()


def test_picture_that_cannot_be_saved_is_named(call, tmp_path):
    for epoch in range(2):
        save_generator(tmp_path, epoch)
    path, options = tmp_path / "G_0.pth", ["--checkpoint-dir", tmp_path, "--output-dir"]
    call(TEST, *options, path, fails=[path])  # a file, not a folder
    for size in [1000, 1_150_000]:  # too small for a picture, and for the mean Generator
        with largest_file(size):
            call(TEST, *options, tmp_path, "--rows", "0-1", fails=[tmp_path])
