"""The page to play with, in a real browser: what it shows, what each control does."""

import os
import shutil

import numpy as np
import pytest
import torch
from helpers import read_generator

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator
from MNIST_MLP_GAN_TEST import draw_z, mean_generator

# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FOLDER = """it's "<b>" & <script>alert(1)<script>"""


@pytest.fixture(scope="module")
def browser():
    paths = map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])
    path = next(filter(None, paths), None)
    if not path and os.environ.get("CI"):
        pytest.fail("no Chromium, which the checks install")
    if not path:
        pytest.skip("no Chromium on this machine: the page is not tested")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(small_mnist, tmp_path_factory):
    """A run of three short epochs, whose Generators make something else of every z."""
    folder = tmp_path_factory.mktemp("page") / FOLDER
    options = ["--epochs", 3, "--lr", 0.001, "--beta1", 0.5, "--batch-size", 5, "--device", "cpu"]
    options += ["--data-dir", small_mnist, "--checkpoint-dir", folder]
    MNIST_MLP_GAN_TRAIN.main([*map(str, options)])
    return folder


@pytest.fixture(scope="module")
def path(folder, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    folders = ["--checkpoint-dir", str(folder), "--output-dir", str(outputs)]
    MNIST_MLP_GAN_TEST.main([*folders, "--rows", "0", "1", "3", "2-3"])
    return outputs / "MNIST_MLP_GAN.html"


@pytest.fixture(scope="module")
def open_page(browser):
    """Open a page; its ``wrong`` has every request to elsewhere, and each error it reports."""
    pages = []

    def open_it(path, **settings):
        page = browser.new_page(**settings)
        page.wrong, uri = [], path.as_uri()
        page.on("request", lambda request: request.url != uri and page.wrong.append(request.url))
        page.on("console", lambda line: line.type == "error" and page.wrong.append(line.text))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.goto(uri)
        pages.append(page)
        return page

    yield open_it
    wrong = [page.wrong for page in pages]
    assert not any(wrong)


@pytest.fixture(scope="module")
def one_page(open_page, path):
    return open_page(path, viewport={"width": 1200, "height": 900})


@pytest.fixture
def page(one_page):
    """The page as it was when it was opened."""
    one_page.reload()
    yield one_page
    assert not one_page.wrong


@pytest.fixture(scope="module")
def networks(folder):
    """The rows' Generators and the last D, with weights as exact as the page has them."""
    first, *others, last = [read_generator(folder / f"G_{epoch}.pth") for epoch in range(4)]
    D = Discriminator()
    D.load_state_dict(torch.load(folder / "last.pt", weights_only=True)["D"])
    generators = [first, others[0], last, mean_generator([others[1], last])]
    return [network.bfloat16().float() for network in [*generators, D]]


# ---- What there is on the page ----


def colors(page, selector):
    """The colors of every canvas that ``selector`` finds: (N, 784, 3)."""
    program = """canvases => canvases.map(canvas =>
        Array.from(canvas.getContext("2d").getImageData(0, 0, 28, 28).data))"""
    levels = np.array(page.eval_on_selector_all(selector, program)).reshape(-1, 784, 4)
    assert (levels[..., 3] == 255).all()
    return levels[..., :3]


def tiles(page, parent="#samples"):
    return colors(page, f"{parent} canvas")[..., 0]


def large(page):
    return colors(page, "#large")[0, :, 0]


def levels(images):
    """The gray levels that ``images``, from -1 to 1, are shown in."""
    return 127.5 * (1 - np.array(images))


def z_on(page):
    return np.array(page.evaluate("zs.map(z => Array.from(z))"))


def bars(page):
    return page.eval_on_selector_all("#bars input", "bars => bars.map(bar => Number(bar.value))")


def score(page):
    return float(page.inner_text("#score"))


def pressed(page, selector="button[aria-pressed=true]"):
    return page.eval_on_selector_all(selector, "all => all.map(one => one.title || one.innerText)")


def wait(page, condition):
    page.wait_for_function(condition, timeout=20_000)


def same_z_everywhere(page, chosen, other):
    """Whether tiles, strip, bars and large image are of the same z."""
    strip, shown = tiles(page, "#between"), tiles(page)
    assert np.abs(strip[8] - shown[chosen]).max() <= 1
    assert np.abs(strip[0] - shown[other]).max() <= 1
    assert bars(page) == pytest.approx(z_on(page)[chosen].clip(-3, 3).tolist(), abs=0.051)
    assert np.array_equal(large(page), shown[chosen])


def changed(before, after):
    """Which of the images, or of the vectors, are not the same."""
    return np.flatnonzero((before != after).any(axis=-1)).tolist()


# ---- Watch it learn ----


def test_images_scores_and_gradients_equal_torchs(page, networks):
    *generators, D = networks
    for number, G in enumerate(generators):
        page.eval_on_selector("#row", f"row => {{ row.value = {number}; row.oninput() }}")
        z = draw_z(G, 25, seed=0).requires_grad_()
        images = G(z)
        images.retain_grad()
        scores = D(images)
        scores.log().sum().backward()
        assert np.abs(tiles(page) - levels(images.detach())).max() <= 1
        assert np.abs(large(page) - levels(images[0].detach())).max() <= 1
        assert score(page) == pytest.approx(scores[0].item(), abs=0.006)
        assert page.evaluate("gauge.value") == pytest.approx(scores[0].item(), abs=1e-4)
        for sample in [0, 12]:
            ways = f"""const fake = generator(G, zs[{sample}]);
                const toPixels = discriminatorBackward(D, discriminator(D, fake.image));
                [toPixels, generatorBackward(G, fake, toPixels)].map(all => Array.from(all))"""
            for ours, torchs in zip(page.evaluate(ways), [images.grad, z.grad], strict=True):
                size = torchs[sample].abs().max()
                assert np.abs(ours - torchs[sample].numpy()).max() < 0.001 * min(1, size)
    assert levels(images.detach()).min() < 60  # there was black as well as white
    assert levels(images.detach()).max() > 225


def test_names_show_as_themselves(page, folder):
    assert page.inner_text("#source") == f"These are the networks of the folder {FOLDER}."
    assert str(folder.parent) not in page.content()
    assert page.inner_text("#title") == "epochs 2-3"
    assert page.inner_text("#epoch") == "3"
    for name in [f"sample {i}" for i in range(1, 26)] + [
        f"between, {i} of 9" for i in range(1, 10)
    ]:
        assert page.get_by_role("button", name=name, exact=True).count() == 1
    for i in range(100):
        assert page.get_by_role("slider", name=f"z {i}", exact=True).count() == 1


def test_slider_changes_the_images_and_no_z(page):
    z, last = z_on(page), tiles(page)
    page.click("#clear")
    page.focus("#row")
    page.keyboard.press("Home")
    assert page.inner_text("#title") == "epoch 0"
    assert page.get_attribute("#row", "aria-valuetext") == "epoch 0"
    assert changed(last, tiles(page)) == [*range(25)]
    same_z_everywhere(page, 0, 1)
    page.keyboard.press("End")
    assert not changed(last, tiles(page))
    assert not changed(z, z_on(page))


def test_chosen_tile_is_marked_and_shown_large(page):
    before = tiles(page)
    page.click("#samples button:nth-child(3)")
    page.focus("#samples button:nth-child(8)")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")  # once more changes nothing
    same_z_everywhere(page, 7, 2)
    assert not changed(before, tiles(page))
    assert pressed(page) == ["sample 8"]
    assert len(pressed(page, "#samples button[aria-pressed=false]")) == 24
    looks = page.eval_on_selector_all(
        "#samples button", "all => all.map(one => getComputedStyle(one).border)"
    )
    plain, dashed, solid = looks[0], looks[2], looks[7]
    assert [looks.index(look) for look in [plain, dashed, solid]] == [0, 2, 7]
    assert [looks.count(look) for look in [plain, dashed, solid]] == [23, 1, 1]
    assert "dashed" in dashed
    assert "solid" in solid


def test_new_z_are_normal(page):
    z, before = z_on(page), tiles(page)
    page.click("#new")
    after = z_on(page)
    assert changed(before, tiles(page)) == [*range(25)]
    assert not np.isclose(z, after).any(axis=1).all()
    assert abs(after.mean()) < 0.1  # of 2,500: five standard errors
    assert abs(after.std() - 1) < 0.08
    assert np.abs(after).max() > 2.5
    same_z_everywhere(page, 0, 1)


def test_walk_moves_every_z_until_stopped(page):
    z, before = z_on(page), tiles(page)
    stops = ["#walk", "#new", "#clear", "#noise", "#between button", "#samples button", "#pixels"]
    for stop in stops:
        page.click("#walk")
        assert (pressed(page, "#walk"), "Walk" in pressed(page)) == (["Walk"], True)
        page.evaluate("start_z = zs[0]")
        wait(page, "zs[0] != start_z")
        page.click(stop)
        assert pressed(page, "#walk[aria-pressed=false]") == ["Walk"]
        page.evaluate("stopped = JSON.stringify(zs)")
        shown, strip = tiles(page), tiles(page, "#between")
        assert np.abs(strip[[0, 8]] - shown[[1, 0]]).max() <= 1
        page.wait_for_timeout(60)
        assert page.evaluate("stopped == JSON.stringify(zs)")
    assert changed(z, z_on(page)) == changed(before, tiles(page)) == [*range(25)]

    page.click("#back")
    path = page.evaluate("[0, 1, 4000, 4001, 8000].map(now => { walk(now); return [...zs[0]] })")
    near, far = np.linalg.norm(np.diff(path, axis=0), axis=1)[[0, 2]], path[2::2]
    assert near.max() < 0.02  # steady, at a turn as well
    assert np.linalg.norm(far[0] - np.array(far[1])) > 8  # from one normal z to another
    assert np.abs(np.linalg.norm(path, axis=1) - 10).max() < 3.5
