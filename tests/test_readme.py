"""The READMEs' programs and commands do what is said of them, and their GAN is the scripts' GAN."""

import re
import runpy
import shlex
import struct

import numpy as np
import pytest
import torch
from helpers import ARCHIVE, ROOT, TEST, TRAIN, first_bytes, first_images
from looks import picture, says, shows
from PIL import Image
from runs import load, save_networks
from torch import nn

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN as ours
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, denorm, generate, picture_seed, sample_z

PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
GAN, DIGITS, FOLLOW = (ROOT / "assets" / name for name in ["gan.py", "digits.py", "follow.py"])


def excerpts(language, word=""):
    """The parts of the READMEs in a language that have ``word``, in order."""
    found = re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
    return [text for text in found if word in text]


def commands(script):
    """The options of each of the READMEs' commands that start ``script``, in order."""
    lines = TEXT.replace("\\\n", " ")
    return [shlex.split(found) for found in re.findall(rf"python {script.name}([^&\n`|]*)", lines)]


def run_excerpt(word, folder):
    """Run the READMEs' one program that has ``word``, in ``folder``."""
    (text,) = excerpts("python", word)
    (folder / "program.py").write_text(text, encoding="utf-8")
    runpy.run_path(str(folder / "program.py"), run_name="__main__")


def test_readme_shows_gan_py_whole_and_digits_py_as_a_difference():
    gan = GAN.read_text(encoding="utf-8")
    assert gan in excerpts("python")
    (difference,) = excerpts("diff")
    lines, changed = gan.splitlines(), []
    for line in difference.splitlines():
        if line.startswith("+"):
            changed.append(line[1:])
        elif line:
            place = lines.index(line[1:])  # what is not shown stays
            changed += lines[:place] + ([] if line.startswith("-") else [line[1:]])
            lines = lines[place + 1 :]
    assert changed + lines == DIGITS.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def few_images(tmp_path, monkeypatch):
    """A folder with 210 images of each set, unpacked as torchvision leaves them; numbers are long.

    So two ways to compute the same differ by nothing that one sees, even after many steps.
    """
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for subset in ["train", "t10k"]:
        for kind, header in [("images", (2051, 210, 28, 28)), ("labels", (2049, 210))]:
            path = raw / f"{subset}-{kind}-idx{len(header) - 1}-ubyte"
            content = struct.pack(f">{len(header)}i", *header) + first_bytes(subset, kind, 210)
            path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float64)
    return tmp_path


class Told(nn.Module):
    """A network that is also told the digits of a batch."""

    latent_size = 100

    def __init__(self, network):
        super().__init__()
        self.network, self.digits = network, None

    def forward(self, x):
        return self.network(torch.cat([x, self.digits], dim=1))


