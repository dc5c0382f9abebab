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
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, sample_z
from MNIST_MLP_GAN_TEST import fill_page, walk

SMALL = {"hidden_size": 64}  # networks, for a page that opens fast
TITLES = ["after epoch 0", "after epoch 1", "after epoch 3", "mean of epochs 1-3 (2 networks)"]
LAPTOP, PHONE = {"width": 1366, "height": 640}, {"width": 390, "height": 664}
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

    def open_it(rows, D=None, checksum=MNIST_MLP_GAN_TEST.MNIST, **options):
        last = {"real_images": first_images(100), "checksum": checksum}
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text(fill_page(rows, [0, 1, 3], Z, D, last), encoding="utf-8")
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
    """All that Undo brings back, to compare."""
    canvases = shown(page, "#large, #tiles canvas, #between canvas, #copies canvas").tobytes()
    return canvases, page.input_value("#row"), page.input_value("#bars > :nth-child(5)")


def z_shown(page):
    """The image's z, as its bars show it: in steps of 0.1, from -3 to 3."""
    return np.array(page.eval_on_selector_all("#bars input", "all => all.map(bar => +bar.value)"))


def chosen(page):
    """How many images to press are marked as the one that is shown large."""
    return page.locator(".tiles [aria-pressed=true]").count()


def places(page, selector):
    """Where the dots, the mark or the lines of a row of the chart are, from 0 to 100."""
    return [float(x) for x in re.findall(r' (?:cx|x)="([^%]+)%', page.inner_html(selector))]


def drag(page, selector, start, end, button="left"):
    """Drag over an element, from one share of its width and height to another."""
    page.locator(selector).scroll_into_view_if_needed()
    x, y, width, height = page.locator(selector).bounding_box().values()
    page.mouse.move(x + start[0] * width, y + start[1] * height)
    page.mouse.down(button=button)
    page.mouse.move(x + end[0] * width, y + end[1] * height)
    page.mouse.up(button=button)


def ink(page):
    """Where the large image has ink: (28, 28) bool."""
    return shown(page, "#large")[0, :, 0].reshape(28, 28) < 128


def test_images_scores_and_gradients_equal_torchs(page, run):
    assert page.locator("#marks span").all_inner_texts() == ["0", "1", "3", "mean"]
    rivals = page.locator("#rival option").all_inner_texts()
    assert rivals == [*TITLES[:3], "mean of epochs 1-3"]
    real_scores = run.D(first_images(100) / 127.5 - 1)
    page.press("#row", "Home")
    for title, G in zip(TITLES, run.G, strict=True):
        assert page.inner_text("#title") == page.get_attribute("#row", "aria-valuetext") == title
        fakes = G(Z).detach().requires_grad_()
        scores = run.D(fakes)
        assert max(differ(page, "#tiles canvas", fakes), differ(page, "#large", fakes[0])) <= 1
        numbers = [float(number) for number in page.locator("#chart b").all_inner_texts()]
        means = [scores[0].item(), real_scores.mean().item(), scores.mean().item()]
        assert numbers == pytest.approx(means, abs=0.006)
        expected = 100 * torch.cat([scores[:1], real_scores, scores]).flatten()
        found = [*places(page, "#mark"), *places(page, "#reals"), *places(page, "#fakes")]
        assert found == pytest.approx(expected.tolist(), abs=0.1)
        lower = int((real_scores < scores[0]).sum())
        sentence = f"This fake: {scores[0].item():.2f}. {lower} of the 100 real images score lower."
        assert page.inner_text("#says") == sentence
        # The map: purple where ink raises the score, orange where it lowers it
        scores.log().sum().backward()
        gradient = fakes.grad[0].numpy()
        red, _, blue, opacity = shown(page, "#map")[0].T
        wish = np.where(blue > red, opacity, -opacity) / opacity.max()
        wish[opacity < 4] = 0  # too faint for a color
        assert wish == pytest.approx(gradient / np.abs(gradient).max(), abs=0.05)
        page.press("#row", "ArrowRight")
    strip = run.G[-1](walk(Z[0], Z[1], steps=9))
    assert differ(page, "#between canvas", strip) <= 1
    page.click("#between > :nth-child(5)")
    assert (differ(page, "#large", strip[4]) <= 1, chosen(page)) == (True, 2)  # and the start
    page.click("#tiles > :last-child")
    assert (differ(page, "#large", fakes[-1]) <= 1, chosen(page)) == (True, 2)


