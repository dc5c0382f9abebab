"""The page to play with, in a real browser: what it shows, what each control does."""

import base64
import io
import os
import re
import shutil
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import first_images
from PIL import Image
from torch import nn

import MNIST_MLP_GAN_TEST
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import fill_page, sample_z, walk

SMALL = {"hidden_size": 64}  # networks, for a page that opens fast
TITLES = ["epoch 0", "epoch 1", "epoch 3", "epochs 1-3, mean weights of 3 networks"]
SIZES = [{"width": w, "height": h} for w, h in [(1366, 640), (390, 664), (664, 390), (320, 568)]]
LAPTOP, PHONE, *_ = SIZES
# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# The same random numbers in every run
SEED = "let n = 1; Math.random = () => (n = (n * 16807) % 2147483647) / 2147483647"


@pytest.fixture(scope="module")
def open_page():
    """Open a page; each request to elsewhere, and each error that it reports, is an error."""
    paths = [*filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))]
    if not paths and not os.environ.get("CI"):  # the checks install it
        pytest.skip("no Chromium on this machine: the page is not tested")
    playwright = pytest.importorskip("playwright.sync_api")
    wrong = []

    def open_it(path, **options):
        page = browser.new_page(has_touch=True, viewport=LAPTOP, **options)
        page.add_init_script(SEED)
        page.on("request", lambda request: request.url != path.as_uri() and wrong.append(request))
        page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        return page

    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=paths[0], args=ARGUMENTS)
        yield SimpleNamespace(open=open_it, wrong=wrong)
        browser.close()
    assert not wrong


def sharpened(network):
    """Weights so large that every z and every image makes a difference, as exact as the page's."""
    for weight in network.parameters():
        weight.data.mul_(2).copy_(weight.data.bfloat16())
    return network


def write_page(folder, rows, D=None):
    """Write the page of Generators and, if there is a ``D``, of a run's last.pt with it."""
    last = D and {"options": SMALL, "D": D.state_dict(), "real_images": first_images(100)}
    z, path = sample_z([*rows.values()][-1], 25, 0), folder / "page.html"
    path.write_text(fill_page(rows, z, folder, last), encoding="utf-8")
    return path, z


@pytest.fixture(scope="module")
def run(tmp_path_factory, open_page):
    torch.manual_seed(0)
    D, *generators = map(sharpened, [Discriminator(**SMALL), *[Generator(**SMALL) for _ in TITLES]])
    generators[0].linear3.weight.data.zero_()  # the same image for every z
    rows = dict(zip(["0", "1", "3", "1-3"], generators, strict=True))
    path, z = write_page(tmp_path_factory.mktemp("page"), rows, D)
    return SimpleNamespace(path=path, page=open_page.open(path), G=generators, D=D, z=z)


@pytest.fixture
def page(run):
    """The page as it was when it was opened, on a laptop, with a clock that stands still."""
    run.page.set_viewport_size(LAPTOP)
    run.page.emulate_media(color_scheme="light", forced_colors="none")
    run.page.clock.install()
    run.page.reload()
    run.page.clock.pause_at(run.page.evaluate("Date.now()") + 1000)
    return run.page


def shown(page, selector):
    """What every canvas that ``selector`` finds shows: (N, 784, 4), red, green, blue, opacity."""
    program = """canvases => canvases.map(canvas => btoa(String.fromCharCode(
        ...canvas.getContext("2d").getImageData(0, 0, 28, 28).data)))"""
    data = [base64.b64decode(text) for text in page.eval_on_selector_all(selector, program)]
    return np.frombuffer(b"".join(data), np.uint8).reshape(-1, 784, 4).astype(float)


def differ(page, selector, images):
    """By how many gray levels, at most, canvases differ from ``images``, from -1 to 1."""
    return np.abs(shown(page, selector)[..., 0] - 127.5 * (1 - images.detach().numpy())).max()


def all_shown(page):
    """All that Back brings back, to compare."""
    canvases = shown(page, "#large, #samples canvas, #between canvas").tobytes()
    return canvases, page.input_value("#row"), page.get_attribute("#samples button", "aria-pressed")


