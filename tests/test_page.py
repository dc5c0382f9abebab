"""The page to play with, in a real browser: what it shows, what each control does."""

import io
import os
import re
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, first_images
from PIL import Image
from torch import nn

import MNIST_MLP_GAN_TEST
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import fill_page, sample_z, walk

SMALL = {"hidden_size": 64}  # networks, for a page that opens fast
TITLES = ["epoch 0", "epoch 1", "epoch 3", "epochs 1-3, mean weights of 3 networks"]
SIZES = [{"width": w, "height": h} for w, h in [(1366, 640), (390, 664), (664, 390), (320, 568)]]
LAPTOP, PHONE, *_ = SIZES
Z = sample_z(Generator(), 25, seed=0)
# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# The same random numbers in every run
SEED = "let n = 1; Math.random = () => (n = (n * 16807) % 2147483647) / 2147483647"


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Open a page of Generators and D; its errors and its requests to elsewhere are errors."""
    paths = [*filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))]
    if not paths and not os.environ.get("CI"):  # the checks install it
        pytest.skip("no Chromium on this machine: the page is not tested")
    playwright = pytest.importorskip("playwright.sync_api")
    wrong = []

    def open_it(rows, D=None, **options):
        last = D and {"options": SMALL, "D": D.state_dict(), "real_images": first_images(100)}
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text(fill_page(rows, Z, path, last), encoding="utf-8")
        page = browser.new_page(has_touch=True, viewport=LAPTOP, **options)
        page.add_init_script(SEED)
        page.on("request", lambda request: request.url != path.as_uri() and wrong.append(request))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        return page

    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=paths[0], args=ARGUMENTS)
        yield SimpleNamespace(open=open_it, wrong=wrong)
        browser.close()
    assert not wrong


@pytest.fixture(scope="module")
def run(open_page):
    torch.manual_seed(0)
    D, *generators = Discriminator(**SMALL), *[Generator(**SMALL) for _ in TITLES]
    for weight in nn.ModuleList([D, *generators]).parameters():
        # So large that every z and every image makes a difference, and as exact as the page's
        weight.data.mul_(2).copy_(weight.data.bfloat16())
    generators[0].linear3.weight.data.zero_()  # the same image for every z
    rows = dict(zip(["0", "1", "3", "1-3"], generators, strict=True))
    return SimpleNamespace(page=open_page.open(rows, D), G=generators, D=D)


@pytest.fixture
def page(run):
    """The page as it was when it was opened, all unfolded, with a clock that stands still."""
    run.page.set_viewport_size(LAPTOP)
    run.page.emulate_media(color_scheme="light", forced_colors="none")
    run.page.clock.install()
    run.page.reload()
    run.page.click("summary")
    run.page.clock.pause_at(run.page.evaluate("Date.now()") + 1000)
    return run.page


def shown(page, selector):
    """What every canvas that ``selector`` finds shows: (N, 784, 4), red, green, blue, opacity."""
    program = """canvases => canvases.map(canvas => String.fromCharCode(
        ...canvas.getContext("2d").getImageData(0, 0, 28, 28).data))"""
    text = "".join(page.eval_on_selector_all(selector, program))
    return np.frombuffer(text.encode("latin-1"), np.uint8).reshape(-1, 784, 4).astype(float)


def differ(page, selector, images):
    """By how many gray levels, at most, canvases differ from ``images``, from -1 to 1."""
    return np.abs(shown(page, selector)[..., 0] - 127.5 * (1 - images.detach().numpy())).max()


def all_shown(page):
    """All that Back brings back, to compare."""
    canvases = shown(page, "#large, #samples canvas, #between canvas").tobytes()
    return canvases, page.input_value("#row"), page.input_value("#bars > :nth-child(5)")


def drag(page, selector, start, end, button="left"):
    """Drag over an element, from one share of its width and height to another."""
    page.locator(selector).scroll_into_view_if_needed()
    x, y, width, height = page.locator(selector).bounding_box().values()
    page.mouse.move(x + start[0] * width, y + start[1] * height)
    page.mouse.down(button=button)
    page.mouse.move(x + end[0] * width, y + end[1] * height)
    page.mouse.up(button=button)


def color(page, selector, x=0.02, y=0.5):
    """The color on the screen at a share of an element's width and height."""
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return picture.getpixel((int(x * picture.width), int(y * picture.height)))


