"""What one sees: the pictures of TEST, to the dot, and the samples.png of a training."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from helpers import (
    ROOT,
    TEST,
    contents,
    enlarged,
    margins,
    picture,
    read_generator,
    save_generator,
    tile,
    words_alone,
)
from PIL import Image

import MNIST_MLP_GAN_TEST
from MNIST_MLP_GAN_TEST import (
    add_noun,
    choose_evenly,
    draw_curves,
    draw_grid,
    draw_z,
    find_checkpoints,
    generate,
    load_rows,
    parse_epochs,
    walk,
)

HISTORY = "epoch,d_loss,g_loss,d_x,d_g_z\n9,1.2,0.8,0.6,0.4\n10,1.3,0.7,0.5,0.5\n"
PAPER = -torch.ones(784)  # in the networks' range
MARK = torch.nn.functional.pad(torch.ones(8, 8), (4, 16, 7, 13), value=-1).flatten()
# What a row of the run below shows, by its title; the mean of -1, 1 and 0 is gray
SHOWN = {
    "epoch 9": PAPER,
    "epoch 10": MARK,
    "epoch 11": torch.zeros(784),
    "epochs 9-11": MARK / 2 - 0.5,
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """TEST's folder of pictures of such a run, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    for title, image in [*SHOWN.items()][:3]:
        save_generator(folder, title.split()[1], image=image)
    (folder / "history.csv").write_text(HISTORY)
    options = ["--checkpoint-dir", folder, "--output-dir", folder / "made", "--rows", "9-11", "10"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        MNIST_MLP_GAN_TEST.main([*map(str, options)])
    return folder / "made", printed.getvalue()


def shows(tile, image, levels=1):
    """Whether ``tile`` is ``image``, -1 to 1, in black on white, but for so many gray levels."""
    scale = len(tile) // 28
    return np.abs(tile - 255 * enlarged((1 - np.asarray(image)) / 2, scale)).max() <= levels


def frames_in(path):
    """The frames of a GIF, as gray arrays, and how many milliseconds each is shown."""
    gif = Image.open(path)
    frames, milliseconds = [], []
    for number in range(gif.n_frames):
        gif.seek(number)
        frames.append(np.array(gif.convert("L")))
        milliseconds.append(gif.info["duration"])
    return frames, milliseconds


# ---- Which checkpoints, which rows ----


def test_checkpoints_come_in_order_of_epoch_and_nothing_else_counts(tmp_path):
    for file in ["G_10.pth", "G_9.pth", "G_0.pth", "G_100.pth"]:
        (tmp_path / file).touch()
    for file in ["D_1.pth", "G_.pth", "G_x.pth", "G_1-2.pth", "G_3.pth.unfinished", "last.pt"]:
        (tmp_path / file).touch()
    found = find_checkpoints(tmp_path)
    assert list(found) == [0, 9, 10, 100]
    assert found[9] == tmp_path / "G_9.pth"


def test_rows_are_epochs_or_means_and_by_default_five_from_first_to_last(tmp_path):
    assert [list(parse_epochs(row)) for row in ["7", "5-5", "0-3"]] == [[7], [5], [0, 1, 2, 3]]
    assert [add_noun(row) for row in ["7", "151-200"]] == ["epoch 7", "epochs 151-200"]
    assert choose_evenly(range(201), 5) == [0, 50, 100, 150, 200]
    assert choose_evenly([7, 8, 10], 5) == [7, 8, 10]
    for epoch in range(10, 19):
        save_generator(tmp_path, epoch, hidden_size=1)
    rows = load_rows(None, find_checkpoints(tmp_path))
    assert list(rows) == ["10", "12", "14", "16", "18"]


def test_mean_is_of_every_weight_and_of_one_itself(tmp_path):
    for epoch in range(4):
        save_generator(tmp_path, epoch, hidden_size=3, latent_size=2)
    rows = load_rows(["0-3", "0", "1", "2", "3"], find_checkpoints(tmp_path))
    mean, *ones = (list(G.parameters()) for G in rows.values())
    for weight, *weights in zip(mean, *ones, strict=True):
        torch.testing.assert_close(weight, sum(weights) / 4)
    saved = torch.load(tmp_path / "G_2.pth", weights_only=True).values()
    assert all(map(torch.equal, ones[2], saved))


# ---- The command's files ----


def test_each_file_is_printed_when_it_is_made(drawn):
    outputs, printed = drawn
    names = [f"MNIST_MLP_GAN{end}" for end in [".png", ".gif", "_WALK.png", ".html"]]
    names += ["G_9-11.pth", "MNIST_MLP_GAN_CURVES.png"]
    assert printed.splitlines() == [str(outputs / name) for name in names]
    assert set(contents(outputs)) == set(names)


def test_grid_shows_each_row_beside_its_label(drawn):
    page = picture(drawn[0] / "MNIST_MLP_GAN.png")
    top, left = margins(page, scale=5)
    assert (top, left) == (0, 80)
    assert page.shape == (5 * (2 * 29 + 1), 80 + 5 * (5 * 29 + 1))
    for column in range(5):
        assert shows(tile(page, 0, column, scale=5), SHOWN["epochs 9-11"], 2)
        assert shows(tile(page, 1, column, scale=5), SHOWN["epoch 10"])
    labels = {(40, 5 * 15): "epochs\n9-11", (40, 5 * 44): "epoch\n10"}  # at the rows' middles
    assert np.array_equal(page[:, :80], words_alone(page, 18, labels)[:, :80])


def test_long_label_fits_beside_its_tiles():
    for row in ["7", "181-200", "1001-2000"]:
        page = np.array(draw_grid({row: torch.ones(5, 784)}).convert("L"))
        _, left = margins(page, scale=5)
        inked = np.flatnonzero((page[:, :left] < 200).any(axis=0))
        assert inked.min() >= 3
        assert inked.max() <= left - 3


def test_animation_shows_each_epoch_then_the_mean_under_its_title(drawn):
    frames, _ = frames_in(drawn[0] / "MNIST_MLP_GAN.gif")
    for frame, (title, image) in zip(frames, SHOWN.items(), strict=True):
        top, left = margins(frame, scale=3)
        assert (top, left) == (36, 0)
        for place in [(0, 0), (4, 4)]:
            assert shows(tile(frame, *place, scale=3), image, 9)  # of 16 grays
        words = words_alone(frame, 20, {(frame.shape[1] / 2, 18): title})
        assert np.array_equal(frame[:top], words[:top])


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
    assert (ROOT / "assets" / path.name).stat().st_size < 2_000_000  # of a real run


def test_mean_is_saved(drawn):
    G = read_generator(drawn[0] / "G_9-11.pth")
    assert shows(255 * (1 - generate(G, torch.randn(1, 100)).reshape(28, 28)), SHOWN["epochs 9-11"])


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
        images = generate(G, z) * 2 - 1
        for i in range(25):
            assert shows(tile(frame, i // 5, i % 5, scale=3), images[i], 9)
        # A line of the walk goes from a tile of the first row to the one below it.
        middles = generate(G, (z[:5] + z[5:10]) / math.sqrt(2)) * 2 - 1
        for i in range(5):
            assert shows(tile(page, 0, i, scale=5), images[i])
            assert shows(tile(steps, i, 0, scale=3), images[i])
            assert shows(tile(steps, i, 4, scale=3), middles[i])
            assert shows(tile(steps, i, 8, scale=3), images[i + 5])


def test_walk_is_an_arc():
    """Of equal steps: from two vectors of length 1 at a right angle, all are of length 1."""
    a, b = torch.eye(7)[:2]
    steps = walk(a, b, 9)
    torch.testing.assert_close(steps[[0, 4, 8]], torch.stack([a, (a + b) / math.sqrt(2), b]))
    torch.testing.assert_close(steps.norm(dim=1), torch.ones(9))
    cosines = (steps[:-1] * steps[1:]).sum(dim=1)
    torch.testing.assert_close(cosines, torch.full((8,), math.cos(math.pi / 16)))


def test_samples_of_a_training_are_those_that_test_will_draw(train, tmp_path):
    train(tmp_path, "--latent-size", 7)
    G = load_rows(["2"], find_checkpoints(tmp_path))["2"]
    images = generate(G, draw_z(G, 25, seed=0)) * 2 - 1
    page = picture(tmp_path / "samples.png")
    assert page.shape == (4 * (5 * 29 + 1), 4 * (5 * 29 + 1))
    for i in range(25):
        place = tile(page, i // 5, i % 5, scale=4)
        assert shows(place, images[i])
        place[:] = 255
    assert (page == 255).all()  # white between them


# ---- The curves ----


def read_history(text):
    return np.genfromtxt(io.StringIO(text), delimiter=",", names=True)


def test_curves_are_the_historys_columns_and_the_equilibrium_is_dotted():
    figure = draw_curves(read_history(HISTORY))
    d, g, ln_2 = "tab:blue", "tab:orange", math.log(2)
    for axes, ylabel, expected in zip(
        figure.axes,
        ["loss", "D's mean score"],
        [
            [
                ("d_loss", [1.2, 1.3], d, "-"),
                ("g_loss", [0.8, 0.7], g, "-"),
                ("d_loss at equilibrium: 2 ln 2", [2 * ln_2] * 2, d, ":"),
                ("g_loss at equilibrium: ln 2", [ln_2] * 2, g, ":"),
            ],
            [
                ("D(x)", [0.6, 0.5], d, "-"),
                ("D(G(z))", [0.4, 0.5], g, "-"),
                ("both at equilibrium: 0.5", [0.5] * 2, "gray", ":"),
            ],
        ],
        strict=True,
    ):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", ylabel)
        legend = axes.get_legend()
        for line, handle, text, (label, heights, color, style) in zip(
            axes.lines, legend.legend_handles, legend.get_texts(), expected, strict=True
        ):
            assert line.get_ydata() == pytest.approx(heights)
            assert line.get_xdata() == pytest.approx([0, 1] if style == ":" else [9, 10])
            assert (line.get_linestyle(), text.get_text()) == (style, label)
            assert line.get_color() == handle.get_color() == color
    assert figure.axes[0].get_ylim()[0] == 0
    assert figure.axes[1].get_ylim() == (0, 1)
    one_epoch = draw_curves(read_history(HISTORY)[:1]).axes[0].lines[0]
    assert one_epoch.get_marker() == "o"  # a line through one point would not be seen


def test_curves_are_of_the_runs_own_history(drawn, tmp_path):
    draw_curves(read_history(HISTORY)).savefig(tmp_path / "curves.png")
    assert np.array_equal(
        picture(drawn[0] / "MNIST_MLP_GAN_CURVES.png", "RGB"),
        picture(tmp_path / "curves.png", "RGB"),
    )


def test_without_a_history_the_other_pictures_are_made(call, folders):
    save_generator(folders.checkpoints, 0)
    path = folders.checkpoints / "history.csv"
    for text in [
        None,
        "",
        "epoch,loss\n1,2\n",
        HISTORY + "3,1,1,1,1,1\n",
        "# Notes\n\nso\nfar so\n",
    ]:
        if text is not None:
            path.write_text(text)
        *made, line = call(TEST, *folders.options).splitlines()
        assert line.startswith(f"No curves, because {path} cannot be read (")
        assert sorted(made) == sorted(map(str, folders.outputs.iterdir()))
        assert len(made) == 4
