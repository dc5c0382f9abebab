"""The page to play with, in a real browser: what it shows, what each control does."""

import os
import re
import shutil
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, first_images
from torch import nn

import MNIST_MLP_GAN_TEST
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator, sample_z
from MNIST_MLP_GAN_TEST import fill_page, is_chain

SMALL = {"hidden_size": 64}  # networks, for a page that opens fast
TITLES = ["epoch 0", "epoch 1", "epoch 3", "mean of epochs 1-3"]
LAPTOP, PHONE = {"width": 1366, "height": 640}, {"width": 390, "height": 664}
Z = sample_z(Generator(), 25, seed=0)
REAL = first_images(130)  # more than have dots
REAL_IMAGES = REAL / 127.5 - 1
# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# The same random numbers in every run
SEED = "let n = 1234567; Math.random = () => (n = (n * 16807) % 2147483647) / 2147483647"


@pytest.fixture(scope="module")
def open_page(tmp_path_factory):
    """Open a page of networks; its errors and its requests to elsewhere are errors.

    ``script`` runs before the page's own last one.
    """
    paths = [*filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]))]
    if not paths and not os.environ.get("CI"):  # the checks install it
        pytest.skip("no Chromium on this machine: the page is not tested")
    playwright = pytest.importorskip("playwright.sync_api")
    wrong = []

    def open_it(networks, checksum=MNIST_MLP_GAN_TEST.MNIST, script="", **options):
        html = fill_page(networks, Z, {"real_images": REAL, "checksum": checksum})
        html = f"<script>{script}</script><script>".join(html.rsplit("<script>", 1))
        path = tmp_path_factory.mktemp("page") / "page.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_page(has_touch=True, viewport=LAPTOP, reduced_motion="reduce", **options)
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
    discriminators = [Discriminator(**SMALL) for _ in range(3)]
    discriminators.append(discriminators[-1])  # a mean is judged by the last D
    generators = [Generator(**SMALL) for _ in TITLES]
    for weight in nn.ModuleList([*generators, *discriminators[:3]]).parameters():
        # So large that every z and every image makes a difference, and as exact as the page's
        weight.data.mul_(2).copy_(weight.data.bfloat16())
    generators[0].linear3.weight.data.zero_()  # the same image for every z
    pairs = list(zip(generators, discriminators, strict=True))
    page = open_page.open(dict(zip(TITLES, pairs, strict=True)))
    return SimpleNamespace(page=page, G=generators, D=discriminators)


@pytest.fixture
def page(run):
    """The page as it is when it is opened with reduced motion. Its clock stands still."""
    open_again(run.page)
    return run.page


def open_again(page, reduced_motion="reduce", size=LAPTOP):
    page.set_viewport_size(size)
    page.emulate_media(color_scheme="light", reduced_motion=reduced_motion)
    page.clock.install()
    url = page.url
    page.goto("about:blank")  # a reload would bring back the state
    page.goto(url)
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)


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
    canvases = shown(page, "#large, #tiles canvas, #copies canvas").tobytes()
    return canvases, page.input_value("#row"), z_shown(page).tolist()


def z_shown(page):
    """The first ten numbers of the image's z, as the bars show them: rounded, from -3 to 3."""
    return np.array(page.eval_on_selector_all("#bars input", "all => all.map(bar => +bar.value)"))


def places(page, selector):
    """Where the dots, the mark or the lines of a row of the chart are, from 0 to 100."""
    return [float(x) for x in re.findall(r' (?:cx|x|x1)="([^%]+)%', page.inner_html(selector))]


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


