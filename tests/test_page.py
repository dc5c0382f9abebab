"""The page to play with, in a real browser: what it shows, what each control does."""

import base64
import io
import os
import re
import shutil
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

TITLES = ["epoch 0", "epoch 1", "epoch 3", "epochs 1-3, mean of 3 networks"]
LAPTOP, PHONE, LANDSCAPE = [
    {"width": width, "height": height} for width, height in [(1366, 640), (390, 664), (664, 390)]
]
# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def open_page():
    """Open a page; each request to elsewhere, and each error that it reports, is an error."""
    paths = [*filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))]
    if not paths and not os.environ.get("CI"):  # the checks install it
        pytest.skip("no Chromium on this machine: the page is not tested")
    playwright = pytest.importorskip("playwright.sync_api")
    wrong = []

    def open_it(path, **options):
        page = browser.new_page(has_touch=True, **options)
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


def last_of(D):
    """What TRAIN would save of a run of three epochs with this ``D``."""
    history = [[epoch, 1.0, 1.0, 0.5, 0.5] for epoch in [1, 2, 3]]
    options = {"hidden_size": 256}
    real_images = first_images(100)
    return {"options": options, "D": D.state_dict(), "history": history, "real_images": real_images}


@pytest.fixture(scope="module")
def run(tmp_path_factory, open_page):
    """Networks with weights so large that every z and every image makes a difference; a page."""
    torch.manual_seed(0)
    D, generators = Discriminator(), [Generator() for _ in range(4)]
    for network in [D, *generators]:
        for weight in network.parameters():
            weight.data.mul_(2).copy_(weight.data.bfloat16())  # as exact as the page has it
    path = tmp_path_factory.mktemp("page") / "page.html"
    rows, z = (
        dict(zip(["0", "1", "3", "1-3"], generators, strict=True)),
        sample_z(generators[0], 25, 0),
    )
    path.write_text(fill_page(rows, z, path.parent, last_of(D)), encoding="utf-8")
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


def shown(page, selector="#samples canvas"):
    """What every canvas that ``selector`` finds shows: (N, 784, 4), red, green, blue, opacity."""
    program = """canvases => canvases.map(canvas => btoa(String.fromCharCode(
        ...canvas.getContext("2d").getImageData(0, 0, 28, 28).data)))"""
    data = [base64.b64decode(text) for text in page.eval_on_selector_all(selector, program)]
    return np.frombuffer(b"".join(data), np.uint8).reshape(-1, 784, 4).astype(float)


def differ(page, selector, images):
    """By how many gray levels, at most, canvases differ from ``images``, from -1 to 1."""
    grays = shown(page, selector)[..., 0] - 127.5 * (1 - images.detach().numpy().reshape(-1, 784))
    return np.abs(grays).max()


def all_shown(page):
    """All that Back brings back, as texts that one can compare."""
    canvases = shown(page, "#large, #samples canvas, #between canvas").tobytes()
    return canvases, page.input_value("#row"), page.get_attribute("#samples button", "aria-pressed")


def score(page):
    return float(page.inner_text("#score"))


def pixel(page, selector, x, y):
    """The color that the screen shows in an element, at shares of its width and height."""
    picture = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")
    return np.array(picture.getpixel((int(x * picture.width), int(y * picture.height))), float)


