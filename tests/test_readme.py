"""The README's programs and commands do what it says, and its GAN is the scripts' GAN."""

import inspect
import re
import runpy
import shlex
import struct

import numpy as np
import pytest
import torch
from helpers import ROOT, TEST, TRAIN, first_bytes, first_images, picture
from PIL import Image

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator

README = (ROOT / "README.md").read_text(encoding="utf-8")


def programs(language):
    """The README's programs in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


GAN, FOLLOW, DIGITS, DRAW, PACK = programs("python")
(TO_DIGITS,) = programs("diff")


def commands(script):
    """The options of each of the README's commands that start ``script``, in order."""
    lines = README.replace("\\\n", " ")
    return [shlex.split(found) for found in re.findall(rf"python {script.name}([^&\n`]*)", lines)]


def run_program(program, folder):
    """Run one of the README's programs as a file in ``folder``; return its variables."""
    path = folder / "program.py"
    path.write_text(program, encoding="utf-8")
    return runpy.run_path(str(path), run_name="__main__")


def code_lines(source):
    """The lines of ``source`` without their indentation, and without blank ones."""
    return [line.strip() for line in source.splitlines() if line.strip()]


def test_the_gan_on_one_screen_has_trains_steps_word_for_word():
    lines = code_lines(GAN)
    assert len([line for line in lines if not line.startswith("#")]) <= 48
    for step in [MNIST_MLP_GAN_TRAIN.train_discriminator, MNIST_MLP_GAN_TRAIN.train_generator]:
        body = inspect.getsource(step).split('"""\n')[1].split("return ")[0]
        # Devices, which one screen does not need
        body = re.sub(r".* = len\(real_images\).*|.* = next\(G.*", "", body)
        body = body.replace("G.latent_size, device=device", "latent_size")
        step_lines = code_lines(body)
        start = lines.index(step_lines[0])
        assert lines[start : start + len(step_lines)] == step_lines


@pytest.fixture
def few_images(tmp_path, monkeypatch):
    """A folder with 310 images of each set, unpacked as torchvision leaves them."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for subset in ["train", "t10k"]:
        for kind, header in [("images", (2051, 310, 28, 28)), ("labels", (2049, 310))]:
            path = raw / f"{subset}-{kind}-idx{len(header) - 1}-ubyte"
            content = struct.pack(f">{len(header)}i", *header) + first_bytes(subset, kind, 310)
            path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("batch", [16, 100])
def test_the_gan_on_one_screen_runs_and_has_networks_layers(batch, few_images, capsys):
    made = run_program(GAN.replace("split(100)", f"split({batch})"), few_images)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == list("12345")
    assert {path.name for path in few_images.glob("*.png")} == {f"gan_{n}.png" for n in range(1, 6)}

    x, z = torch.rand(5, 784) * 2 - 1, torch.randn(5, 100)
    for ours, network, inputs in [(made["D"], Discriminator(), x), (made["G"], Generator(), z)]:
        weights = dict(zip(network.state_dict(), ours.state_dict().values(), strict=True))
        network.load_state_dict(weights)
        torch.testing.assert_close(ours(inputs), network(inputs))
    defaults = MNIST_MLP_GAN_TRAIN.parse_arguments([])
    for name in ["d_optimizer", "g_optimizer"]:
        group = made[name].param_groups[0]
        assert (group["lr"], group["betas"]) == (defaults.lr, (defaults.beta1, 0.999))


def test_the_changes_make_the_program_that_draws_the_digit_you_ask_for():
    lines, changed = GAN.splitlines(), []
    for line in TO_DIGITS.splitlines():
        if line.startswith("+"):
            changed.append(line[1:])
        elif line:
            place = lines.index(line[1:])  # what is not shown stays
            changed += lines[:place] + ([] if line.startswith("-") else [line[1:]])
            lines = lines[place + 1 :]
    assert changed + lines == DIGITS.splitlines()


def test_each_network_gets_the_digit_and_a_row_of_the_picture_keeps_its_z(few_images):
    made = run_program(DIGITS.replace("range(1, 16)", "range(1, 2)"), few_images)
    labels = torch.tensor([*first_bytes("train", "labels", 310)])
    assert torch.equal(made["one_hot"], torch.eye(10)[labels])
    assert torch.equal(made["digits"], torch.eye(10).repeat(10, 1))  # of the last picture
    assert len(made["z"].unique(dim=0)) == 10
    assert torch.equal(made["z"], made["z"][::10].repeat_interleave(10, dim=0))
    assert {path.name for path in few_images.glob("*.png")} == {"digits_1.png"}
    G = made["G"]
    inputs = torch.cat([made["z"], made["digits"]], dim=1)
    images = -G(inputs).detach().reshape(-1, 28, 28)
    page = picture(few_images / "digits_1.png")
    for row, column in [(0, 0), (0, 7), (7, 0), (9, 9)]:
        tile = page[2 + 114 * row : 114 + 114 * row, 2 + 114 * column : 114 + 114 * column]
        expected = images[10 * row + column].numpy()
        assert np.corrcoef(tile[::4, ::4].flatten(), expected.flatten())[0, 1] > 0.999


def test_pngs_are_packed_as_train_reads_them(tmp_path, monkeypatch):
    images = first_images(3).reshape(3, 28, 28).numpy()
    (tmp_path / "mine").mkdir()
    (tmp_path / "data").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "mine" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    run_program(PACK, tmp_path)
    packed = MNIST_MLP_GAN_TRAIN.load_images(
        tmp_path / "data" / "mine" / MNIST_MLP_GAN_TRAIN.ARCHIVE
    )
    assert sorted(packed.tolist()) == sorted(images.reshape(3, 784).tolist())


def test_first_command_leaves_what_the_programs_need(train, call, tmp_path, monkeypatch):
    """The first command's options, on few images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    train("checkpoints", "--epochs", 40, *commands(TRAIN)[0])
    folders = ["--checkpoint-dir", "checkpoints", "--output-dir", "outputs"]
    call(TEST, *folders, *commands(TEST)[0])
    for program, names in [(FOLLOW, {"follow.png"}), (DRAW, {"five.png"})]:
        before = {*tmp_path.rglob("*.png")}
        run_program(program, tmp_path)
        assert {path.name for path in {*tmp_path.rglob("*.png")} - before} == names


def test_every_command_is_one_that_the_scripts_take():
    for script, module in [(TRAIN, MNIST_MLP_GAN_TRAIN), (TEST, MNIST_MLP_GAN_TEST)]:
        assert len(commands(script)) > 3
        for options in commands(script):
            module.parse_arguments(options)


def anchors(path):
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", ["README.md", "tests/README.md"])
def test_links_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    links = re.findall(r'\]\(([^):\s]+)\)|src="([^":]+)"', text)
    assert links
    for link in map("".join, links):
        file, _, anchor = link.partition("#")
        target = ((ROOT / path).parent / file).resolve() if file else ROOT / path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
        assert target.is_dir() or target.stat().st_size < 2_000_000, link