def test_every_stop_shows_its_own_networks_and_all_equals_torchs(page, run):
    assert page.locator("#marks span").all_inner_texts() == ["0", "1", "3", "mean"]
    page.press("#row", "Home")
    for title, G, D in zip(TITLES, run.G, run.D, strict=True):
        assert page.inner_text("#title") == page.get_attribute("#row", "aria-valuetext") == title
        fakes = G(Z).detach().requires_grad_()
        scores, real_scores = D(fakes), D(REAL_IMAGES[:100])
        assert max(differ(page, "#tiles canvas", fakes), differ(page, "#large", fakes[0])) <= 1
        numbers = [float(number) for number in page.locator("#chart b").all_inner_texts()]
        means = [scores[0].item(), real_scores.mean().item(), scores.mean().item()]
        assert numbers == pytest.approx(means, abs=0.006)
        assert places(page, "#mark") == pytest.approx([100 * means[0]], abs=0.1)
        for row, dots, mean in [("real", real_scores, means[1]), ("fake", scores, means[2])]:
            expected = [*(100 * dots).flatten().tolist(), 100 * mean]
            assert places(page, f"#{row}-dots") == pytest.approx(expected, abs=0.1)
        # The map: green where ink raises the score, purple where it lowers it
        scores.log().sum().backward()
        gradient = fakes.grad[0].numpy()
        red, green, _, opacity = shown(page, "#map")[0].T
        wish = np.where(green > red, opacity, -opacity) / opacity.max()
        wish[opacity < 4] = 0  # too faint for a color
        assert wish == pytest.approx(gradient / np.abs(gradient).max(), abs=0.05)
        page.press("#row", "ArrowRight")
    page.click("#tiles > :last-child")
    assert differ(page, "#large", fakes[-1]) <= 1
    assert page.get_attribute("#tiles > :last-child", "aria-pressed") == "true"


def test_a_real_image_is_shown_with_its_score_at_every_stop(page, run):
    assert differ(page, "#reals canvas", REAL_IMAGES[:25]) <= 1
    page.click("#reals > :nth-child(8)")
    assert "real" in page.inner_text("#name")
    assert page.locator("#bars :disabled").count() == 10
    for row in [3, 0, 1]:
        page.click(f"#marks > :nth-child({row + 1})")
        assert differ(page, "#large", REAL_IMAGES[7:8]) <= 1
        score = run.D[row](REAL_IMAGES[7]).item()
        assert page.inner_text("#score") == f"{score:.2f}"
        assert places(page, "#mark") == pytest.approx([100 * score], abs=0.1)


def test_the_verdict_says_whether_d_is_right(open_page):
    for score, of_a_fake, of_a_real, of_a_drawing in [
        (0.9, "real, and is fooled", "right: it is real", "real, and is fooled"),
        (0.51, "cannot tell", "cannot tell", "cannot tell"),
        (0.05, "a fake, and is right", "wrong: it is real", "strokes"),
    ]:
        D = Discriminator(hidden_size=2)
        D.linear3.weight.data.zero_()
        D.linear3.bias.data.fill_(torch.logit(torch.tensor(score)).item())
        page = open_page.open({"epoch 1": (Generator(hidden_size=2), D)})
        assert of_a_fake in page.inner_text("#says")
        page.click("#reals > :first-child")
        assert of_a_real in page.inner_text("#says")
        page.click("#draw")
        assert "blank" in page.inner_text("#says")
        drag(page, "#large", (0.25, 0.5), (0.75, 0.5))
        assert of_a_drawing in page.inner_text("#says")


def test_other_layers_need_no_other_page(open_page):
    first, second, third = nn.Linear(100, 64), nn.Linear(64, 48), nn.Linear(48, 32)
    G = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), nn.Linear(32, 784))
    G.append(nn.Tanh())
    D = Discriminator(**SMALL)
    page = open_page.open({"epoch 1": (G, D)})
    assert is_chain(G, D, Z)
    assert differ(page, "#tiles canvas", G(Z)) <= 3


@pytest.mark.parametrize(
    ("network", "layer", "change"),
    [("D", "leaky_relu", nn.ReLU()), ("G", "relu", nn.Tanh()), ("G", "linear2", nn.GELU())],
)
def test_changed_network_is_noticed(network, layer, change, open_page):
    networks = {"G": Generator(**SMALL), "D": Discriminator(**SMALL)}
    setattr(networks[network], layer, change)
    assert not is_chain(*networks.values(), Z)
    page = open_page.open({"epoch 1": tuple(networks.values())})
    assert "MNIST_MLP_GAN_NETWORK.py were changed" in page.inner_text("body")
    assert open_page.wrong.pop()


def test_a_network_without_weights_is_no_chain():
    assert not is_chain(nn.Identity(), Discriminator(**SMALL), Z)


@pytest.mark.parametrize("name", ["discriminatorBackward", "generatorBackward"])
def test_a_wrong_way_back_is_noticed(name, open_page):
    script = f"const right = {name}; {name} = (...all) => right(...all).map((v) => 1.1 * v + 0.1)"
    networks = {"epoch 1": (Generator(**SMALL), Discriminator(**SMALL))}
    page = open_page.open(networks, script=script)
    assert "were changed" in page.inner_text("body")
    assert open_page.wrong.pop()