@pytest.mark.parametrize(
    ("network", "layer", "change"),
    [("D", "leaky_relu", nn.ReLU()), ("G", "relu", nn.Tanh()), ("G", "linear2", nn.Identity())],
)
def test_changed_network_is_noticed(network, layer, change, open_page):
    networks = {"D": Discriminator(**SMALL), "G": Generator(**SMALL)}
    setattr(networks[network], layer, change)
    page = open_page.open({"1": networks["G"]}, networks["D"])
    assert "MNIST_MLP_GAN_NETWORK.py were changed" in page.inner_text("body")
    assert open_page.wrong.pop()


def test_without_d_it_works_and_121_rows_have_few_marks(open_page):
    page = open_page.open({str(row): Generator(hidden_size=2) for row in range(121)})
    assert not re.search(r"\bD\b|Discriminator|score|digit|JavaScript", page.inner_text("body"))
    assert page.locator("#marks span").count() <= 10
    page.click("#tiles > :last-child")
    assert page.locator("#tiles > :last-child").get_attribute("aria-pressed") == "true"


def test_a_run_on_other_images_is_not_told_of_digits(open_page, page):
    assert "MNIST" in page.inner_text("body")
    page = open_page.open({"1": Generator(**SMALL)}, Discriminator(**SMALL), checksum="others")
    assert not re.search(r"MNIST|digit", page.inner_text("body"))
    assert "real images" in page.inner_text("body")


def test_without_scripts_one_sentence_says_what_to_do(open_page):
    page = open_page.open({"0": Generator()}, java_script_enabled=False)
    assert "open it in a browser" in page.inner_text("body")


def test_play_goes_through_all_stops_in_five_seconds_and_ends(page, run):
    page.clock.run_for(20_000)  # nothing moves before one presses it
    assert page.inner_text("#title") == TITLES[-1]
    page.click("#tiles > :nth-child(3)")
    before, reals = all_shown(page), places(page, "#reals")
    page.click("#play")
    for milliseconds, row in [(200, 0), (1300, 0), (500, 1), (2800, 2), (400, 3), (9000, 3)]:
        page.clock.run_for(milliseconds)
        assert page.inner_text("#title") == TITLES[row]
        assert page.inner_text("#play") == ("Play" if row == 3 else "Stop")
        fakes = run.G[row](Z)
        assert max(differ(page, "#tiles canvas", fakes), differ(page, "#large", fakes[2])) <= 1
        scores = 100 * run.D(fakes).flatten()
        assert places(page, "#fakes") == pytest.approx(scores.tolist(), abs=0.1)
        assert places(page, "#mark") == pytest.approx([scores[2].item()], abs=0.1)
        assert places(page, "#reals") == reals
    page.click("#play")
    page.clock.run_for(2000)
    page.press("#row", "End")  # stops it
    page.clock.run_for(9000)
    assert page.inner_text("#title") == TITLES[-1]
    page.click("#undo")
    page.click("#undo")
    assert all_shown(page) == before


def test_new_z_is_normal_and_a_walk_goes_from_z_to_z_on_an_arc(page):
    drawn = []
    for _ in range(9):
        page.click("#new")
        drawn.append(z_shown(page))
    numbers = np.stack(drawn)
    assert abs(numbers.mean()) < 0.1
    assert np.abs(numbers.std(axis=1) - 1).max() < 0.3
    assert 0.02 < (np.abs(numbers) > 2).mean() < 0.08
    start, end, angle = z_shown(page), None, np.pi / 8
    page.click("#walk")
    page.clock.run_for(100)
    for second in range(1, 9):
        page.clock.run_for(900)
        before = z_shown(page)
        page.clock.run_for(100)
        after = z_shown(page)
        assert np.abs(after - before).max() < 0.3  # no jump
        if second == 4:
            end = after
        origin = start if second <= 4 else end
        along = np.cos(angle * (second if second <= 4 else second - 4))
        assert np.corrcoef(origin, after)[0, 1] == pytest.approx(along, abs=0.3)
    page.click("#bars > :nth-child(50)")  # stops it
    stopped = z_shown(page)
    page.clock.run_for(1000)
    assert (z_shown(page) == stopped).all()


