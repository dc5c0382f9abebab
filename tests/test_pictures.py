"""The picture script: which checkpoints it shows, and what is really in the pictures."""

import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, TEST, contents, environment, picture, run, save_generator
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Generator
from MNIST_MLP_GAN_TEST import (
    epoch_range,
    find_checkpoints,
    label,
    load_generator,
    load_row,
    spread,
    title,
)

HISTORY = "epoch,d_loss,g_loss,d_x,d_g_z\n1,1.2,0.8,0.6,0.4\n2,1.3,0.7,0.5,0.5\n"


def square():
    """A white 28x28 image with a black square in the middle, in the networks' range."""
    image = -torch.ones(28, 28)
    image[10:18, 10:18] = 1
    return image.flatten()


@pytest.fixture
def folders(tmp_path):
    """A checkpoint folder, an output folder, and the options that name them."""
    checkpoints, outputs = tmp_path / "checkpoints", tmp_path / "outputs"
    checkpoints.mkdir()
    options = ["--checkpoint-dir", checkpoints, "--output-dir", outputs]
    return SimpleNamespace(checkpoints=checkpoints, outputs=outputs, options=options)


# ---- Which checkpoints ----


def test_checkpoints_come_in_order_of_epoch_and_nothing_else_counts(tmp_path):
    for name in ["G_10.pth", "G_9.pth", "G_0.pth", "G_100.pth"]:
        (tmp_path / name).touch()
    for name in ["D_1.pth", "G_.pth", "G_x.pth", "G_3.pth.unfinished", "last.pt"]:
        (tmp_path / name).touch()
    found = find_checkpoints(tmp_path)
    assert list(found) == [0, 9, 10, 100]
    assert found[9] == tmp_path / "G_9.pth"


@pytest.mark.parametrize(
    ("saved", "rows"),
    [
        (range(201), [0, 50, 100, 150, 200]),
        (range(0, 201, 50), [0, 50, 100, 150, 200]),
        (range(3), [0, 1, 2]),
        ([7], [7]),
        (range(10, 19), [10, 12, 14, 16, 18]),
    ],
)
def test_rows_are_spread_from_first_to_last(saved, rows):
    assert spread(list(saved), 5) == rows


@pytest.mark.parametrize(("hidden", "latent"), [(256, 100), (8, 3)])
def test_layer_sizes_come_from_the_weights(tmp_path, hidden, latent):
    save_generator(tmp_path, 0, hidden_size=hidden, latent_size=latent)
    G = load_generator(tmp_path / "G_0.pth", "cpu")
    assert G(torch.randn(2, latent)).shape == (2, 784)
    assert G.linear2.weight.shape == (hidden, hidden)


# ---- The grid ----


def test_grid_shows_black_ink_on_white_where_the_digit_is(call, folders):
    save_generator(folders.checkpoints, 0, image=-torch.ones(784))
    save_generator(folders.checkpoints, 1, image=square())
    call(TEST, *folders.options)
    page = picture(folders.outputs / "MNIST_MLP_GAN.png")

    # 28 pixels and a line between images, five dots each; the labels stand at the left.
    digits = page[:, -5 * (5 * 29 + 1) :]
    assert digits.shape == (5 * (2 * 29 + 1), 5 * (5 * 29 + 1))
    for column in range(5):
        top, left = 5 * (29 + 1), 5 * (29 * column + 1)  # of the image in the second row
        image = digits[top : top + 140, left : left + 140]
        expected = np.kron(square().view(28, 28).numpy() < 0, np.ones((5, 5))) * 255
        assert np.array_equal(image, expected)
    assert (digits[: 5 * 29] == 255).all()  # the first row is white paper
    labels = page[:, : -5 * (5 * 29 + 1)]
    assert (labels[: 5 * 29] < 128).any()  # but for its label
    assert digits.size > 0.85 * page.size  # the digits fill the page