class Edited(Generator):
    """A Generator as someone may edit it."""

    def forward(self, z):
        return super().forward(z) * 0.9


def test_the_script_says_when_the_page_needs_a_change(tmp_path, capsys, monkeypatch):
    options = {"hidden_size": 64, "latent_size": 100}
    last = {"options": options, "checksum": "", "real_images": REAL, "history": []}
    torch.save(last, tmp_path / "last.pt")
    torch.save(Generator(**SMALL).state_dict(), tmp_path / "G_0.pth")
    torch.save(Discriminator(**SMALL).state_dict(), tmp_path / "D_0.pth")
    for kind in [Generator, Edited]:
        monkeypatch.setattr(MNIST_MLP_GAN_TEST, "Generator", kind)
        MNIST_MLP_GAN_TEST.main(["--run", str(tmp_path)])
        assert ("networks.js" in capsys.readouterr().out) == (kind is Edited)


def test_a_long_run_on_other_images(open_page):
    pair = Generator(hidden_size=2), Discriminator(hidden_size=2)
    networks = {f"epoch {epoch}": pair for epoch in range(121)}
    page = open_page.open(networks, checksum="others")
    assert 5 <= page.locator("#marks span").count() <= 10
    assert page.locator("#mean").is_hidden()
    assert not re.search(r"MNIST|digit", page.inner_text("body"))


def test_without_scripts_one_sentence_says_what_to_do(open_page):
    networks = {"epoch 0": (Generator(**SMALL), Discriminator(**SMALL))}
    page = open_page.open(networks, java_script_enabled=False)
    assert "open it in a browser" in page.inner_text("body")


def test_play_takes_six_seconds_and_goes_on_where_it_was_stopped(page, run):
    page.clock.run_for(20_000)  # nothing moves before one presses it
    assert page.inner_text("#title") == TITLES[-1]
    page.click("#play")
    for milliseconds, row in [(1900, 0), (300, 1), (3600, 2), (300, 3), (9000, 3)]:
        page.clock.run_for(milliseconds)
        assert page.inner_text("#title") == TITLES[row]
        assert page.inner_text("#play") == ("Play" if row == 3 else "Stop")
        assert differ(page, "#tiles canvas", run.G[row](Z)) <= 1
    page.click("#play")
    page.clock.run_for(3000)
    page.click("#play")  # stops it
    page.clock.run_for(9000)
    assert page.inner_text("#title") == TITLES[1]
    page.click("#play")
    page.clock.run_for(2200)
    assert page.inner_text("#title") == TITLES[2]


def test_it_plays_once_when_its_fakes_are_first_seen(page):
    def titles(*milliseconds):
        page.wait_for_timeout(100)  # until the browser has seen what is on the screen
        found = []
        for time in milliseconds:
            page.clock.run_for(time)
            found.append(page.inner_text("#title"))
        return found

    open_again(page, "no-preference")
    assert titles(1900, 300, 2000, 2000, 9000) == [*TITLES, TITLES[-1]]
    assert page.is_disabled("#undo")
    for end in [lambda: page.click("h1"), lambda: page.keyboard.press("x")]:
        open_again(page, "no-preference")
        assert titles(3000) == TITLES[1:2]
        end()
        assert titles(0, 9000) == TITLES[-1:] * 2
    open_again(page, "no-preference")
    assert titles(3000) == TITLES[1:2]
    page.click("#play")  # which is Stop now
    assert titles(9000) == TITLES[1:2]
    open_again(page, "no-preference", {"width": 360, "height": 610})  # the fakes are below
    assert titles(5000) == TITLES[-1:]
    page.locator("#tiles > :last-child").scroll_into_view_if_needed()
    assert titles(3000) == TITLES[1:2]
    open_again(page)  # reduced motion
    assert titles(3000) == TITLES[-1:]


def test_a_reload_brings_back_what_was_there(page):
    page.click("#tiles > :nth-child(3)")
    page.press("#row", "ArrowLeft")
    page.click("#reals > :nth-child(8)")
    before = all_shown(page)
    page.reload()
    assert all_shown(page) == before
    assert page.get_attribute("#reals > :nth-child(8)", "aria-pressed") == "true"