def boxes(page, *selectors):
    """Left, top, width and height of each, in the window."""
    program = """all => all.map(one => document.querySelector(one).getBoundingClientRect())
        .map(box => [box.left, box.top, box.width, box.height])"""
    return page.evaluate(program, selectors)


def drag(page, selector, start, end, button="left"):
    """Drag over an element, from one share of its width and height to another."""
    page.locator(selector).scroll_into_view_if_needed()
    [[x, y, width, height]] = boxes(page, selector)
    page.mouse.move(x + start[0] * width, y + start[1] * height)
    page.mouse.down(button=button)
    page.mouse.move(x + end[0] * width, y + end[1] * height)
    page.mouse.up(button=button)


def picture(page, selector):
    return Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")


# ---- It is the same GAN ----


def test_images_scores_and_gradients_equal_torchs(page, run):
    page.press("#row", "Home")
    for title, G in zip(TITLES, run.G, strict=True):
        assert page.inner_text("#title") == page.get_attribute("#row", "aria-valuetext") == title
        fakes = G(run.z).detach().requires_grad_()
        scores = run.D(fakes)
        scores.log().sum().backward()
        assert max(differ(page, "#samples canvas", fakes), differ(page, "#large", fakes[0])) <= 1
        assert float(page.inner_text("#score")) == pytest.approx(scores[0].item(), abs=0.006)
        # The map: blue where ink raises the score, orange where it lowers it
        gradient = fakes.grad[0].numpy()
        strong = np.abs(gradient) > np.abs(gradient).max() / 2
        red, _, blue, opacity = shown(page, "#map")[0, strong].T
        assert ((blue > red) == (gradient[strong] > 0)).all()
        wish = np.abs(gradient[strong])
        assert opacity / opacity.max() == pytest.approx(wish / wish.max(), abs=0.02)
        # The two rows of dots
        real_scores = run.D(first_images(100) / 127.5 - 1)
        for row, row_scores in [("reals", real_scores), ("fakes", scores)]:
            dots = [float(x) for x in re.findall(r'cx="([^%]+)%', page.inner_html(f"#{row}"))]
            assert dots == pytest.approx((100 * row_scores).flatten().tolist(), abs=0.1)
            mean = float(page.inner_text(f"#{row}-mean"))
            assert mean == pytest.approx(row_scores.mean().item(), abs=0.006)
        page.press("#row", "ArrowRight")
    strip = run.G[-1](walk(run.z[0], run.z[1], steps=9))
    assert differ(page, "#between canvas", strip) <= 1
    page.click("#between > :nth-child(5)")
    assert differ(page, "#large", strip[4]) <= 1


@pytest.mark.parametrize("change", ["a slope in D", "an activation in G", "a layer in G"])
def test_changed_network_is_noticed(change, open_page, tmp_path, monkeypatch):
    D, G = sharpened(Discriminator(**SMALL)), sharpened(Generator(**SMALL))
    if change == "a slope in D":
        D.leaky_relu.negative_slope = 0.5
    elif change == "an activation in G":
        G.relu = nn.Tanh()
    else:
        G.linear3 = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 784))
    monkeypatch.setattr(MNIST_MLP_GAN_TEST, "Discriminator", lambda **_: D)
    page = open_page.open(write_page(tmp_path, {"1": G}, D)[0])
    assert "MNIST_MLP_GAN_NETWORK.py were changed" in page.inner_text("body")
    assert not page.is_visible("main")
    assert open_page.wrong.pop()


def test_without_d_the_rest_works_and_121_rows_have_few_marks(open_page, tmp_path):
    rows = {str(row): Generator(hidden_size=2) for row in range(121)}
    page = open_page.open(write_page(tmp_path, rows)[0])
    assert not re.search(r"\bD\b|Discriminator|score", page.inner_text("body"))
    assert page.inner_text("#title") == "epoch 120"
    assert page.locator("#marks span").count() <= 9
    before = all_shown(page)
    drag(page, "#large", (0.2, 0.5), (0.8, 0.5))
    assert all_shown(page) == before
    page.click("#new")
    assert all_shown(page) != before
    page.click("#back")
    assert all_shown(page) == before