def test_grid_shows_gray_as_gray(call, folders):
    """Ink is not stretched to the darkest pixel of the page."""
    save_generator(folders.checkpoints, 0, image=torch.zeros(784))
    call(TEST, *folders.options)
    image = picture(folders.outputs / "MNIST_MLP_GAN.png")[5:145, -145:-5]
    assert np.abs(image - 127.5).max() < 2


def test_grid_rows_can_be_chosen(call, folders):
    for epoch in range(8):
        save_generator(folders.checkpoints, epoch, hidden_size=4)
    call(TEST, *folders.options)
    assert picture(folders.outputs / "MNIST_MLP_GAN.png").shape[0] == 5 * (5 * 29 + 1)
    call(TEST, *folders.options, "--epochs", 6, 2)
    assert picture(folders.outputs / "MNIST_MLP_GAN.png").shape[0] == 5 * (2 * 29 + 1)


def test_columns_keep_their_z_unless_asked_otherwise(call, folders):
    save_generator(folders.checkpoints, 0)
    shutil.copy(folders.checkpoints / "G_0.pth", folders.checkpoints / "G_1.pth")

    def rows(*options):
        call(TEST, *folders.options, *options)
        digits = picture(folders.outputs / "MNIST_MLP_GAN.png")[:, -5 * (5 * 29 + 1) :]
        return digits[5 : 5 * 29], digits[5 * 30 : 5 * 58]

    first, second = rows()
    assert np.array_equal(first, second)
    assert not np.array_equal(first[:, 5:145], first[:, 150:290])  # five columns, five z
    assert np.array_equal(first, rows()[0])
    assert not np.array_equal(first, rows("--seed", 1)[0])
    first, second = rows("--fresh-latents")
    assert not np.array_equal(first, second)


# ---- The animation ----


def frames_in(path):
    """The frames of a GIF, as gray arrays, and how many milliseconds each is shown."""
    gif = Image.open(path)
    frames, milliseconds = [], []
    for number in range(gif.n_frames):
        gif.seek(number)
        frames.append(np.array(gif.convert("L")))
        milliseconds.append(gif.info["duration"])
    return frames, milliseconds


def test_animation_of_a_long_run(call, folders):
    """201 epochs: all of the first 20, at most 50 frames, endless, the last one held."""
    G = Generator()
    for epoch in range(201):
        torch.nn.init.normal_(G.linear3.bias, std=2)
        torch.save(G.state_dict(), folders.checkpoints / f"G_{epoch}.pth")
    call(TEST, *folders.options)

    path = folders.outputs / "MNIST_MLP_GAN.gif"
    assert Image.open(path).info["loop"] == 0  # for ever
    frames, milliseconds = frames_in(path)
    assert 45 <= len(frames) <= 50
    assert milliseconds[-1] == 2000
    assert all(100 <= shown_for <= 500 for shown_for in milliseconds[:-1])
    assert path.stat().st_size < 3_000_000  # of nothing but noise
    assert (ROOT / "assets" / path.name).stat().st_size < 2_000_000  # of a real run


def test_animation_shows_the_digits_and_the_epoch(call, folders):
    save_generator(folders.checkpoints, 0, image=-torch.ones(784))
    save_generator(folders.checkpoints, 3, image=square())
    call(TEST, *folders.options)
    (first, last), _ = frames_in(folders.outputs / "MNIST_MLP_GAN.gif")
    width = 3 * (5 * 29 + 1)
    title = first.shape[0] - width
    assert first.shape[1] == width
    assert (first[title:] > 250).all()
    tile = last[title + 3 : title + 3 + 84, 3:87]
    assert np.array_equal(tile < 128, np.kron(square().view(28, 28) > 0, np.ones((3, 3))))
    assert (first[:title] < 128).any()
    assert not np.array_equal(first[:title], last[:title])  # the epoch is written on each