def train_with_trains_steps(D, G, epochs, one_hot):
    """Train as gan.py does, or as digits.py if networks are ``Told``, but with TRAIN's two steps.

    Returns what has to be printed, and the images in the last picture.
    """
    images, lines = first_images(210) / 127.5 - 1, []
    adam = {"lr": 0.001, "betas": (0.5, 0.999)}
    d_optimizer, g_optimizer = (torch.optim.Adam(net.parameters(), **adam) for net in (D, G))
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(210).split(100):
            D.digits = G.digits = one_hot[batch]
            d_loss, *scores = ours.train_discriminator(D, G, d_optimizer, images[batch])
            numbers_left = torch.get_rng_state()
            samples = G(torch.randn(len(batch), 100)).detach()
            torch.set_rng_state(numbers_left)
            g_loss = ours.train_generator(D, G, g_optimizer, len(batch))
        line = "epoch {} d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}"
        lines.append(line.format(epoch, d_loss, g_loss, *[score.mean() for score in scores]))
        if isinstance(G, Told):  # a row of the picture has the same z, a column the same digit
            z = torch.randn(10, 100)
            G.digits = torch.arange(100).remainder(10)[:, None].eq(torch.arange(10)).double()
            samples = G(z[torch.arange(100) // 10]).detach()
    return lines, samples


@pytest.mark.parametrize("program", [GAN, DIGITS], ids=["gan", "digits"])
def test_program_trains_with_trains_steps_and_saves_what_it_made(program, few_images, capsys):
    torch.manual_seed(1)
    runpy.run_path(str(program), run_name="__main__")
    printed, name = capsys.readouterr().out.splitlines(), program.stem
    torch.manual_seed(1)
    if name == "gan":
        epochs, columns = 5, 5
        D, G = Discriminator(), Generator()
    else:
        epochs, columns = 15, 10
        D, G = Told(Discriminator(784 + 10)), Told(Generator(latent_size=100 + 10))
    one_hot = torch.tensor([*first_bytes("train", "labels", 210)])[:, None] == torch.arange(10)
    lines, samples = train_with_trains_steps(D, G, epochs, one_hot.double())
    assert printed == lines
    for weight, expected in zip(load(f"{name}_G.pth").values(), G.parameters(), strict=True):
        torch.testing.assert_close(weight, expected.detach(), rtol=0, atol=1e-6)

    names = {f"{name}_{n}.png" for n in range(1, epochs + 1)}
    assert {path.name for path in few_images.glob("*.png")} == names
    page = picture(few_images / f"{name}_{epochs}.png")
    for number, image in enumerate(samples[: page.shape[0] // 114 * columns]):
        y, x = (2 + 114 * place for place in divmod(number, columns))
        tile = page[y : y + 112, x : x + 112].flatten()
        white = np.kron(-image.view(28, 28), np.ones((4, 4))).flatten()
        assert np.corrcoef(tile, white)[0, 1] > 0.999


def test_sevens_are_drawn_by_the_saved_generator(tmp_path, monkeypatch):
    """One that draws much the same for any z, but something else for each digit."""
    monkeypatch.chdir(tmp_path)
    layers = [nn.Linear(110, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 784)]
    G = nn.Sequential(*layers, nn.Tanh())
    G[0].weight.data[:, :100] *= 0.05
    torch.save(G.state_dict(), "digits_G.pth")
    run_excerpt("digits_G.pth", tmp_path)
    images = G(torch.cat([torch.zeros(10, 100), torch.eye(10)], dim=1)).detach()
    (path,) = tmp_path.glob("*.png")
    tiles = picture(path)[:300, :300].reshape(10, 30, 10, 30)[:, 2:, :, 2:]  # a hundred of them
    tiles = torch.from_numpy(tiles.swapaxes(1, 2).reshape(100, 784)).float()
    likeness = torch.corrcoef(torch.cat([-images, tiles]))[10:, :10]
    assert (likeness.argmax(dim=1) == 7).all()
    assert len(tiles.unique(dim=0)) == 100


def test_five_digits_are_the_mean_generators(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    G, _ = save_networks(tmp_path / "outputs", 0)
    (tmp_path / "outputs" / "G_0.pth").rename(tmp_path / "outputs" / "G_mean.pth")
    run_excerpt("five.png", tmp_path)
    page = picture(tmp_path / "outputs" / "five.png")
    for number, image in enumerate(generate(G, sample_z(G, 5, seed=1)).view(5, 28, 28)):
        tile = page[2 : 2 + 112, 2 + 114 * number :][:, :112]
        assert np.abs(tile - 255 * (1 - np.kron(image, np.ones((4, 4))))).max() <= 1


def test_follow_shows_that_the_scores_rise(tmp_path, monkeypatch):
    """The first row is fakes, then 30 steps of 0.1 change their pixels, or their z."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    G, D = save_networks(tmp_path / "checkpoints", 40)
    runpy.run_path(str(FOLLOW), run_name="__main__")
    page = picture(tmp_path / "outputs" / "follow.png")
    assert (page.shape[0] % 2, page.shape[1] % 2) == (0, 0)  # the README halves it

    def climb(x, make_images):
        for _ in range(30):
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(D(make_images(x)).log().sum(), x)
            x = x + 0.1 * slope / slope.norm(dim=1, keepdim=True)
        return make_images(x).detach()

    z = sample_z(G, 8, picture_seed)
    fakes = G(z).detach()
    rows = {"fakes": fakes, "pixels\nchanged": climb(fakes, lambda x: x.clamp(-1, 1))}
    rows["z\nchanged"] = climb(z, G)
    before, *after = (D(images).flatten() for images in rows.values())
    assert all((scores > before).all() for scores in after)
    for row, (name, images) in enumerate(rows.items()):
        top = 6 * 37 * row
        assert says(page[top : top + 6 * 29, :140], name)
        assert says(page[top + 6 * 29 : top + 6 * 37, :140], "D's score")
        for column, (image, score) in enumerate(zip(denorm(images), D(images), strict=True)):
            assert shows(page, row, column, image, scale=6, left=140, pitch=(37, 29), levels=2)
            x = 140 + 6 * 29 * column
            assert says(page[top + 6 * 29 : top + 6 * 37, x : x + 6 * 29], f"{score.item():.2f}")


def test_pictures_of_any_size_are_packed_as_train_reads_them(tmp_path, monkeypatch):
    images = first_images(3).reshape(3, 28, 28).numpy()
    (tmp_path / "mine" / "more").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    Image.fromarray(images[0]).save(tmp_path / "mine" / "0.png")
    Image.fromarray(images[1]).convert("RGB").save(tmp_path / "mine" / "more" / "1.bmp")
    Image.fromarray(np.kron(images[2], np.ones((3, 3), np.uint8))).save(tmp_path / "mine" / "2.PNG")
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    run_excerpt("gzip.compress", tmp_path)
    packed = ours.load_images(tmp_path / "data" / "mine" / ARCHIVE).double()
    assert packed.shape == (3, 784)
    for image in torch.from_numpy(images).reshape(3, 784).double():
        difference = (packed - image).abs().mean(dim=1).min()
        assert difference < 10  # an image that was made smaller is blurred a little


def test_every_command_is_one_that_the_scripts_take(tmp_path):
    assert commands(TRAIN)[0] == commands(TEST)[0] == []
    assert min(len(commands(TRAIN)), len(commands(TEST))) > 4
    for options in commands(TRAIN):
        ours.parse_arguments(options)
    for epoch in range(43):
        (tmp_path / f"G_{epoch}.pth").touch()
    for options in commands(TEST):
        MNIST_MLP_GAN_TEST.parse_arguments([*options, "--run", str(tmp_path)])


def anchors(path):
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for link in map("".join, re.findall(r'\]\(([^):\s]+)\)|src="([^":]+)"', text)):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
        assert target.is_dir() or target.stat().st_size < 2_000_000, link


def test_pictures_are_shown_at_half_their_size():
    """So that all pixels of a digit are equally large, on a screen with twice as many dots, too."""
    shown = re.findall(r'<img src="(?:\.\./)?(assets/[^"]+)" width="(\d+)"', TEXT)
    assert len(shown) > 9
    for name, width in shown:
        assert Image.open(ROOT / name).width == 2 * int(width), name