# ---- You see what you change ----


def test_what_you_change_stays_in_view(page):
    page.click("summary")
    seen = ["#panel", "#large", "#score", "#map", "#fakes", "#back"]
    ends = [
        "#bars > :first-child",
        *[f"#{id} > :last-child" for id in ["bars", "samples", "between"]],
    ]
    controls = [*ends, "#new", "#walk", "#row", "#clear", "#noise", "#pixels", "#z"]
    for size in SIZES:
        page.set_viewport_size(size)
        for control in controls:
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.focus(control)  # scrolls no further than it must
            _, tops, _, heights = np.transpose(boxes(page, *seen, control))
            assert min(tops) >= 0
            assert max((tops + heights)[:-1]) <= size["height"] / 2
            assert tops[0] + heights[0] <= tops[-1] <= size["height"] - heights[-1]
        _, tops, _, heights = np.transpose(boxes(page, "#row", "#samples"))
        assert max(tops + heights) - min(tops) <= size["height"] - boxes(page, "#panel")[0][3]
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_follow_takes_30_steps_by_the_clock(page, run):
    G, D = run.G[-1], run.D

    def follow(x, make_images, steps):  # the README's
        for _ in range(steps):
            x = x.detach().requires_grad_()
            D(make_images(x)).log().sum().backward()
            x = x + 0.1 * x.grad / x.grad.norm(dim=1, keepdim=True)
        return make_images(x).detach()

    for name, start, make_images in [
        ("Change the pixels", G(run.z[:1]).detach(), lambda x: x.clamp(-1, 1)),
        ("Change z", run.z[:1], G),
    ]:
        button, before = page.get_by_role("button", name=name), all_shown(page)
        button.click()
        page.clock.run_for(1050)  # and a first frame
        assert button.get_attribute("aria-pressed") == "true"
        assert differ(page, "#large", follow(start, make_images, 15)) <= 9
        page.clock.fast_forward(4000)  # as if the lid had been closed
        page.clock.run_for(100)
        assert button.get_attribute("aria-pressed") == "false"
        assert differ(page, "#large", follow(start, make_images, 30)) <= 9
        button.click()
        page.clock.run_for(500)
        button.click()  # early
        stopped = all_shown(page)
        page.clock.run_for(1000)
        assert all_shown(page) == stopped
        page.click("#back")
        page.click("#back")
        assert all_shown(page) == before
    # The map has fainter colors where D wants less; D scores what you see
    page.click("#clear")
    strong = shown(page, "#map")[0, :, 3].max()
    for _ in range(3):
        page.click("#pixels")
        page.clock.run_for(2500)
    assert strong > shown(page, "#map")[0, :, 3].max() + 20
    seen = torch.tensor(1 - shown(page, "#large")[..., 0] / 127.5).float()
    assert float(page.inner_text("#score")) == pytest.approx(D(seen).item(), abs=0.02)


# ---- Nothing is lost ----


def test_back_undoes_one_press_after_the_other(page):
    page.click("summary")
    states = [all_shown(page)]
    assert page.get_attribute("#back", "aria-disabled") == "true"
    assert page.get_attribute("#back", "title") == "Nothing to undo"
    for press in [
        *[partial(page.click, f"#{id}") for id in ["clear", "noise", "new"]],
        partial(page.press, "#row", "ArrowLeft"),
        partial(page.press, "#bars > :nth-child(5)", "End"),
        partial(drag, page, "#bars > :nth-child(7)", (0.1, 0.5), (0.9, 0.5)),
        partial(page.click, "#samples > :nth-child(7)"),
        *[partial(page.click, f"#between > :nth-child({i})") for i in [5, 1, 9]],
        *[partial(drag, page, "#large", (0.2, 0.3), (0.8, y)) for y in [0.3, 0.6]],
        partial(page.click, "#pixels"),
        partial(page.click, "#walk"),
    ]:
        press()
        page.clock.run_for(300)
        states.append(all_shown(page))
    assert len({*states}) == len(states)
    for state in [*states[-2::-1], states[0]]:
        page.click("#back", force=True)
        assert all_shown(page) == state