def test_tiles_keep_their_z_unless_asked_otherwise(call, folders):
    save_generator(folders.checkpoints, 0)
    shutil.copy(folders.checkpoints / "G_0.pth", folders.checkpoints / "G_1.pth")

    def frames(*options):
        call(TEST, *folders.options, *options)
        return [f[-438:] for f in frames_in(folders.outputs / "MNIST_MLP_GAN.gif")[0]]

    assert np.array_equal(*frames())
    assert not np.array_equal(*frames("--fresh-latents"))


# ---- The curves, and what can go wrong ----


def test_prints_each_file_it_wrote_and_needs_no_display(folders):
    save_generator(folders.checkpoints, 0)
    (folders.checkpoints / "history.csv").write_text(HISTORY)
    output = run(TEST, *folders.options, env=environment(DISPLAY=None, MPLBACKEND="TkAgg"))
    names = ["MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif", "MNIST_MLP_GAN_CURVES.png"]
    assert output.splitlines() == [str(folders.outputs / name) for name in names]
    curves = np.array(Image.open(folders.outputs / names[2]).convert("RGB")).reshape(-1, 3)
    for color in [(31, 119, 180), (255, 127, 14)]:  # tab:blue and tab:orange
        assert (curves == color).all(axis=1).sum() > 500


@pytest.mark.parametrize("history", [None, HISTORY.splitlines()[0] + "\n"])
def test_without_a_history_the_other_two_are_made(call, folders, history):
    save_generator(folders.checkpoints, 0)
    if history is not None:
        (folders.checkpoints / "history.csv").write_text(history)
    output = call(TEST, *folders.options).splitlines()
    assert len(output) == 3
    assert "No curves" in output[2]
    assert set(contents(folders.outputs)) == {"MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif"}


# ---- The mean of several epochs ----


def test_epochs_are_one_or_a_range():
    assert list(epoch_range("7")) == [7]
    assert list(epoch_range("0-3")) == [0, 1, 2, 3]
    titles = [title(label(epoch_range(text))) for text in ["7", "5-5", "151-200"]]
    assert titles == ["epoch 7", "epoch 5", "epochs 151-200"]


@pytest.mark.parametrize("text", ["", "x", "-1", "3-2", "1-", "1.5"])
def test_what_is_no_epoch_is_refused(call, folders, text):
    save_generator(folders.checkpoints, 1)
    assert "error:" in call(TEST, *folders.options, f"--epochs={text}", fails=True)


def test_row_of_a_range_is_drawn_by_the_mean_generator(call, folders):
    """Biases that are far from zero in two of three epochs: their mean is gray, not black."""
    save_generator(folders.checkpoints, 1, image=-torch.ones(784) * 0.03)
    save_generator(folders.checkpoints, 2, image=torch.zeros(784))
    save_generator(folders.checkpoints, 3, image=torch.ones(784) * 0.12)
    call(TEST, *folders.options, "--epochs", "1-3", 2)
    page = picture(folders.outputs / "MNIST_MLP_GAN.png")
    bias = 10 * (-0.03 + 0 + 0.12) / 3
    expected = 255 * (1 - (math.tanh(bias) + 1) / 2)
    assert np.abs(page[5:145, -145:-5] - expected).max() < 2
    assert np.abs(page[5 * 30 : 5 * 58, -145:-5] - 127.5).max() < 2


def test_mean_is_of_every_weight(folders):
    for epoch in range(4):
        save_generator(folders.checkpoints, epoch, hidden_size=3, latent_size=2)
    checkpoints = find_checkpoints(folders.checkpoints)
    generators = [load_generator(path, "cpu") for path in checkpoints.values()]
    means = load_row([0, 1, 2, 3], checkpoints, "cpu").parameters()
    weights = zip(*(G.parameters() for G in generators), strict=True)
    for mean, ones in zip(means, weights, strict=True):
        torch.testing.assert_close(mean, sum(ones) / 4)
    alone = load_row([2], checkpoints, "cpu").parameters()
    assert all(map(torch.equal, alone, generators[2].parameters()))
