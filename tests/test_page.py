"""The page to play with a Generator, in a real browser: what it shows, what each control does."""

import os
import shutil

import numpy as np
import pytest
import torch

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import draw_z

# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FOLDER = """it's "<b>" & <script>alert(1)</script>"""


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
def run_folder(small_mnist, tmp_path_factory):
    """A run of three short epochs, whose Generators make something else of every z."""
    folder = tmp_path_factory.mktemp("page") / FOLDER.replace("/", "")
    options = ["--epochs", 3, "--lr", 0.001, "--beta1", 0.5, "--batch-size", 5, "--device", "cpu"]
    options += ["--data-dir", small_mnist, "--checkpoint-dir", folder]
    MNIST_MLP_GAN_TRAIN.main([*map(str, options)])
    return folder


def make_page(run_folder, outputs):
    folders = ["--checkpoint-dir", run_folder, "--output-dir", outputs]
    MNIST_MLP_GAN_TEST.main([*map(str, folders), "--rows", "0", "1", "3", "2-3"])
    return outputs / "MNIST_MLP_GAN.html"


@pytest.fixture(scope="module")
def whole_page(run_folder, tmp_path_factory):
    return make_page(run_folder, tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def open_page(browser, whole_page):
    """Open the page; each request, and each error on its console, fails the test."""
    pages, wrong = [], []

    def open_it(path=whole_page, **settings):
        page = browser.new_page(**settings)
        page.on("request", lambda request: request.url != path.as_uri() and wrong.append(request))
        page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_it
    for page in pages:
        page.close()
    assert not wrong


def gray(page, selector):
    """The gray levels of every canvas that ``selector`` finds: (N, 784)."""
    program = """canvases => canvases.map(canvas => Array.from(
        canvas.getContext("2d").getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 == 0)))"""
    return np.array(page.eval_on_selector_all(selector, program))


def samples(page):
    return gray(page, "#samples canvas")


def large(page):
    return gray(page, "#large")[0]


def choose_row(page, number):
    page.eval_on_selector("#row", f"row => {{ row.value = {number}; row.oninput() }}")


def z_on(page):
    return np.array(page.evaluate("zs.map(z => Array.from(z))"))


def changed(before, after):
    """Which of the images, or of the vectors, are not the same."""
    return np.flatnonzero((before != after).any(axis=1)).tolist()


def test_images_and_score_equal_torchs(open_page, run_folder):
    page = open_page()
    generators = []
    for epoch in range(4):
        generators.append(Generator())
        weights = torch.load(run_folder / f"G_{epoch}.pth", weights_only=True)
        generators[-1].load_state_dict(weights)
    mean = Generator()
    states = [G.state_dict() for G in generators[2:]]
    mean.load_state_dict({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
    D = Discriminator()
    D.load_state_dict(torch.load(run_folder / "last.pt", weights_only=True)["D"])

    for number, G in enumerate([generators[0], generators[1], generators[3], mean]):
        choose_row(page, number)
        with torch.no_grad():
            images = G(draw_z(G, 25, seed=0))
            score = D(images[:1]).item()
        expected = 127.5 * (1 - images.numpy())
        assert np.abs(samples(page) - expected).max() <= 2.5  # two levels, and the rounding
        assert np.abs(large(page) - expected[0]).max() <= 2.5
        assert float(page.inner_text("#score")) == pytest.approx(score, abs=0.01)
    assert expected.min() < 60  # black and white were there
    assert expected.max() > 225


def test_names_show_as_themselves(open_page, run_folder):
    page = open_page()
    assert str(run_folder) in page.inner_text("#source")
    assert page.inner_text("#row-title") == "epochs 2-3"
    assert page.inner_text("#d-epoch") == "3"


def test_slider_changes_the_images_and_no_z(open_page):
    page = open_page()
    z, last = z_on(page), samples(page)
    page.focus("#row")
    page.keyboard.press("Home")
    assert page.inner_text("#row-title") == "epoch 0"
    assert changed(last, samples(page)) == [*range(25)]
    page.keyboard.press("End")
    assert not changed(last, samples(page))
    assert not changed(z, z_on(page))


def test_chosen_tile_is_shown_large_with_its_z(open_page):
    page = open_page()
    before = samples(page)
    page.focus("#samples button:nth-child(8)")
    page.keyboard.press("Enter")
    assert np.array_equal(large(page), before[7])
    shown = page.eval_on_selector_all(".bar", "bars => bars.map(bar => Number(bar.ariaValueNow))")
    assert shown == pytest.approx(z_on(page)[7].tolist(), abs=0.006)
    assert not changed(before, samples(page))


def test_dragged_bar_changes_its_number_and_its_image(open_page):
    page = open_page()
    z, before = z_on(page), samples(page)
    page.locator(".bar").nth(5).scroll_into_view_if_needed()
    box = page.locator(".bar").nth(5).bounding_box()
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(middle + 40, box["y"] + 1)  # it stays with the bar that was taken
    page.mouse.up()
    after = z_on(page)
    assert changed(z, after) == [0]
    assert np.flatnonzero(z[0] != after[0]).tolist() == [5]
    assert after[0, 5] > 2.8
    assert changed(before, samples(page)) == [0]
    assert np.array_equal(large(page), samples(page)[0])

    page.focus(".bar:nth-child(6)")
    for key in ["ArrowDown", "ArrowRight", "ArrowUp"]:
        page.keyboard.press(key)
    assert z_on(page)[0, 5:7] == pytest.approx(after[0, 5:7] + [-0.25, 0.25], abs=1e-5)


def test_between_two_chosen_tiles_lies_a_strip_of_nine(open_page):
    page = open_page()
    page.click("#samples button:nth-child(3)")
    page.click("#samples button:nth-child(10)")
    before, strip = samples(page), gray(page, "#between canvas")
    assert np.abs(strip[0] - before[2]).max() <= 1
    assert np.abs(strip[8] - before[9]).max() <= 1
    assert len(changed(strip[:-1], strip[1:])) == 8
    z = z_on(page)
    page.click("#between button:nth-child(5)")
    assert np.array_equal(large(page), strip[4])
    middle = page.evaluate("Array.from(step(4))")
    assert middle == pytest.approx(((z[2] + z[9]) / np.sqrt(2)).tolist(), abs=1e-5)
    assert not changed(z, z_on(page))


def test_new_z_are_normal(open_page):
    page = open_page()
    z, before = z_on(page), samples(page)
    page.click("#new")
    assert changed(before, samples(page)) == [*range(25)]
    after = z_on(page)
    assert not np.isclose(z, after).any(axis=1).all()
    assert abs(after.mean()) < 0.1  # of 2,500: five standard errors
    assert abs(after.std() - 1) < 0.08


def test_walk_moves_every_z_until_stopped(open_page):
    page = open_page()
    z, before = z_on(page), samples(page)
    page.click("#walk")
    page.wait_for_timeout(600)
    page.click("#walk")
    stopped = z_on(page)
    assert changed(z, stopped) == [*range(25)]
    assert changed(before, samples(page)) == [*range(25)]
    assert np.abs(np.linalg.norm(stopped, axis=1) - 10).max() < 3.5  # as long as normal ones
    page.wait_for_timeout(200)
    assert not changed(stopped, z_on(page))
    strip = gray(page, "#between canvas")
    assert np.abs(strip[8] - samples(page)[0]).max() <= 1  # it has kept up


def test_drawn_stroke_is_judged_and_leaves_the_samples_alone(open_page):
    page = open_page()
    z, before = z_on(page), samples(page)
    page.click("#clear")
    assert (large(page) == 255).all()
    blank = page.evaluate("discriminator(D, image)")
    box = page.locator("#large").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 3 / 4, steps=20)
    page.mouse.up()
    ink = large(page).reshape(28, 28) < 128
    assert ink[8:20, 13:15].all()
    assert not ink[:, :10].any()
    assert not ink[:, 18:].any()
    assert page.evaluate("discriminator(D, image)") != blank
    assert not changed(before, samples(page))
    assert not changed(z, z_on(page))

    page.click("#clear")
    page.focus("#large")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.evaluate("image[13 * 28 + 14]") == 1

    page.click("#walk")
    page.focus("#large")
    page.keyboard.press("Space")
    assert page.inner_text("#walk") == "Walk"  # or the next stride would take the stroke away


def test_without_last_pt_there_is_no_d(open_page, run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("last.pt"))
    page = open_page(make_page(tmp_path / "run", tmp_path))
    assert not page.is_visible("#critic")
    before = large(page)
    page.click("#large")
    assert np.array_equal(large(page), before)


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off(open_page, width, scheme):
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    right = page.eval_on_selector_all(
        "body *", "all => Math.max(...all.map(one => one.getBoundingClientRect().right))"
    )
    assert right <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    color = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
    assert (color == "rgb(0, 0, 0)") == (scheme == "light")