def test_only_a_stroke_draws_and_the_slider_keeps_it(page):
    before = all_shown(page)
    drag(page, "#large", (1.2, 0.5), (0.5, 0.5))  # begins on the map
    drag(page, "#large", (0.2, 0.5), (0.5, 0.5), button="right")
    assert all_shown(page) == before
    page.click("#clear")
    drag(page, "#large", (0.25, 0.5), (0.75, 0.5))
    ink = shown(page, "#large")[0, :, 0].reshape(28, 28) < 128
    assert np.flatnonzero(ink[:, 14]).tolist() == [12, 13, 14, 15]
    assert np.flatnonzero(ink.any(axis=0)).tolist() == [*range(5, 23)]
    stroke = shown(page, "#large")
    page.press("#row", "Home")
    button = page.get_by_role("button", name="Change z")
    assert button.get_attribute("aria-disabled") == "true"
    assert "no z" in page.inner_text(f"#{button.get_attribute('aria-describedby')}")
    button.click(force=True)
    page.clock.run_for(1000)
    assert (shown(page, "#large") == stroke).all()


def test_the_keyboard_draws_where_the_pen_is(page):
    page.click("#clear")
    before = all_shown(page)
    for key in ["ArrowRight", "Space", "ArrowDown"]:
        page.press("#large", key)
    ink = np.flatnonzero(shown(page, "#large")[0, :, 0] < 50)
    assert ink.mean() == pytest.approx(14 * 28 + 15, abs=1)
    (x, y, width, height), (left, top, size, _) = boxes(page, "#pen", "#large")
    places = [(x + width / 2 - left) * 28 // size, (y + height / 2 - top) * 28 // size]
    assert places == [15, 15]
    page.keyboard.press("Tab")
    assert not page.is_visible("#pen")
    page.click("#back")
    assert all_shown(page) == before


def test_a_finger_that_scrolls_changes_nothing(page):
    page.set_viewport_size(PHONE)
    page.click("summary")
    page.clock.resume()
    session = page.context.new_cdp_session(page)
    rest = "() => new Promise(ok => { const y = scrollY; setTimeout(() => ok(y == scrollY), 100) })"

    def swipe(selector):
        """Swipe up; return by how much that scrolled."""
        page.focus(selector)
        before, [[left, top, width, height]] = page.evaluate("scrollY"), boxes(page, selector)
        for move in range(5):
            kind = "touchMove" if move else "touchStart"
            points = [{"x": left + width / 4, "y": top + height * 0.9 - 20 * move}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_function(rest)
        return page.evaluate("scrollY") - before

    before = all_shown(page)
    assert swipe("#large") == 0
    assert all_shown(page) != before  # it drew
    page.click("#walk")
    for control in ["#row", "#bars > :nth-child(55)"]:
        assert swipe(control) > 0
        assert page.input_value("#row") == before[1]
        assert page.get_attribute("#walk", "aria-pressed") == "true"
    for _ in range(2):
        page.click("#back")
    assert all_shown(page) == before


# ---- The game ----


def test_game_counts_for_each_epoch_and_moves_nothing(page, run):
    real_images = first_images(100).numpy()
    yours, ds, places = 0, 0, set()
    for number in range(1, 10):
        page.set_viewport_size(SIZES[number % 4])
        images = 255 - shown(page, "#pair canvas")[..., 0]
        distances = [np.abs(real_images - image).max(axis=1).min() for image in images]
        real = int(np.argmin(distances))
        places.add(real)
        assert distances[real] <= 1 < distances[1 - real]
        scores = run.D(torch.tensor(images / 127.5 - 1).float()).flatten().tolist()
        you = real if number % 3 else 1 - real
        layout = "[next.getBoundingClientRect().y + scrollY, document.body.scrollHeight]"
        before = page.evaluate(layout)
        page.click(f"#pair button >> nth={you}")
        page.click("#pair button >> nth=0")  # which counts no more
        assert page.evaluate(layout) == before
        opacity = "all => all.map(one => getComputedStyle(one).opacity)"
        opacities = page.eval_on_selector_all("#pair canvas", opacity)
        assert opacities[real] == "1" > opacities[1 - real]  # the fake one fades
        yours, ds = yours + (you == real), ds + (scores[real] > scores[1 - real])
        answer = page.inner_text("#answer")
        assert answer.startswith(f"{'Yes' if you == real else 'No'}, the {['left', 'right'][real]}")
        assert f"you {yours} of {number}, D {ds} of {number}." in answer
        given = [float(score) for score in re.findall(r"[01]\.\d\d", answer)]
        assert given == pytest.approx(scores, abs=0.011)
        page.click("#next")
    assert places == {0, 1}
    for title, count in [(TITLES[0], 1), (TITLES[-1], 10)]:
        page.select_option("#rival", title)
        images = 127.5 * (1 - run.G[0](run.z[:1]).detach().numpy())
        errors = np.abs(shown(page, "#pair canvas")[..., 0] - images).max(axis=1)
        assert (errors.min() <= 1) == (title == TITLES[0])  # it is this epoch's
        page.click("#pair button >> nth=0")
        assert f"of {count}." in page.inner_text("#answer")


# ---- Everyone can use it ----


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_targets_are_large(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    page.clock.resume()
    page.click("summary")
    page.click("#clear")
    assert axe.run(page).response["violations"] == []
    sizes = "all => all.map(o => [o.offsetWidth, o.offsetHeight])"
    assert np.min(page.eval_on_selector_all("button, select, input", sizes)) >= 24
    columns = page.eval_on_selector_all("#bars input", "all => all.map(o => o.offsetLeft)")
    assert len({*columns}) == 10
    # Light ink on dark paper in dark mode
    assert (picture(page, "#large").getpixel((60, 60))[0] > 128) == (scheme == "light")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_forced_colors_keep_every_distinction(page):
    page.emulate_media(forced_colors="active")
    page.click("#walk")
    for what, here, there in [
        ("what moves", ("#walk", 0.08, 0.5), ("#new", 0.08, 0.5)),
        (
            "the chosen tile",
            ("#samples > :first-child", 0.02, 0.5),
            ("#samples > :nth-child(2)", 0.02, 0.5),
        ),
        (
            "the strip's ends",
            ("#between > :first-child", 0.02, 0.5),
            ("#between > :nth-child(2)", 0.02, 0.5),
        ),
        ("the map's colors", ("#more", 0.5, 0.5), ("#less", 0.5, 0.5)),
        ("the slider's track", ("#row", 0.4, 0.5), ("#row", 0.4, 0.05)),
        ("the mark at 0.5", ("#gauge", 0.5, 0.05), ("#gauge", 0.4, 0.05)),
    ]:
        colors = []
        for selector, x, y in [here, there]:
            image = picture(page, selector)
            colors.append(image.getpixel((int(x * image.width), int(y * image.height))))
        assert colors[0] != colors[1], what
    image = picture(page, "#walk")
    word = image.crop((20, 12, image.width - 20, image.height - 12))
    assert len(word.getcolors()) > 5  # and no block of one color


def test_each_thing_is_said_once_and_in_the_readmes_order(page):
    headings = ["Play with your GAN", "Be the Discriminator", "Watch it learn", "Be the Generator"]
    headings += ["Follow the gradient", "Drag one number of z", "From one digit to another"]
    assert page.locator("h1, h2").all_inner_texts() == headings
    assert not page.is_visible("#notice")
    assert page.locator("#marks span").all_inner_texts() == ["0", "1", "3", "mean"]
    page.clock.run_for(1000)
    tree = page.locator("body").aria_snapshot()
    for once in [f"D says {page.inner_text('#score')}", "Draw here, or use arrows"]:
        assert tree.count(once) == 1
    page.click("#pixels")
    page.clock.run_for(1500)  # while it moves, nothing is read
    assert page.inner_text("#heard") != page.inner_text("#says")
    page.clock.run_for(2000)
    assert page.inner_text("#heard") == page.inner_text("#says")


def test_without_scripts_one_sentence_says_what_to_do(run, open_page):
    page = open_page.open(run.path, java_script_enabled=False)
    assert "open it in a browser" in page.inner_text("body")
    assert not page.is_visible("main")
