"""The picture script: which checkpoints it shows, and what is really in the pictures."""

import math
import shutil

import numpy as np
import pytest
import torch
from helpers import (
    ROOT,
    TEST,
    contents,
    enlarged,
    environment,
    margins,
    picture,
    read_generator,
    run,
    save_generator,
    tile,
)
from PIL import Image

from MNIST_MLP_GAN_NETWORK import Generator
from MNIST_MLP_GAN_TEST import (
    draw_grid,
    find_checkpoints,
    load_generator,
    load_row,
    parse_row,
    spread,
    title,
)

HISTORY = "epoch,d_loss,g_loss,d_x,d_g_z\n1,1.2,0.8,0.6,0.4\n2,1.3,0.7,0.5,0.5\n"
WHITE = -torch.ones(784)  # paper, in the networks' range
SQUARE = torch.nn.functional.pad(torch.ones(8, 8), (10, 10, 10, 10), value=-1).flatten()


def frames_in(path):
    """The frames of a GIF, as gray arrays, and how many milliseconds each is shown."""
    gif = Image.open(path)
    frames, milliseconds = [], []
    for number in range(gif.n_frames):
        gif.seek(number)
        frames.append(np.array(gif.convert("L")))
        milliseconds.append(gif.info["duration"])
    return frames, milliseconds


def is_like(frame, image):
    """Whether a frame's tile, in 16 grays, shows the gray ``image``."""
    return np.abs(frame.astype(int) - image).max() < 10


# ---- Which checkpoints ----


def test_checkpoints_come_in_order_of_epoch_and_nothing_else_counts(tmp_path):
    for file in ["G_10.pth", "G_9.pth", "G_0.pth", "G_100.pth"]:
        (tmp_path / file).touch()
    for file in ["D_1.pth", "G_.pth", "G_x.pth", "G_1-2.pth", "G_3.pth.unfinished", "last.pt"]:
        (tmp_path / file).touch()
    found = find_checkpoints(tmp_path)
    assert list(found) == [0, 9, 10, 100]
    assert found[9] == tmp_path / "G_9.pth"


def test_rows_are_spread_from_first_to_last():
    assert spread(list(range(201)), 5) == [0, 50, 100, 150, 200]
    assert spread([7, 8, 10], 5) == [7, 8, 10]
    assert spread(list(range(10, 19)), 5) == [10, 12, 14, 16, 18]


def test_rows_are_an_epoch_or_a_range():
    assert [list(parse_row(text)) for text in ["7", "0-3"]] == [[7], [0, 1, 2, 3]]
    rows = [parse_row(text) for text in ["7", "5-5", "151-200"]]
    assert [title(row) for row in rows] == ["epoch 7", "epoch 5", "epochs 151-200"]


# ---- The grid ----


def test_grid_shows_ink_on_paper_where_the_digit_is_and_gray_as_gray(call, folders):
    for epoch, image in enumerate([WHITE, SQUARE, torch.zeros(784)]):
        save_generator(folders.checkpoints, epoch, image=image)
    call(TEST, *folders.options)
    page = picture(folders.outputs / "MNIST_MLP_GAN.png")
    for column in range(5):
        assert (tile(page, 0, column, scale=5) == 255).all()
        assert np.array_equal(tile(page, 1, column, scale=5), enlarged(SQUARE < 0, 5) * 255)
        assert np.abs(tile(page, 2, column, scale=5) - 127.5).max() < 2
    assert tile(page, 3, 0, scale=5).size == 0
    top, left = margins(page, scale=5)
    assert top == 0
    assert left < 0.15 * page.shape[1]  # the digits fill the page

    call(TEST, *folders.options, "--rows", 2, 1)
    chosen = picture(folders.outputs / "MNIST_MLP_GAN.png")
    assert np.array_equal(tile(chosen, 0, 0, scale=5), tile(page, 2, 0, scale=5))
    assert np.array_equal(tile(chosen, 1, 0, scale=5), tile(page, 1, 0, scale=5))
    assert tile(chosen, 2, 0, scale=5).size == 0


@pytest.mark.parametrize("row", ["7", "181-200", "1001-2000"])
def test_label_of_a_row_fits_beside_its_tiles(row):
    page = np.array(draw_grid({parse_row(row): torch.ones(5, 784)}).convert("L"))
    _, left = margins(page, scale=5)
    inked = np.flatnonzero((page[:, :left] < 200).any(axis=0))
    assert inked.min() >= 3
    assert inked.max() <= left - 3
    assert inked.size > 20