def test_new_z_is_normal_and_a_walk_goes_from_z_to_z_on_an_arc(page):
    drawn = []
    for _ in range(40):
        page.click("#new")
        drawn.append(z_shown(page))
    numbers = np.stack(drawn)
    assert abs(numbers.mean()) < 0.15
    assert abs(numbers.std() - 1) < 0.15
    page.click("#walk")
    page.clock.run_for(16)  # to its first frame
    path = [z_shown(page)]
    for _ in range(16):
        page.clock.run_for(500)
        path.append(z_shown(page))
    for start in [0, 8]:
        for i in range(9):
            angle = np.pi / 16 * i
            between = np.cos(angle) * path[start] + np.sin(angle) * path[start + 8]
            in_range = (np.abs([path[start], path[start + 8]]) < 3).all(axis=0)
            assert path[start + i][in_range] == pytest.approx(between[in_range], abs=0.2)
    assert np.abs(path[8] - path[0]).max() > 1


def test_what_has_a_z_wanders_and_what_has_none_stays(page):
    def wander():
        before, tiles = shown(page, "#large"), shown(page, "#tiles canvas")
        page.click("#walk")
        page.clock.run_for(2000)
        page.click("#walk")
        assert (shown(page, "#tiles canvas") != tiles).any(axis=(1, 2)).all()
        return (shown(page, "#large") != before).any()

    page.press("#bars input >> nth=4", "End")  # a fake that is not one of the 25
    assert wander()
    page.click("#reals > :first-child")
    assert not wander()


def test_one_bar_changes_one_number(page, run):
    z = Z[:1].clone()
    assert z_shown(page) == pytest.approx(z[0, :10].clamp(-3, 3).numpy(), abs=0.051)
    for number, key, value in [(4, "End", 3), (7, "Home", -3)]:
        page.press(f"#bars input >> nth={number}", key)
        z[0, number] = value
        assert differ(page, "#large", run.G[-1](z)) <= 1
        assert z_shown(page) == pytest.approx(z[0, :10].clamp(-3, 3).numpy(), abs=0.051)


def test_a_drawing_is_ones_own_and_d_judges_it(page, run):
    page.click("#draw")
    assert ink(page).sum() == 0
    assert page.inner_text("#score") == f"{run.D[-1](-torch.ones(784)).item():.2f}"
    drag(page, "#large", (0.25, 0.5), (0.75, 0.5))
    rows, columns = np.nonzero(ink(page))
    assert (min(rows), max(rows), min(columns), max(columns)) == (13, 14, 6, 21)
    assert "your drawing" in page.inner_text("#name")
    before = ink(page).sum()
    drag(page, "#large", (0.5, 0.2), (0.5, 0.8))  # a second stroke goes on
    assert ink(page).sum() > before + 20
    drawing = torch.tensor(1 - shown(page, "#large")[..., 0] / 127.5).float()
    assert page.inner_text("#score") == f"{run.D[-1](drawing).item():.2f}"
    page.click("#clear")
    assert ink(page).sum() == 0


def test_other_buttons_and_drags_from_elsewhere_do_not_draw(page):
    page.click("#draw")
    drag(page, "#large", (0.5, 1.2), (0.5, 0.5))  # begins elsewhere
    drag(page, "#large", (0.2, 0.5), (0.5, 0.5), button="right")
    assert ink(page).sum() == 0


@pytest.mark.parametrize("row", [3, 1])
def test_follow_takes_30_steps_with_two_copies_side_by_side(row, page, run):
    G, D = run.G[row], run.D[row]

    def follow(x, make_images, steps):  # the README's
        for _ in range(steps):
            x = x.detach().requires_grad_()
            D(make_images(x)).log().sum().backward()
            x = x + 0.1 * x.grad / x.grad.norm(dim=1, keepdim=True)
        return make_images(x).detach()

    image = G(Z[3:4]).detach()
    page.click(f"#marks > :nth-child({row + 1})")
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
    page.click("#tiles > :nth-child(4)")  # it is shown already
    for number, copy in enumerate(three, start=1):
        page.click(f"#copies > :nth-child({number})")
        assert differ(page, "#large", copy) <= 9
    page.press("#row", "Home")  # another G: the copies are not its own
    assert page.locator("#copies :disabled").count() == 2