def test_images_scores_and_gradients_equal_torchs(page, run):
    assert page.locator("#marks span").all_inner_texts() == ["0", "1", "3", "mean"]
    real_scores = run.D(first_images(100) / 127.5 - 1)
    page.press("#row", "Home")
    for title, G in zip(TITLES, run.G, strict=True):
        assert page.inner_text("#title") == page.get_attribute("#row", "aria-valuetext") == title
        fakes = G(Z).detach().requires_grad_()
        scores = run.D(fakes)
        assert max(differ(page, "#samples canvas", fakes), differ(page, "#large", fakes[0])) <= 1
        numbers = [float(number) for number in page.locator("#chart b").all_inner_texts()]
        means = [scores[0].item(), real_scores.mean().item(), scores.mean().item()]
        assert numbers == pytest.approx(means, abs=0.006)
        places = re.findall(r' (?:cx|width)="([^%]+)%', page.inner_html("#chart"))
        expected = 100 * torch.cat([scores[:1], real_scores, scores]).flatten()
        assert [*map(float, places)] == pytest.approx(expected.tolist(), abs=0.1)
        # The map: blue where ink raises the score, orange where it lowers it
        scores.log().sum().backward()
        gradient = fakes.grad[0].numpy()
        red, _, blue, opacity = shown(page, "#map")[0].T
        wish = np.where(blue > red, opacity, -opacity) / opacity.max()
        assert wish == pytest.approx(gradient / np.abs(gradient).max(), abs=0.02)
        page.press("#row", "ArrowRight")
    strip = run.G[-1](walk(Z[0], Z[1], steps=9))
    assert differ(page, "#between canvas", strip) <= 1
    page.click("#between > :nth-child(5)")
    assert differ(page, "#large", strip[4]) <= 1
    page.click("#samples > :last-child")
    assert differ(page, "#large", fakes[-1]) <= 1


@pytest.mark.parametrize(
    ("network", "layer", "change"),
    [("D", "leaky_relu", nn.ReLU()), ("G", "relu", nn.Tanh()), ("G", "linear2", nn.Identity())],
)
def test_changed_network_is_noticed(network, layer, change, open_page, monkeypatch):
    networks = {"D": Discriminator(**SMALL), "G": Generator(**SMALL)}
    setattr(networks[network], layer, change)
    monkeypatch.setattr(MNIST_MLP_GAN_TEST, "Discriminator", lambda **_: networks["D"])
    page = open_page.open({"1": networks["G"]}, networks["D"])
    assert "MNIST_MLP_GAN_NETWORK.py were changed" in page.inner_text("body")
    assert open_page.wrong.pop()


def test_without_d_it_works_and_121_rows_have_few_marks(open_page):
    page = open_page.open({str(row): Generator(hidden_size=2) for row in range(121)})
    assert not re.search(r"\bD\b|Discriminator|score|JavaScript", page.inner_text("body"))
    assert page.locator("#marks span").count() <= 9


def test_without_scripts_one_sentence_says_what_to_do(open_page):
    page = open_page.open({"0": Generator()}, java_script_enabled=False)
    assert "open it in a browser" in page.inner_text("body")