def test_columns_and_tiles_keep_their_z_in_all_pictures(call, folders):
    save_generator(folders.checkpoints, 0, hidden_size=32, latent_size=7)  # of any size
    shutil.copy(folders.checkpoints / "G_0.pth", folders.checkpoints / "G_1.pth")

    def draw(*options):
        call(TEST, *folders.options, *options)
        page = picture(folders.outputs / "MNIST_MLP_GAN.png")
        return [[tile(page, row, column, scale=5) for column in range(5)] for row in range(2)]

    first, second = draw()
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])  # five columns, five z
    assert np.array_equal(first, draw()[0])
    frames, _ = frames_in(folders.outputs / "MNIST_MLP_GAN.gif")
    walk = picture(folders.outputs / "MNIST_MLP_GAN_WALK.png")
    for column in range(5):
        digit, below = ([tile(frame, row, column, scale=3) for frame in frames] for row in range(2))
        assert np.array_equal(*digit)
        assert is_like(digit[0], first[column][::5, ::5].repeat(3, 0).repeat(3, 1))
        # The walk goes from a digit of the first line to the one below it.
        assert is_like(digit[0], tile(walk, column, 0, scale=3))
        assert is_like(below[0], tile(walk, column, 8, scale=3))
        assert not is_like(below[0], digit[0])
    assert not np.array_equal(first, draw("--seed", 1)[0])


# ---- The animation ----


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
    save_generator(folders.checkpoints, 0, image=WHITE)
    save_generator(folders.checkpoints, 3, image=SQUARE)
    call(TEST, *folders.options)
    (first, last), _ = frames_in(folders.outputs / "MNIST_MLP_GAN.gif")
    top, left = margins(last, scale=3)
    assert left == 0
    assert (first[top:] > 250).all()
    for place in [(0, 0), (4, 4)]:
        assert np.array_equal(tile(last, *place, scale=3) < 128, enlarged(SQUARE > 0, 3))
    assert (first[:top] < 128).any()
    assert not np.array_equal(first[:top], last[:top])  # the epoch is written on each


# ---- The mean of several epochs ----


def test_mean_of_epochs_is_drawn_saved_and_ends_the_animation(call, folders):
    """Biases that are far from zero in two of three epochs: their mean is gray, not black."""
    for epoch, shade in [(1, -0.03), (2, 0), (3, 0.12)]:
        save_generator(folders.checkpoints, epoch, image=torch.full((784,), shade))
    call(TEST, *folders.options, "--rows", "1-3", 2)
    expected = 255 * (1 - (math.tanh(10 * (-0.03 + 0 + 0.12) / 3) + 1) / 2)
    page = picture(folders.outputs / "MNIST_MLP_GAN.png")
    assert np.abs(tile(page, 0, 4, scale=5) - expected).max() < 2
    assert np.abs(tile(page, 1, 4, scale=5) - 127.5).max() < 2
    frames, _ = frames_in(folders.outputs / "MNIST_MLP_GAN.gif")
    assert len(frames) == 4
    assert np.abs(tile(frames[-1], 0, 4, scale=3) - expected).max() < 10  # of 16 grays
    assert [p.name for p in folders.outputs.glob("*.pth")] == ["G_1-3.pth"]
    shade = read_generator(folders.outputs / "G_1-3.pth")(torch.randn(1, 100)).mean().item()
    assert 255 * (1 - (shade + 1) / 2) == pytest.approx(expected)


def test_mean_is_of_every_weight(folders):
    for epoch in range(4):
        save_generator(folders.checkpoints, epoch, hidden_size=3, latent_size=2)
    checkpoints = find_checkpoints(folders.checkpoints)
    generators = [load_generator(path) for path in checkpoints.values()]
    means = load_row(parse_row("0-3"), checkpoints).parameters()
    weights = zip(*(G.parameters() for G in generators), strict=True)
    for mean, ones in zip(means, weights, strict=True):
        torch.testing.assert_close(mean, sum(ones) / 4)


# ---- The curves ----


def test_prints_each_file_it_wrote_and_needs_no_display(folders):
    save_generator(folders.checkpoints, 0)
    (folders.checkpoints / "history.csv").write_text(HISTORY)
    output = run(TEST, *folders.options, env=environment(DISPLAY=None, MPLBACKEND="TkAgg"))
    assert sorted(output.splitlines()) == sorted(map(str, folders.outputs.iterdir()))
    curves = picture(folders.outputs / "MNIST_MLP_GAN_CURVES.png", "RGB").reshape(-1, 3)
    for color in [(31, 119, 180), (255, 127, 14)]:  # tab:blue and tab:orange
        assert (curves == color).all(axis=1).sum() > 500


HISTORIES = {
    "missing": None,
    "empty": "",
    "other columns": "epoch,loss\n1,2\n",
    "overlong row": HISTORY + "3,1,1,1,1,1\n",
    "text": "# Notes\n\nit learns well\nso far\n",
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_without_a_history_the_other_pictures_are_made(call, folders, history):
    save_generator(folders.checkpoints, 0)
    if history is not None:
        (folders.checkpoints / "history.csv").write_text(history)
    *made, line = call(TEST, *folders.options).splitlines()
    assert line.startswith("No curves, because ")
    assert "history.csv" in line
    assert sorted(made) == sorted(map(str, folders.outputs.iterdir()))
    assert {"MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif"} < set(contents(folders.outputs))