def test_a_drawing_is_ones_own_and_is_measured_with_the_real_images(page, run):
    fake = all_shown(page)
    drag(page, "#large", (0.25, 0.5), (0.75, 0.5))  # not over the fake
    rows, columns = np.nonzero(ink(page))
    assert (min(rows), max(rows), min(columns), max(columns)) == (12, 15, 5, 22)
    assert page.inner_text("#kind") == "Your drawing"
    seen = torch.tensor(1 - shown(page, "#large")[..., 0] / 127.5).float()
    score = run.D(seen).item()
    lower = int((run.D(first_images(100) / 127.5 - 1) < score).sum())
    expected = f"Your drawing: {score:.2f}. {lower} of the 100 real images score lower."
    assert page.inner_text("#says") == expected
    assert places(page, "#mark") == pytest.approx([100 * score], abs=0.1)
    assert chosen(page) == 1  # as the start of 30 steps, and nowhere else
    drawn = shown(page, "#large")
    page.press("#row", "Home")  # it stays, whatever G
    assert (shown(page, "#large") == drawn).all()
    drag(page, "#large", (0.5, 0.2), (0.5, 0.8))  # a second stroke goes on
    assert ink(page).sum() > (drawn[..., 0] < 128).sum() + 20
    for _ in range(3):
        page.click("#undo")
    assert all_shown(page) == fake

    page.click("#draw")
    blank = run.D(-torch.ones(784)).item()
    assert page.inner_text("#says").startswith(f"A blank image: {blank:.2f}.")
    assert "no blank images" in page.inner_text("#blank")
    page.keyboard.press("Control+z")
    assert (all_shown(page), page.inner_text("#blank")) == (fake, "")
    page.click("#retouch")  # on purpose
    before = shown(page, "#large")
    drag(page, "#large", (0.1, 0.1), (0.2, 0.1))
    changed = (shown(page, "#large") != before).any(axis=2).sum()
    assert 5 < changed < 50
    assert page.inner_text("#kind") == "A fake to draw on"


def test_drawing_with_other_buttons_from_elsewhere_and_with_keys(page):
    before = all_shown(page)
    drag(page, "#large", (1.2, 0.5), (0.5, 0.5))  # begins on the map
    drag(page, "#large", (0.2, 0.5), (0.5, 0.5), button="right")
    assert all_shown(page) == before
    page.click("#draw")  # and the image has the focus
    for key in ["ArrowLeft", "Space", "ArrowDown"]:
        page.keyboard.press(key)
    assert np.argwhere(ink(page)).mean(axis=0).tolist() == [14, 13]
    pen = page.locator("#pen").bounding_box()
    page.mouse.click(pen["x"] + 1, pen["y"] + 1)  # the pen lets it through
    assert ink(page).sum() > 9


def test_follow_takes_30_steps_with_two_copies_side_by_side(page, run):
    G, D = run.G[-1], run.D

    def follow(x, make_images, steps):  # the README's
        for _ in range(steps):
            x = x.detach().requires_grad_()
            D(make_images(x)).log().sum().backward()
            x = x + 0.1 * x.grad / x.grad.norm(dim=1, keepdim=True)
        return make_images(x).detach()

    image = G(Z[3:4]).detach()
    page.click("#tiles > :nth-child(4)")
    page.click("#follow")
    for steps in [15, 30, 30]:
        page.clock.run_for(1010)
        three = [image, follow(image, lambda x: x.clamp(-1, 1), steps), follow(Z[3:4], G, steps)]
        assert differ(page, "#copies canvas", torch.cat(three)) <= 9
        assert differ(page, "#large", image) <= 1
        texts = page.locator("#copies button").all_inner_texts()
        scores = [float(text.split()[-1]) for text in texts]
        # The page clamps the pixels after every step.
        assert scores == pytest.approx(D(torch.cat(three)).flatten().tolist(), abs=0.04)
    assert scores[1] > scores[0] < scores[2]
    for number, copy in enumerate(three, start=1):
        page.click(f"#copies > :nth-child({number})")
        assert differ(page, "#large", copy) <= 9
        assert page.get_attribute(f"#copies > :nth-child({number})", "aria-pressed") == "true"
    assert page.inner_text("#why") == ""
    page.press("#row", "Home")  # another G: the copies are not its own
    assert page.locator("#copies :disabled").count() == 2
    page.click("#follow")
    page.clock.run_for(2100)
    assert "nearly the same image from every z" in page.inner_text("#why")