def test_what_you_change_stays_in_view(page):
    edges = """all => all.map(one => document.querySelector(one).getBoundingClientRect())
        .map(box => [box.top, box.bottom])"""
    seen = ["#panel", "#large", "#score", "#map", "#fakes", "#back"]
    controls = ["#new", "#row", "#samples > :last-child", "#clear", "#pixels", "#z"]
    controls += ["#bars > :first-child", "#bars > :last-child", "#between > :last-child"]
    for size in SIZES:
        page.set_viewport_size(size)
        for control in controls:
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.focus(control)  # scrolls no further than it must
            tops, bottoms = np.transpose(page.evaluate(edges, [*seen, control]))
            assert min(tops) >= 0
            assert max(bottoms[:-1]) <= tops[-1] < bottoms[-1] <= size["height"]
            assert bottoms[0] <= size["height"] / 2
        (row, _), (_, tiles) = page.evaluate(edges, ["#row", "#samples"])
        assert tiles - row <= size["height"] - (bottoms[0] - tops[0])  # both, below the panel
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_follow_takes_30_steps_in_2_seconds(page, run):
    G, D = run.G[-1], run.D

    def follow(x, make_images, steps):  # the README's
        for _ in range(steps):
            x = x.detach().requires_grad_()
            D(make_images(x)).log().sum().backward()
            x = x + 0.1 * x.grad / x.grad.norm(dim=1, keepdim=True)
        return make_images(x).detach()

    for button, start, make_images in [
        ("#pixels", G(Z[:1]).detach(), lambda x: x.clamp(-1, 1)),
        ("#z", Z[:1], G),
    ]:
        strongest = shown(page, "#map")[0, :, 3].max()
        page.click(button)
        for seconds, steps in [(1, 15), (2, 30), (3, 30)]:
            page.clock.run_for(1000)
            assert differ(page, "#large", follow(start, make_images, steps)) <= 9
            read = page.inner_text("#heard") == page.inner_text("#says")
            assert read == (seconds == 3)  # aloud, when it rests
        assert shown(page, "#map")[0, :, 3].max() < strongest - 20  # D wants less
        page.click("#back")
        page.click(button)
        page.click(button)  # stops it
        page.clock.run_for(1000)
        assert differ(page, "#large", make_images(start)) <= 1
    page.click("#clear")
    page.click("#pixels")
    page.clock.run_for(2500)
    seen = torch.tensor(1 - shown(page, "#large")[..., 0] / 127.5).float()
    assert float(page.inner_text("#score")) == pytest.approx(D(seen).item(), abs=0.01)


def test_back_undoes_one_press_after_the_other(page):
    states = [all_shown(page)]
    clicks = ["#clear", "#noise", "#new", "#samples > :nth-child(7)", "#pixels", "#walk"]
    clicks += [f"#between > :nth-child({number})" for number in [5, 1, 9]]
    for press in [
        partial(page.press, "#large", "Space"),
        partial(drag, page, "#large", (0.2, 0.3), (0.8, 0.3)),
        *[partial(page.click, selector) for selector in clicks],
        partial(page.press, "#row", "ArrowLeft"),
        partial(page.press, "#bars > :nth-child(5)", "End"),
        partial(drag, page, "#bars > :nth-child(7)", (0.1, 0.5), (0.9, 0.5)),
    ]:
        press()
        page.clock.run_for(300)
        states.append(all_shown(page))
    assert len({*states}) == len(states)
    for state in [*states[-2::-1], states[0]]:
        page.click("#back", force=True)
        assert all_shown(page) == state


def test_mouse_and_keyboard_draw_where_you_point(page):
    before = all_shown(page)
    drag(page, "#large", (1.2, 0.5), (0.5, 0.5))  # begins on the map
    drag(page, "#large", (0.2, 0.5), (0.5, 0.5), button="right")
    assert all_shown(page) == before
    page.click("#clear")
    drag(page, "#large", (0.25, 0.5), (0.75, 0.5))
    ink = shown(page, "#large")[0, :, 0].reshape(28, 28) < 128
    rows, columns = np.nonzero(ink)
    assert (min(rows), max(rows), min(columns), max(columns)) == (12, 15, 5, 22)
    drawn = shown(page, "#large")
    page.press("#row", "Home")
    assert (shown(page, "#large") == drawn).all()
    assert page.get_attribute("#z", "aria-disabled") == "true"
    assert page.get_by_text("has no z").is_visible()
    page.click("#clear")
    for key in ["ArrowLeft", "Space", "ArrowDown"]:
        page.press("#large", key)
    ink = shown(page, "#large")[0, :, 0].reshape(28, 28) < 50
    assert np.argwhere(ink).mean(axis=0).tolist() == [13.5, 19.5]
    red, green, blue = color(page, "#large", 20.5 / 28, 15.5 / 28)
    assert red > green + blue  # the pen