def drag(page, selector, start, end, button="left"):
    """Drag over an element, from one share of its width and height to another."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    for step, (x, y) in enumerate([start, end]):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        if step == 0:
            page.mouse.down(button=button)
    page.mouse.up(button=button)


# ---- It is the same GAN ----


def test_images_scores_and_gradients_equal_torchs(page, run):
    page.press("#row", "Home")
    for title, G in zip(TITLES, run.G, strict=True):
        assert page.inner_text("#title") == page.get_attribute("#row", "aria-valuetext") == title
        fakes = G(run.z).detach().requires_grad_()
        scores = run.D(fakes)
        scores.log().sum().backward()
        assert differ(page, "#samples canvas", fakes) <= 1
        assert differ(page, "#large", fakes[0]) <= 1
        assert score(page) == pytest.approx(scores[0].item(), abs=0.006)
        assert float(page.inner_text("#fakes-mean")) == pytest.approx(
            scores.mean().item(), abs=0.006
        )
        # The map: blue where ink raises the score, orange where it lowers it
        gradient = fakes.grad[0].numpy()
        strong = np.abs(gradient) > np.abs(gradient).max() / 2
        red, _, blue, opacity = shown(page, "#map")[0, strong].T
        assert ((blue > red) == (gradient[strong] > 0)).all()
        assert opacity.argmax() == np.abs(gradient[strong]).argmax()
        page.press("#row", "ArrowRight")
    strip = run.G[-1](walk(run.z[0], run.z[1], steps=9))
    assert differ(page, "#between canvas", strip) <= 1
    page.click("#between button:nth-child(5)")
    assert differ(page, "#large", strip[4]) <= 1


def test_both_rows_of_dots_are_ds_scores(page, run):
    real = run.D(first_images(100) / 127.5 - 1).flatten()
    for row, scores in [("reals", real), ("fakes", run.D(run.G[-1](run.z)).flatten())]:
        dots = page.eval_on_selector_all(
            f"#{row} circle",
            """(dots) => dots.map((dot) => { const box = dot.parentNode.getBoundingClientRect();
            const own = dot.getBoundingClientRect();
            return (own.x + own.width / 2 - box.x) / box.width; })""",
        )
        assert dots == pytest.approx(scores.tolist(), abs=0.01)
        assert float(page.inner_text(f"#{row}-mean")) == pytest.approx(
            scores.mean().item(), abs=0.006
        )


def changed_networks():
    """Networks as a learner may change them."""
    leaky, deeper, renamed = Discriminator(), Generator(), Generator()
    leaky.leaky_relu = nn.LeakyReLU(0.5)
    deeper.linear3 = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 784))
    renamed.tanh = nn.Hardtanh()
    for weight in [*leaky.parameters(), *renamed.parameters()]:
        weight.data.mul_(3)
    return {"D": (Generator(), leaky), "deeper": (deeper, None), "G": (renamed, None)}


@pytest.mark.parametrize("change", ["D", "deeper", "G"])
def test_changed_network_is_noticed(change, open_page, tmp_path, monkeypatch):
    G, D = changed_networks()[change]
    monkeypatch.setattr(MNIST_MLP_GAN_TEST, "Discriminator", lambda **_: D)
    path = tmp_path / "page.html"
    text = fill_page({"1": G}, sample_z(G, 25, 0), tmp_path, D and last_of(D))
    path.write_text(text, encoding="utf-8")
    page = open_page.open(path)
    assert "MNIST_MLP_GAN_NETWORK.py were changed" in page.inner_text("body")
    assert not page.is_visible("main")
    assert "MNIST_MLP_GAN_NETWORK.py" in open_page.wrong.pop()


def test_without_d_the_rest_works_and_121_rows_have_few_marks(open_page, tmp_path):
    G, path = Generator(hidden_size=2), tmp_path / "page.html"
    text = fill_page({str(row): G for row in range(121)}, sample_z(G, 25, 0), tmp_path, None)
    path.write_text(text, encoding="utf-8")
    page = open_page.open(path)
    assert not re.search(r"\bD\b|Discriminator|score", page.inner_text("body"))
    assert page.inner_text("#title") == "epoch 120"
    assert page.locator("#marks span").all_inner_texts()[-1] == "120"
    assert page.locator("#marks span").count() <= 9
    before = all_shown(page)
    page.mouse.click(*center(page, "#large"))
    assert all_shown(page) == before
    page.click("#new")
    assert all_shown(page) != before
    page.click("#back")
    assert all_shown(page) == before


# ---- You see what you change ----


def center(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("size", [LAPTOP, PHONE, LANDSCAPE])
def test_what_you_change_stays_in_view(page, size):
    page.set_viewport_size(size)
    page.click("summary")
    controls = [
        "#new",
        "#walk",
        "#row",
        "#clear",
        "#noise",
        "#pixels",
        "#z",
        "#bars input >> nth=0",
    ]
    controls += ["#bars input >> nth=99", "#samples button >> nth=24", "#between button >> nth=8"]
    for control in controls:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.focus("#next")
        page.focus(control)  # scrolls as little as it takes
        panel = page.locator("#panel").bounding_box()
        assert panel["height"] <= size["height"] / 2
        for seen in ["#large", "#score", "#map", "#back"]:
            box = page.locator(seen).bounding_box()
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= size["height"] / 2
        box = page.locator(control).bounding_box()
        assert panel["y"] + panel["height"] <= box["y"]
        assert box["y"] + box["height"] <= size["height"]
    slider, tiles = (page.locator(one).bounding_box() for one in ["#row", "#samples"])
    top = min(slider["y"], tiles["y"])
    bottom = max(box["y"] + box["height"] for box in [slider, tiles])
    assert bottom - top <= size["height"] - panel["height"]
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
        button, before, first = page.get_by_role("button", name=name), all_shown(page), score(page)
        button.click()
        page.clock.run_for(1050)  # and a first frame
        assert button.get_attribute("aria-pressed") == "true"
        assert differ(page, "#large", follow(start, make_images, 15)) <= 9
        page.clock.run_for(4000)
        assert button.get_attribute("aria-pressed") == "false"
        assert differ(page, "#large", follow(start, make_images, 30)) <= 9
        assert score(page) > first
        button.click()
        page.clock.run_for(500)
        button.click()  # early
        stopped = all_shown(page)
        page.clock.run_for(1000)
        assert all_shown(page) == stopped
        page.click("#back")
        page.click("#back")
        assert all_shown(page) == before


def test_a_weak_wish_has_faint_colors(page):
    strong = shown(page, "#map")[0, :, 3].max()
    for _ in range(3):
        page.click("#pixels")
        page.clock.run_for(2500)
    assert strong > shown(page, "#map")[0, :, 3].max() + 20


# ---- Nothing is lost ----


def test_back_undoes_one_press_after_the_other(page):
    page.click("summary")
    bar = page.get_by_role("slider", name="z 5", exact=True)
    drags = [
        lambda: drag(page, "#large", (0.2, 0.3), (0.8, 0.6)),
        lambda: drag(page, "#large", (0.5, 0.5), (0.5, 0.5)),
    ]
    presses = [lambda id=id: page.click(f"#{id}") for id in ["clear", "noise", "new"]]
    presses += [
        lambda: drag(page, "#bars input >> nth=7", (0.1, 0.5), (0.9, 0.5)),
        lambda: bar.press("End"),
    ]
    presses += [lambda: page.press("#row", "Home"), lambda: page.click("#samples button >> nth=7")]
    presses += [lambda i=i: page.click(f"#between button >> nth={i}") for i in [4, 0, 8]]
    states = [all_shown(page)]
    assert page.get_attribute("#back", "aria-disabled") == "true"
    assert page.get_attribute("#back", "title") == "Nothing to undo"
    for press in [*presses, *drags]:
        press()
        states.append(all_shown(page))
    for id in ["pixels", "walk"]:
        page.click(f"#{id}")
        page.clock.run_for(300)
        states.append(all_shown(page))
    assert len({*map(str, states)}) == len(states)
    for state in states[-2::-1]:
        page.click("#back")
        assert all_shown(page) == state
    page.click("#back", force=True)  # once more
    assert all_shown(page) == states[0]


def test_only_a_stroke_draws_and_the_slider_keeps_it(page):
    before = all_shown(page)
    drag(page, "#large", (1.2, 0.5), (0.5, 0.5))  # begins on the map
    drag(page, "#large", (0.2, 0.5), (0.5, 0.5), button="right")
    page.mouse.move(*center(page, "#large"))
    assert all_shown(page) == before
    page.click("#clear")
    drag(page, "#large", (0.25, 0.5), (0.75, 0.5))
    ink = shown(page, "#large")[0, :, 0].reshape(28, 28) < 128
    assert np.flatnonzero(ink[:, 14]).tolist() == [12, 13, 14, 15]
    assert np.flatnonzero(ink.any(axis=0)).tolist() == [*range(5, 23)]
    assert np.flatnonzero(ink.any(axis=1)).mean() == pytest.approx(13.5, abs=0.6)
    stroke = shown(page, "#large")
    page.press("#row", "Home")
    assert (shown(page, "#large") == stroke).all()
    button = page.get_by_role("button", name="Change z")
    assert button.get_attribute("aria-disabled") == "true"
    why = page.locator(f"#{button.get_attribute('aria-describedby')}")
    assert why.is_visible()
    assert "no z" in why.inner_text()
    button.click(force=True)
    page.clock.run_for(1000)
    assert (shown(page, "#large") == stroke).all()


def test_the_keyboard_draws_where_the_pen_is(page):
    page.click("#clear")
    page.focus("#large")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert page.locator("#pen").is_visible()
    page.keyboard.press("ArrowDown")
    ink = np.flatnonzero(shown(page, "#large")[0, :, 0] < 50)
    assert ink.mean() == pytest.approx(14 * 28 + 15, abs=1)
    x, y = center(page, "#pen")
    box = page.locator("#large").bounding_box()
    assert [(x - box["x"]) * 28 // box["width"], (y - box["y"]) * 28 // box["height"]] == [15, 15]
    page.keyboard.press("Tab")
    assert not page.locator("#pen").is_visible()
    assert "arrow keys" in page.get_by_role("application").evaluate(
        "o => o.ariaLabelledByElements[0].innerText"
    )


def test_scrolling_by_touch_changes_nothing(page):
    page.set_viewport_size(PHONE)
    page.click("summary")
    page.clock.resume()
    page.click("#walk")
    session = page.context.new_cdp_session(page)
    for place in ["#bars input >> nth=55", "#row", "#large"]:
        page.evaluate("scrollTo(0, 0)")
        page.focus(place)
        top, large, depth = (
            page.evaluate("scrollY"),
            shown(page, "#large"),
            page.input_value("#row"),
        )
        box = page.locator(place).bounding_box()
        for move, kind in enumerate(["touchStart", *["touchMove"] * 9, "touchEnd"]):
            x, y = box["x"] + box["width"] / 4, box["y"] + box["height"] * 0.9 - 10 * move
            points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        draws = place == "#large"
        page.wait_for_function(f"(scrollY != {top}) != {str(draws).lower()}")
        if draws:
            assert (shown(page, "#large") != large).any()
        assert page.input_value("#row") == depth
        assert (page.get_attribute("#walk", "aria-pressed") == "true") != draws


# ---- The game ----


@pytest.mark.parametrize("size", [LAPTOP, PHONE, LANDSCAPE])
def test_game_counts_for_each_epoch_and_moves_nothing(page, run, size):
    page.set_viewport_size(size)
    real_images = first_images(100).numpy()
    yours, ds, places = 0, 0, set()
    for number in range(1, 9):
        images = 255 - shown(page, "#pair canvas")[..., 0]
        distances = [np.abs(real_images - image).max(axis=1).min() for image in images]
        real = int(np.argmin(distances))
        assert distances[real] <= 1 < distances[1 - real]
        scores = run.D(torch.tensor(images / 127.5 - 1).float()).flatten().tolist()
        you = real if number % 3 else 1 - real
        places.add(real)
        layout = "[next.getBoundingClientRect().y + scrollY, document.body.scrollHeight]"
        before = page.evaluate(layout)
        page.click(f"#pair button >> nth={you}")
        page.click("#pair button >> nth=0")  # which counts no more
        assert page.evaluate(layout) == before
        yours, ds = yours + (you == real), ds + (scores[real] > scores[1 - real])
        answer = page.inner_text("#answer")
        assert answer.startswith(f"{'Yes' if you == real else 'No'}, the {['left', 'right'][real]}")
        assert f"You: {yours} of {number}. D: {ds} of {number}." in answer
        given = [float(text) for text in re.findall(r"[01]\.\d\d", answer)]
        assert given == pytest.approx(scores, abs=0.011)
        page.click("#next")
    assert places == {0, 1}
    page.select_option("#rival", "epoch 1")
    page.click("#pair button >> nth=0")
    assert "of 1." in page.inner_text("#answer")
    page.select_option("#rival", TITLES[-1])
    page.click("#pair button >> nth=0")
    assert "of 9." in page.inner_text("#answer")


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
    assert (
        len({*page.eval_on_selector_all("#bars input", "all => all.map(o => o.offsetLeft)")}) == 10
    )
    # Light ink on dark paper in dark mode, in tiles as in the large image
    assert (pixel(page, "#large", 0.5, 0.1).mean() > 128) == (scheme == "light")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_forced_colors_keep_every_distinction(page):
    page.emulate_media(forced_colors="active")
    page.click("#pair button >> nth=0")
    page.click("#walk")
    colors = "all => all.map(o => getComputedStyle(o).borderTopColor)"
    for tiles in ["#samples button", "#pair button", "#between button"]:
        assert len({*page.eval_on_selector_all(tiles, colors)}) == 2
    color = "all => all.map(o => getComputedStyle(o).color)"
    assert len({*page.eval_on_selector_all("#more, #less", color)}) == 2
    ground = "all => all.map(o => getComputedStyle(o).backgroundColor)"
    assert len({*page.eval_on_selector_all("#new, #walk", ground)}) == 2
    page.click("summary")
    assert np.abs(pixel(page, "#row", 0.5, 0.5) - pixel(page, "#row", 0.5, 0.1)).max() > 50
    assert np.abs(pixel(page, "#gauge", 0.5, 0.1) - pixel(page, "#gauge", 0.9, 0.1)).max() > 50


def test_each_thing_is_said_once(page):
    headings = ["Play with your GAN", "Be the Discriminator", "Watch it learn", "Be the Generator"]
    headings += ["Follow the gradient", "Drag one number of z", "From one digit to another"]
    assert page.locator("h1, h2").all_inner_texts() == headings
    assert page.locator("#marks span").all_inner_texts() == ["0", "1", "3", "1-3"]
    page.clock.run_for(1000)
    tree = page.locator("body").aria_snapshot()
    for once in [f"D says {page.inner_text('#score')}", "draw here"]:
        assert tree.lower().count(once.lower()) == 1
    assert page.locator("#heard").inner_text() == page.inner_text("#says")
    page.click("#pixels")
    page.clock.run_for(1500)  # not while it moves
    assert page.inner_text("#heard") != page.inner_text("#says")


def test_without_scripts_one_sentence_says_what_to_do(run, open_page):
    page = open_page.open(run.path, java_script_enabled=False)
    assert "open it in a browser" in page.inner_text("body")
    assert not page.is_visible("main")