def test_what_has_no_z_follows_with_its_pixels_and_says_why(page):
    page.click("#draw")
    assert "no z to change" in page.inner_text("#why")
    assert page.locator("#bars :disabled").count() == 100
    page.click("#follow")
    page.clock.run_for(2100)
    assert page.locator("#copies :disabled").all_inner_texts() == ["z changed\n\xa0"]
    assert ink(page).sum() == 0
    assert (shown(page, "#copies > :nth-child(2) canvas")[..., 0] < 255).any()


def test_undo_takes_back_one_press_after_the_other(page):
    def hold(key):
        for _ in range(2):  # as a key that is held repeats
            page.keyboard.down(key)
        page.keyboard.up(key)

    states = [all_shown(page)]
    clicks = ["#draw", "#new", "#tiles > :nth-child(7)", "#walk", "#ends", "#follow"]
    clicks += ["#copies > :nth-child(2)", "#between > :nth-child(5)"]
    for press in [
        partial(drag, page, "#large", (0.2, 0.3), (0.8, 0.3)),
        *[partial(page.click, selector) for selector in clicks],
        lambda: (page.focus("#row"), hold("ArrowLeft")),
        lambda: (page.focus("#bars > :nth-child(5)"), hold("ArrowRight")),
        partial(drag, page, "#bars > :nth-child(7)", (0.1, 0.5), (0.9, 0.5)),
        partial(page.click, "#retouch"),
        partial(drag, page, "#large", (0.2, 0.6), (0.8, 0.6)),
        lambda: (page.focus("#new"), hold("Enter")),
        partial(page.click, "#play"),
    ]:
        press()
        page.clock.run_for(700)
        states.append(all_shown(page))
    assert all(map(tuple.__ne__, states, states[1:]))
    for number, state in enumerate([*states[-2::-1], states[0]]):
        page.keyboard.press("Control+z") if number % 2 else page.click("#undo", force=True)
        assert all_shown(page) == state