def test_what_has_no_z_follows_with_its_pixels_and_says_why(page):
    assert page.locator("#why").is_hidden()
    page.click("#draw")
    assert "no z" in page.inner_text("#why")
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
    clicks = ["#clear", "#new", "#tiles > :nth-child(7)", "#walk", "#follow"]
    clicks += ["#copies > :nth-child(2)", "#reals > :nth-child(9)", "#tiles > :nth-child(5)"]
    for press in [
        partial(page.click, "#draw"),
        partial(drag, page, "#large", (0.2, 0.3), (0.8, 0.3)),
        *[partial(page.click, selector) for selector in clicks],
        lambda: (page.focus("#row"), hold("ArrowLeft")),
        lambda: (page.focus("#bars input >> nth=4"), hold("ArrowRight")),
        lambda: hold("ArrowRight"),  # pressed again
        partial(drag, page, "#bars input >> nth=6", (0.1, 0.5), (0.9, 0.5)),
        lambda: (page.focus("#new"), hold("Enter")),  # presses it once
        partial(page.click, "#play"),
    ]:
        press()
        page.clock.run_for(2100)
        states.append(all_shown(page))
    assert all(map(tuple.__ne__, states, states[1:]))
    for number, state in enumerate([*states[-2::-1], states[0]]):
        page.keyboard.press("Control+z") if number % 2 else page.click("#undo", force=True)
        assert all_shown(page) == state
    for selector in ["#tiles > :first-child", "#marks > :last-child", "#copies > :first-child"]:
        page.click(selector)  # what changes nothing needs no undo
    assert page.is_disabled("#undo")


def test_undo_during_motion_stops_it(page):
    before = all_shown(page)
    for control in ["#play", "#walk", "#follow"]:
        page.click(control)
        page.clock.run_for(1500)
        assert all_shown(page) != before
        assert page.get_attribute("#says", "aria-live") == "off"  # or it would speak all the time
        page.click("#undo")
        page.clock.run_for(1500)
        assert all_shown(page) == before
        assert page.inner_text(control) != "Stop"
    assert page.get_attribute("#says", "aria-live") == "polite"


def test_page_down_scrolls_while_a_button_has_the_focus(page):
    page.clock.resume()
    page.focus("#new")
    for _ in range(3):  # as a key that is held repeats
        page.keyboard.down("PageDown")
    page.wait_for_function("scrollY > 600")  # more than one page