def test_a_finger_draws_and_where_it_scrolls_it_changes_nothing(page):
    page.set_viewport_size(PHONE)
    page.clock.resume()
    session = page.context.new_cdp_session(page)
    for control, scrolls in [("#large", False), ("#row", True), ("#bars > :nth-child(55)", True)]:
        page.focus(control)
        before, place = all_shown(page), page.evaluate("scrollY")
        x, y, width, height = page.locator(control).bounding_box().values()
        for move in range(5):
            kind = "touchMove" if move else "touchStart"
            points = [{"x": x + width / 4, "y": y + height * 0.9 - 20 * move}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(200)
        assert (page.evaluate("scrollY") > place) == scrolls
        assert (all_shown(page) == before) == scrolls


def test_game_counts_for_each_epoch_and_moves_nothing(page, run):
    page.select_option("#rival", TITLES[0])  # whose G draws the same from every z
    fake_image = 127.5 * (1 + run.G[0](Z[:1]).detach().numpy())
    yours, ds = 0, 0
    for number, size in enumerate(SIZES * 2, start=1):
        page.set_viewport_size(size)
        images = 255 - shown(page, "#pair canvas")[..., 0]
        real = int(np.abs(images - fake_image).max(axis=1).argmax())
        assert np.abs(images[1 - real] - fake_image).max() <= 1
        assert np.abs(images[real] - first_images(100).numpy()).max(axis=1).min() <= 1
        scores = run.D(torch.tensor(images / 127.5 - 1).float()).flatten().tolist()
        yours, ds = yours + (real == 0), ds + (scores[real] > scores[1 - real])
        before = page.evaluate("document.body.scrollHeight")
        page.click("#pair button >> nth=0")
        page.click("#pair button >> nth=1")  # which counts no more
        assert page.evaluate("document.body.scrollHeight") == before
        answer = page.inner_text("#answer")
        assert answer.startswith(["Yes, the left one", "No, the right one"][real])
        assert f"you {yours} of {number}, D {ds} of {number}." in answer
        given = [float(score) for score in re.findall(r"[01]\.\d\d", answer)]
        assert given == pytest.approx(scores, abs=0.011)
        page.click("#next")
    assert 0 < yours < number
    page.select_option("#rival", TITLES[1])
    page.click("#pair button >> nth=0")
    assert "of 1." in page.inner_text("#answer")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_targets_are_large(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    page.clock.resume()
    page.click("#clear")
    assert axe.run(page).response["violations"] == []
    sizes = "all => all.map(o => [o.offsetWidth, o.offsetHeight])"
    assert np.min(page.eval_on_selector_all("button, select, input", sizes)) >= 24
    columns = page.eval_on_selector_all("#bars input", "all => all.map(o => o.offsetLeft)")
    assert len({*columns}) == 10
    # Light ink on dark paper in dark mode
    assert (color(page, "#large", 0.5, 0.5)[0] > 128) == (scheme == "light")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_forced_colors_keep_every_distinction(page):
    page.emulate_media(forced_colors="active")
    page.click("#walk")
    at = partial(color, page)
    assert at("#walk", 0.08) != at("#new", 0.08)  # what moves
    word = Image.open(io.BytesIO(page.locator("#walk").screenshot())).crop((20, 12, 40, 20))
    assert len(word.getcolors()) > 5  # no block of one color
    assert at("#samples > :first-child") != at("#samples > :nth-child(2)")  # the chosen tile
    assert at("#between > :first-child") != at("#between > :nth-child(2)")  # the strip's ends
    assert at("#more", 0.5) != at("#less", 0.5)
    assert at("#row", 0.4) != at("#row", 0.4, 0.05)  # the slider's track
    assert at("#gauge", 0.5, 0.05) != at("#gauge", 0.4, 0.05)  # the mark at 0.5


def test_cards_are_in_the_readmes_order_and_nothing_is_said_twice(page):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^[1-6]\. \*\*(.*)\.\*\*", readme, flags=re.MULTILINE)
    assert page.locator("h2").all_inner_texts() == names
    page.clock.run_for(1000)
    tree = page.locator("body").aria_snapshot()
    for once in [f"D says {page.inner_text('#score')}", "Draw here"]:
        assert tree.count(once) == 1