def test_a_swipe_scrolls_until_one_wants_to_draw(page):
    page.set_viewport_size(PHONE)
    page.clock.resume()
    session = page.context.new_cdp_session(page)

    def swipe(control):
        page.focus(control)
        before, place = all_shown(page), page.evaluate("scrollY")
        x, y, width, height = page.locator(control).bounding_box().values()
        for move in range(5):
            kind = "touchMove" if move else "touchStart"
            points = [{"x": x + width / 4, "y": y + height * 0.9 - 20 * move}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(200)
        return page.evaluate("scrollY") > place, all_shown(page) != before

    for control in ["#large", "#row", "#bars > :nth-child(55)"]:
        assert swipe(control) == (True, False)
    page.click("#draw")
    assert swipe("#large") == (False, True)


def test_game_counts_for_each_epoch_and_an_image_brings_the_next_pair(page, run):
    page.select_option("#rival", TITLES[0])  # whose G draws the same from every z
    fake_image = 127.5 * (1 + run.G[0](Z[:1]).detach().numpy())
    yours, ds = 0, 0
    for number in range(1, 9):
        images = 255 - shown(page, "#pair canvas")[..., 0]
        real = int(np.abs(images - fake_image).max(axis=1).argmax())
        assert np.abs(images[1 - real] - fake_image).max() <= 1
        assert np.abs(images[real] - first_images(100).numpy()).max(axis=1).min() <= 1
        scores = run.D(torch.tensor(images / 127.5 - 1).float()).flatten().tolist()
        yours, ds = yours + (real == 0), ds + (scores[real] > scores[1 - real])
        page.dblclick("#pair button >> nth=0")  # as one press
        answer = page.inner_text("#answer")
        assert answer.startswith(["Yes, the one on the left", "No, the one on the right"][real])
        assert f"right {yours} out of {number} times, and D {ds} out of {number}." in answer
        given = [float(score) for score in re.findall(r"[01]\.\d\d", answer)]
        assert given == pytest.approx(scores, abs=0.011)
        page.keyboard.down("Enter")
        page.keyboard.down("Enter")  # it is held: not the next answer
        page.keyboard.up("Enter")
        assert page.inner_text("#answer") == ""
        assert (shown(page, "#pair canvas")[..., 0] != 255 - images).any()
    assert 0 < yours < number
    page.click("#pair button >> nth=1")
    page.click("#next")
    assert page.inner_text("#answer") == ""
    page.select_option("#rival", TITLES[1])
    page.click("#pair button >> nth=0")
    assert "out of 1 times" in page.inner_text("#answer")
    page.click("#marks > :nth-child(2)")
    assert page.inner_text("#title") == TITLES[1]


BOXES = """all => all.map(one => one.getBoundingClientRect())
    .map(box => [box.left, box.right, box.top, box.bottom])"""


def test_at_every_width_all_is_in_view_and_the_answer_below_its_images(page):
    page.click("#pair button >> nth=0")
    for width in range(320, 1921, 32):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        left, right, *_ = np.transpose(page.eval_on_selector_all("canvas, button, input, p", BOXES))
        assert left.min() >= 0
        assert right.max() <= width
        page.locator("#pair").scroll_into_view_if_needed()
        page.evaluate("document.querySelector('#answer').scrollIntoView({ block: 'end' })")
        (*_, top, bottom), (*_, answer_top, answer_bottom) = page.eval_on_selector_all(
            "#pair, #answer", BOXES
        )
        assert 0 <= answer_top - bottom < 30
        assert 0 <= top < answer_bottom <= 641


def test_what_you_change_stays_in_view_where_there_is_room(page):
    controls = ["#play", "#row", "#new", "#tiles > :last-child", "#draw", "#follow"]
    controls += ["#copies > :last-child", "#bars > :last-child", "#between > :last-child"]
    for size in [LAPTOP, PHONE, {"width": 683, "height": 640}]:
        page.set_viewport_size(size)
        page.click("#follow")
        page.clock.run_for(2100)
        for control in controls:
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.focus(control)  # scrolls no further than it must
            panel, box = page.eval_on_selector_all(f"#panel, {control}", BOXES)
            assert 0 <= panel[2] < panel[3] <= size["height"]
            assert 0 <= box[2] < box[3] <= size["height"]
            assert panel[3] <= box[2] or panel[1] <= box[0]  # below it, or beside it
        assert panel[3] - panel[2] <= size["height"] * 0.75
        if size["width"] < 1000:
            assert panel[3] - panel[2] <= size["height"] / 2


@pytest.mark.parametrize(("width", "height", "font"), [(341, 160, "100%"), (390, 664, "150%")])
def test_zoomed_in_the_images_stay_large_and_captions_apart(page, width, height, font):
    page.set_viewport_size({"width": width, "height": height})
    page.evaluate("size => (document.documentElement.style.fontSize = size)", font)
    page.click("#pair button >> nth=0")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    large, *pair = page.eval_on_selector_all("#large, #pair canvas", BOXES)
    assert min(right - left for left, right, *_ in [large, *pair]) >= 80
    one, other = page.eval_on_selector_all("figcaption", BOXES)
    assert one[1] <= other[0] or one[3] <= other[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_targets_are_large_and_colors_apart(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    page.clock.resume()
    page.click("#draw")
    page.click("#pair button >> nth=0")
    assert axe.run(page).response["violations"] == []
    sizes = "all => all.map(o => [o.offsetWidth, o.offsetHeight])"
    assert np.min(page.eval_on_selector_all("button, select, #row", sizes)) >= 24
    # Dots, marks and tracks: a contrast of 3 with the card
    names = ["card", "line", "real", "fake", "own", "more", "less", "text", "focus"]
    program = """names => names.map(name => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    })"""
    linear = (np.array(page.evaluate(program, names)) / 255) ** 2.2
    card, *others = linear @ [0.2126, 0.7152, 0.0722] + 0.05
    assert min(max(card, other) / min(card, other) for other in others) >= 3
    picture = Image.open(io.BytesIO(page.locator("#large").screenshot())).convert("L")
    # Light ink on dark paper in dark mode
    assert (picture.getpixel((30, 30)) > 128) == (scheme == "light")


def test_older_browsers_and_print(open_page, page):
    """No Array.prototype.with, and print shows all, without the panel over it."""
    page.evaluate("delete Array.prototype.with; delete Float32Array.prototype.with")
    page.click("#ends")
    page.press("#bars > :nth-child(5)", "End")
    assert z_shown(page)[4] == 3
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(panel).position") == "static"
    page.emulate_media(media="screen")


def test_sections_are_in_the_readmes_order(page):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^[1-6]\. \*\*(.*)\.\*\*", readme, flags=re.MULTILINE)
    assert page.locator("h2").all_inner_texts() == names
