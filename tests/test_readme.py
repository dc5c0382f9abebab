"""The README's programs and commands do what it says, and its GAN is the scripts' GAN."""

import inspect
import re
import runpy
import shlex
import struct

import pytest
import torch
from helpers import ROOT, TEST, TRAIN, first_bytes

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
GAN, FOLLOW, DRAW = PROGRAMS


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
    assert len([line for line in lines if not line.startswith("#")]) <= 45
    for step in [MNIST_MLP_GAN_TRAIN.train_discriminator, MNIST_MLP_GAN_TRAIN.train_generator]:
        body = inspect.getsource(step).split('"""\n')[1].split("return ")[0]
        # Sizes and devices, which one screen does not need
        body = re.sub(r".* = len\(real_images\).*|.* = next\(G.*", "", body)
        body = body.replace("G.latent_size, device=device", "latent_size")
        step_lines = code_lines(body)
        start = lines.index(step_lines[0])
        assert lines[start : start + len(step_lines)] == step_lines


def test_the_gan_on_one_screen_runs_and_has_networks_layers(tmp_path, monkeypatch, capsys):
    """On 300 images of each set, unpacked as torchvision leaves them."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for subset in ["train", "t10k"]:
        for kind, header in [("images", (2051, 300, 28, 28)), ("labels", (2049, 300))]:
            path = raw / f"{subset}-{kind}-idx{len(header) - 1}-ubyte"
            content = struct.pack(f">{len(header)}i", *header) + first_bytes(subset, kind, 300)
            path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    made = run_program(GAN, tmp_path)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == list("12345")
    assert {path.name for path in tmp_path.glob("*.png")} == {f"gan_{n}.png" for n in range(1, 6)}

    x, z = torch.rand(5, 784) * 2 - 1, torch.randn(5, 100)
    for ours, network, inputs in [(made["D"], Discriminator(), x), (made["G"], Generator(), z)]:
        weights = dict(zip(network.state_dict(), ours.state_dict().values(), strict=True))
        network.load_state_dict(weights)
        torch.testing.assert_close(ours(inputs), network(inputs))
    for name in ["d_optimizer", "g_optimizer"]:
        group = made[name].param_groups[0]
        assert group["lr"] == MNIST_MLP_GAN_TRAIN.QUICK["lr"]
        assert group["betas"] == (MNIST_MLP_GAN_TRAIN.QUICK["beta1"], 0.999)


def test_first_command_leaves_what_the_programs_need(train, call, tmp_path, monkeypatch):
    """The first command's options, on few images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    train("checkpoints", "--epochs", 26, *commands(TRAIN)[0])
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


@pytest.mark.parametrize("path", ["README.md", "tests/README.md"])
def test_links_lead_somewhere(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r'\]\(([^):\s]+)\)|src="([^":]+)"', text)
    assert links
    for link in map("".join, links):
        file, _, anchor = link.partition("#")
        assert not anchor or anchor in anchors, link
        target = ((ROOT / path).parent / file).resolve()
        assert target.exists(), link
        assert target.is_dir() or target.stat().st_size < 2_000_000, link