def test_a_swipe_scrolls_until_one_wants_to_draw(page):
    page.set_viewport_size(PHONE)
    page.clock.resume()
    session = page.context.new_cdp_session(page)

    def swipe(control):
        page.locator(control).scroll_into_view_if_needed()
        before, place = all_shown(page), page.evaluate("scrollY")
        x, y, width, height = page.locator(control).bounding_box().values()
        for move in range(5):
            kind = "touchMove" if move else "touchStart"
            points = [{"x": x + width / 4, "y": y + height * 0.9 - 20 * move}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(200)
        return page.evaluate("scrollY") > place, all_shown(page) != before

    for control in ["#large", "#row", "#bars input >> nth=5"]:
        assert swipe(control) == (True, False)
    page.click("#draw")
    assert swipe("#large") == (False, True)


def test_the_game_counts_for_each_stop(page, run):
    reals, fakes = [], []
    for row in [3, 1]:
        page.click(f"#marks > :nth-child({row + 1})")
        yours, ds = 0, 0
        for number in range(1, 9):
            images = 255 - shown(page, "#pair canvas")[..., 0]
            distances = np.abs(images[:, None] - REAL.numpy()).max(axis=2)  # (2, 130)
            real = int(distances.min(axis=1).argmin())
            assert distances[real].min() <= 1
            reals.append(distances[real].argmin())
            fakes.append(images[1 - real])
            scores = run.D[row](torch.tensor(images / 127.5 - 1).float()).flatten().tolist()
            yours, ds = yours + (real == 0), ds + (scores[real] > scores[1 - real])
            page.dblclick("#pair button >> nth=0")  # as one press
            answer = page.inner_text("#answer")
            assert answer.startswith(["Yes, the one on the left", "No, the one on the right"][real])
            assert f"({TITLES[row]}): you {yours} of {number}, D {ds} of {number}." in answer
            given = [float(score) for score in re.findall(r"[01]\.\d\d", answer)]
            assert given == pytest.approx(scores, abs=0.011)
            page.click("#next")
            assert page.inner_text("#answer") == ""
        assert 0 < yours < number
        assert ds > 0
    assert len({*reals}) == 16  # none twice
    assert max(reals) >= 100  # not only those that have dots
    assert all(np.abs(one - other).max() > 9 for one, other in pairwise(fakes))
    page.press("#row", "Home")  # whose G draws the same from every z
    fake_image = 127.5 * (1 + run.G[0](Z[:1]).detach().numpy())
    images = 255 - shown(page, "#pair canvas")[..., 0]
    assert np.abs(images - fake_image).max(axis=1).min() <= 1


BOXES = """all => all.map(one => one.getBoundingClientRect())
    .map(box => [box.left, box.right, box.top, box.bottom])"""


@pytest.mark.parametrize(
    ("width", "font"),
    [(320, "100%"), (390, "200%"), (640, "100%"), (844, "100%"), (1366, "150%"), (1920, "100%")],
)
def test_at_every_width_all_is_in_its_place(width, font, page):
    page.set_viewport_size({"width": width, "height": 640})
    page.evaluate("size => (document.documentElement.style.fontSize = size)", font)
    page.click("#pair button >> nth=0")
    for selector in ["#tiles > :first-child", "#draw"]:
        page.evaluate(f"document.querySelector('{selector}').click()")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        left, right, *_ = np.transpose(page.eval_on_selector_all("canvas, button, input, p", BOXES))
        assert left.min() >= 0
        assert right.max() <= width
        parts = "#panel, #panel *:not(circle, line)"
        (_, edge, *_), *parts = page.eval_on_selector_all(parts, BOXES)
        assert max(right for _, right, *_ in parts) <= edge


@pytest.mark.parametrize(
    ("width", "height"),
    [(1366, 768), (1366, 500), (844, 390), (700, 800), (667, 375), (360, 610), (341, 192)],
)
def test_one_sees_the_image_after_a_press_and_draws_on_a_large_one(width, height, page):
    page.set_viewport_size({"width": width, "height": height})
    page.click("#follow")
    page.clock.run_for(2100)
    controls = [f"#{tiles} > :nth-child(2)" for tiles in ["copies", "tiles", "reals"]]
    for control in [*controls, "#draw", "#tiles > :last-child", "#draw"]:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.evaluate(f"document.querySelector('{control}').click()")
        ((left, right, top, bottom),) = page.eval_on_selector_all("#large", BOXES)
        assert -1 <= top < bottom <= height + 1
    assert right - left >= min(0.75 * width, 0.4 * height, 220)
    if height > 370:
        ((*_, top, bottom),) = page.eval_on_selector_all("#panel", BOXES)
        assert -1 <= top < bottom <= height + 1  # with Undo and Clear
    for control, answer in [("#follow", "#copies"), ("#pair > :first-child", "#answer")]:
        page.evaluate(f"document.querySelector('{control}').click()")
        ((*_, top, bottom),) = page.eval_on_selector_all(answer, BOXES)
        assert min(bottom, height) - max(0, top) >= min(bottom - top, height) - 1


@pytest.mark.parametrize(("width", "height"), [(1366, 640), (844, 390), (390, 664)])
def test_the_image_stays_in_view_where_there_is_room(width, height, page):
    page.set_viewport_size({"width": width, "height": height})
    for control in ["#row", "#tiles > :last-child", "#bars input >> nth=9", "#follow"]:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.focus(control)  # scrolls no further than it must
        box = page.locator(control).bounding_box()
        panel, large = page.eval_on_selector_all("#panel, #large", BOXES)
        assert 0 <= large[2] < large[3] <= height
        assert panel[3] <= box["y"] or panel[1] <= box["x"]  # below it, or beside it


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_targets_are_large(page, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    page.clock.resume()
    page.click("#draw")
    page.click("#pair button >> nth=0")
    assert axe.run(page).response["violations"] == []
    sizes = "all => all.map(o => [o.offsetWidth, o.offsetHeight])"
    assert np.min(page.eval_on_selector_all("button, input", sizes)) >= 24


def test_readme_names_the_sections_in_their_order(page):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^[1-9]\. \*\*(.*)\.\*\*", readme, flags=re.MULTILINE)
    sections = page.locator("section:not(#panel) > h2, #choose h2").all_inner_texts()
    assert [name for name in names if name in sections] == sections
