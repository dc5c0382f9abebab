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
from helpers import read_generator
from PIL import Image

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import HERE, draw_z, fill_page, mean_generator, walk

# For a run as root in a container, and without the browser's own requests to its maker
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FOLDER = """it's "<b>" & <script>alert(1)<script>"""


@pytest.fixture(scope="module")
def open_page():
    """Open a page; each request to elsewhere, and each error that it reports, is an error."""
    paths = [*map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])]
    if not any(paths) and not os.environ.get("CI"):  # the checks install it
        pytest.skip("no Chromium on this machine: the page is not tested")
    playwright = pytest.importorskip("playwright.sync_api")
    wrong = []

    def open_it(path, **settings):
        page = browser.new_page(**settings)
        page.on("request", lambda request: request.url != path.as_uri() and wrong.append(request))
        page.on("console", lambda line: line.type == "error" and wrong.append(line.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        return page

    with playwright.sync_playwright() as engine:
        path = next(filter(None, paths))
        browser = engine.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield open_it
        browser.close()
    assert not wrong


@pytest.fixture(scope="module")
def run(small_mnist, tmp_path_factory, open_page):
    """A run of three short epochs, whose Generators make something else of every z; its page."""
    outputs = tmp_path_factory.mktemp("page")
    folder, path = outputs / FOLDER, outputs / "MNIST_MLP_GAN.html"
    options = ["--epochs", 3, "--lr", 0.001, "--beta1", 0.5, "--batch-size", 5, "--device", "cpu"]
    options += ["--data-dir", small_mnist, "--checkpoint-dir", folder]
    MNIST_MLP_GAN_TRAIN.main([*map(str, options)])
    folders = ["--checkpoint-dir", str(folder), "--output-dir", str(outputs)]
    MNIST_MLP_GAN_TEST.main([*folders, "--rows", "0", "1", "3", "2-3"])

    last = torch.load(folder / "last.pt", weights_only=True)
    D = Discriminator()
    D.load_state_dict(last["D"])
    epochs = [read_generator(folder / f"G_{epoch}.pth") for epoch in range(4)]
    mean = mean_generator(epochs[2:])
    for network in [D, mean, *epochs]:
        network.bfloat16().float()  # as exact as the page has it
    rows = {"epoch 0": epochs[0], "epoch 1": epochs[1], "epoch 3": epochs[3], "epochs 2-3": mean}
    real_images = last["real_images"] / 127.5 - 1
    page = open_page(path)
    return SimpleNamespace(page=page, path=path, rows=rows, G=mean, D=D, real_images=real_images)


@pytest.fixture
def page(run):
    """The page as it was when it was opened."""
    run.page.set_viewport_size({"width": 1200, "height": 900})
    run.page.reload()
    return run.page


def colors(page, selector):
    """The colors of every canvas that ``selector`` finds: (N, 784, 3)."""
    program = """canvases => canvases.map(canvas => btoa(String.fromCharCode(
        ...canvas.getContext("2d").getImageData(0, 0, 28, 28).data)))"""
    data = [base64.b64decode(text) for text in page.eval_on_selector_all(selector, program)]
    return np.frombuffer(b"".join(data), np.uint8).reshape(-1, 784, 4)[..., :3].astype(float)


def tiles(page, parent="#samples"):
    return colors(page, f"{parent} canvas")[..., 0]


def large(page):
    return colors(page, "#large")[0, :, 0]


def levels(images):
    """The gray levels that show ``images``, from -1 to 1."""
    return 127.5 * (1 - images.detach().numpy())


def z_on(page):
    return np.array(page.evaluate("zs.map(z => Array.from(z))"))


def score(page):
    return pytest.approx(float(page.inner_text("#score")), abs=0.006)


def style(page, selector, name):
    program = f"all => all.map(one => getComputedStyle(one).{name})"
    return page.eval_on_selector_all(selector, program)


def pressed(page):
    program = "all => all.map(one => one.title || one.innerText)"
    return page.eval_on_selector_all("[aria-pressed=true]", program)


def changed(before, after):
    """Which of the images, or of the vectors, are not the same."""
    return np.flatnonzero((before != after).any(axis=-1)).tolist()


def assert_one_z(page, chosen, other):
    """Tiles, strip, bars and large image are of the same z."""
    shown, strip, z = tiles(page), tiles(page, "#between"), z_on(page)
    assert np.abs(strip[[0, 8]] - shown[[other, chosen]]).max() <= 1
    assert np.array_equal(large(page), shown[chosen])
    values = page.eval_on_selector_all("#bars input", "bars => bars.map(bar => +bar.value)")
    assert values == pytest.approx(z[chosen].clip(-3, 3).tolist(), abs=0.051)


def test_rows_scores_and_gradients_equal_torchs(page, run):
    z_before = z_on(page)
    page.click("#noise")  # which the slider replaces by the sample
    page.press("#row", "Home")
    for title, G in run.rows.items():
        assert page.inner_text("#title") == page.get_attribute("#row", "aria-valuetext") == title
        z = draw_z(G, 25, seed=0).requires_grad_()
        images = G(z)
        images.retain_grad()
        scores = run.D(images)
        scores.log().sum().backward()
        assert np.abs(tiles(page) - levels(images)).max() <= 1
        assert_one_z(page, 0, 1)
        assert scores[0].item() == score(page)
        assert page.evaluate("gauge.value") == pytest.approx(scores[0].item(), abs=1e-4)

        both = """const fake = generator(G, zs[0]);
            const atPixels = discriminatorBackward(D, discriminator(D, fake.image));
            [atPixels, generatorBackward(G, fake, atPixels)].map(all => Array.from(all))"""
        for ours, torchs in zip(page.evaluate(both), [images.grad[0], z.grad[0]], strict=True):
            assert np.abs(ours - torchs.numpy()).max() < 0.001 * min(1, torchs.abs().max())

        # The strongest wish has the full color, blue where ink raises the score.
        wish = (images.grad[0] / images.grad[0].abs().max()).numpy()[:, None]
        end = np.where(wish > 0, [31, 119, 208], [230, 97, 0])
        assert np.abs(colors(page, "#map")[0] - (255 + abs(wish) * (end - 255))).max() <= 1.5
        page.press("#row", "ArrowRight")
    assert not changed(z_before, z_on(page))
    assert np.ptp(levels(images)) > 170  # there was black as well as white


def test_names_and_marks(page):
    assert page.inner_text("#source") == f"These are the networks of the folder {FOLDER}."
    assert "The D of epoch 3 knows" in page.inner_text("#one")
    assert "■ D wants it darker\n■ D wants it lighter" in page.inner_text("#views")
    assert style(page, "#darker, #lighter", "color") == ["rgb(31, 119, 208)", "rgb(230, 97, 0)"]
    names = [f"sample {i}" for i in range(1, 26)] + [f"between, {i} of 9" for i in range(1, 10)]
    titles = page.eval_on_selector_all("#samples *, #between *", "all => all.map(one => one.title)")
    assert [title for title in titles if title] == names
    for i in range(100):
        assert page.get_by_role("slider", name=f"z {i}", exact=True).count() == 1

    before = tiles(page)
    page.click("#samples button:nth-child(3)")
    page.press("#samples button:nth-child(8)", "Enter")
    page.keyboard.press("Enter")  # once more changes nothing
    assert_one_z(page, 7, 2)
    assert not changed(before, tiles(page))
    assert pressed(page) == ["sample 8"]
    assert page.locator("#samples [aria-pressed=false]").count() == 24
    looks = style(page, "#samples button", "border")
    assert [looks.count(looks[tile]) for tile in [0, 2, 7]] == [23, 1, 1]
    assert looks[2] == looks[7].replace("solid", "dashed") == "3px dashed rgb(26, 95, 180)"


def test_new_z_and_walk_until_something_stops_it(page):
    z, before = z_on(page), tiles(page)
    page.click("#new")
    after = z_on(page)
    assert changed(before, tiles(page)) == changed(z, after) == [*range(25)]
    assert abs(after.mean()) < 0.1  # of 2,500: five standard errors
    assert after.std() == pytest.approx(1, abs=0.08)
    assert np.abs(after).max() > 2.5

    for stop in ["walk", "new", "clear", "noise", "pixels", "large", "between *", "samples *"]:
        page.click("#walk")
        assert "Walk" in pressed(page)
        page.evaluate("started = zs")
        page.wait_for_function("zs != started")
        page.click(f"#{stop}")
        assert "Walk" not in pressed(page)
        stopped, shown, strip = z_on(page), tiles(page), tiles(page, "#between")
        assert np.abs(strip[[0, 8]] - shown[[1, 0]]).max() <= 1
    assert page.inner_text("#walk") == "Walk"
    assert not changed(stopped, z_on(page))
    program = "[0, 4000, 4001, 8000].map(now => { walk(now); return Array.from(zs[0]) })"
    start, turn, later, end = np.array(page.evaluate(program))
    assert np.linalg.norm(turn - later) < 0.02  # it turns without a jump
    assert min(np.linalg.norm(start - turn), np.linalg.norm(turn - end)) > 8  # and moves on
    assert np.abs(np.linalg.norm([start, turn, end], axis=1) - 10).max() < 3.5
    assert changed(stopped, z_on(page)) == [*range(25)]


def test_bars_and_the_strip_between_two_tiles(page, run):
    z, before = z_on(page), tiles(page)
    bar = page.get_by_title("z 5", exact=True)
    box = bar.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50)  # it stays with this bar
    page.mouse.up()
    after = z_on(page)
    assert changed(z.T, after.T) == [5]
    assert changed(z, after) == changed(before, tiles(page)) == [0]
    assert after[0, 5] == pytest.approx(2, abs=0.4)
    assert_one_z(page, 0, 1)
    for key, value in [("Home", -3), ("End", 3)]:
        bar.press(key)
        assert z_on(page)[0, 5] == value
        picture = np.array(Image.open(io.BytesIO(bar.screenshot())).convert("RGB"))
        share = 0.5 + value / 15  # filled on this side of the middle, and empty on the other
        dots = picture[6, [round(picture.shape[1] * at) for at in [share, 1 - share]]]
        assert dots.tolist() == [[26, 95, 180], [255, 255, 255]]

    page.click("#samples button:nth-child(3)")
    page.click("#samples button:nth-child(10)")
    z = z_on(page)
    between = run.G(walk(*torch.tensor(z[[2, 9]]).float(), steps=9))
    assert np.abs(tiles(page, "#between") - levels(between)).max() <= 1
    page.click("#between button:nth-child(5)")
    assert np.array_equal(large(page), tiles(page, "#between")[4])
    assert run.D(between[4:5]).item() == score(page)
    assert not changed(z, z_on(page))


def test_drawing_is_judged_and_leaves_the_samples_alone(page, run):
    z, before = z_on(page), tiles(page)
    page.click("#noise")
    assert large(page).mean() == pytest.approx(127.5, abs=15)
    assert large(page).std() == pytest.approx(73.6, abs=10)  # even between black and white
    page.click("#clear")
    assert (large(page) == 255).all()
    box = page.locator("#large").bounding_box()
    dot = box["width"] / 28
    for column in [7.5, 20.5]:  # two strokes, quick ones: of two events each
        page.mouse.move(box["x"] + dot * column, box["y"] + dot * 7.5)
        page.mouse.down()
        page.mouse.move(box["x"] + dot * column, box["y"] + dot * 20.5)
        page.mouse.up()
    page.mouse.move(box["x"], box["y"])  # with no button pressed
    strokes = np.zeros((28, 28), bool)
    strokes[6:22, [6, 7, 8, 19, 20, 21]] = True
    assert np.array_equal(large(page).reshape(28, 28) < 128, strokes)
    assert run.D(torch.tensor([page.evaluate("[...image]")])).item() == score(page)

    page.click("#clear")
    page.evaluate("pen = { x: 14.5, y: 14.5 }")
    for key in ["ArrowUp", "ArrowRight", "Space", "ArrowLeft", "ArrowDown", "Alt+ArrowRight"]:
        page.press("#large", key)
    assert colors(page, "#large")[0].reshape(28, 28, 3)[14, 14].tolist() == [255, 0, 0]
    ink = np.argwhere(np.reshape(page.evaluate("[...image]"), (28, 28)) == 1)
    assert ink.mean(axis=0).tolist() == [13, 15]
    assert not changed(before, tiles(page))
    assert not changed(z, z_on(page))


def test_verdict_is_read_out_when_it_rests(page):
    said = []
    page.evaluate("discriminatorBackward = () => new Float32Array(784)")
    for value in [0, 0.19, 0.2, 0.39, 0.4, 0.59, 0.6, 0.79, 0.8, 1]:
        page.evaluate(f"discriminator = () => ({{ score: {value} }}); show()")
        said.append(page.inner_text("#says"))
    words = ["fake", "rather fake", "it cannot tell", "rather real", "real"]
    values = "0.00 0.19 0.20 0.39 0.40 0.59 0.60 0.79 0.80 1.00".split()
    assert said == [f"D says {value}: {words[i // 2]}" for i, value in enumerate(values)]
    page.evaluate("heard.textContent = ''; for (let frame = 0; frame < 9; frame++) show()")
    assert page.inner_text("#heard") == ""
    page.wait_for_function("heard.textContent == says.textContent")
    assert style(page, "[role=status]", "display") == ["block"] * 2


def test_what_d_wants_is_followed_and_taken_back(page):
    z, before, first = z_on(page), tiles(page), page.inner_text("#score")
    for button, others in [("Change the pixels", []), ("Change z", [0])]:
        assert not page.is_enabled("#back")
        page.click("#walk")
        page.click(f"text='{button}' >> nth=-2")
        assert pressed(page) == ["sample 1", button]
        page.reload()
        page.get_by_role("button", name=button).click()
        page.wait_for_function(f"score.textContent > {first} + 0.02")
        page.get_by_role("button", name=button).click()
        assert pressed(page) == ["sample 1"]
        assert changed(z, z_on(page)) == changed(before, tiles(page)) == others
        assert page.is_enabled("#z") == bool(others)  # which cannot follow changed pixels
        assert page.evaluate("Math.max(...image.map(Math.abs))") <= 1
        page.evaluate("changePixels(); show()")
        page.click("#back")
        assert_one_z(page, 0, 1)
        assert not changed(z, z_on(page))
        assert page.inner_text("#score") == first

    steps = """changeZ(); const z = [...zs[0]]; stopAndShow(image.map(() => 0));
        changePixels(); show(); [z, [...drawn]]"""
    moved_z, moved_pixels = page.evaluate(steps)
    assert np.linalg.norm(moved_z - z[0]) == pytest.approx(0.1, abs=1e-4)
    assert np.linalg.norm(moved_pixels) == pytest.approx(0.5, abs=1e-4)
    assert page.is_enabled("#back")
    page.click("#samples button")  # another control: nothing to take back
    assert not page.is_enabled("#back")


def test_which_one_is_real(page, run):
    places, yours, ds = set(), 0, 0
    for number in range(1, 13):
        images = torch.tensor(page.evaluate("pair.map(image => [...image])"))
        assert np.abs(tiles(page, "#pair") - levels(images)).max() <= 1
        distances = torch.cdist(images, run.real_images).min(dim=1).values
        real = int(distances.argmin())
        assert distances[real] < 0.1 < distances[1 - real]
        you = real if number % 3 else 1 - real
        page.click(f"[title='{['left', 'right'][you]} image']")
        page.click("#pair button")  # which counts no more
        scores = run.D(images).flatten().tolist()
        yours, ds = yours + (you == real), ds + (scores[real] > scores[1 - real])
        places.add(real)
        answer = page.inner_text("#answer")
        left, right = re.findall(r"[01]\.\d\d", answer)
        assert [float(left), float(right)] == pytest.approx(scores, abs=0.006)
        assert answer == (
            f"{'Yes' if you == real else 'No'}, the {['left', 'right'][real]} image is real. "
            f"D says {left} to the left image, {right} to the right one. "
            f"You: {yours} of {number}. D: {ds} of {number}."
        )
        marks = style(page, "#pair button", "borderTopColor")
        assert [mark == "rgb(26, 95, 180)" for mark in marks] == [real == 0, real == 1]
        page.click("#next")
        assert page.inner_text("#answer") == ""
    assert places == {0, 1}
    page.press("#row", "Home")
    assert page.evaluate("length(pair[1 - real])") < 20  # noise, by the G of epoch 0
    page.click("#pair button")
    assert page.inner_text("#answer").endswith("of 1.")


def test_without_d_nothing_speaks_of_it_and_the_last_of_121_rows_is_shown(open_page, run, tmp_path):
    G = Generator(hidden_size=2)
    text = fill_page({str(row): G for row in range(121)}, draw_z(G, 25, seed=0), tmp_path)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page = open_page(tmp_path / "page.html")
    assert page.inner_text("#title") == "epoch 120"
    assert page.input_value("#row") == "120"
    assert not re.search(r"\bD\b|Discriminator|score", page.inner_text("body"))
    before = large(page)
    page.click("#large")
    assert np.array_equal(large(page), before)
    assert style(page, "#large", "touchAction + one.tabIndex") == ["auto-1"]

    text = re.sub(r'"real_images": "[^"]*"', '"x": 0', run.path.read_text(encoding="utf-8"))
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page.reload()
    assert page.is_visible("#map")
    assert not page.is_visible("#game")


def test_touch_scrolls_over_bars_and_draws_on_the_image(open_page, run):
    page = open_page(run.path, viewport={"width": 400, "height": 800}, has_touch=True)
    session = page.context.new_cdp_session(page)
    for place, scrolls in [("#bars input:nth-child(50)", True), ("#large", False)]:
        page.locator(place).scroll_into_view_if_needed()
        z, before, top = z_on(page), large(page), page.evaluate("scrollY")
        box = page.locator(place).bounding_box()
        middle = {"x": box["x"] + box["width"] / 3, "y": box["y"] + box["height"] / 2}
        swipe = {"yDistance": -100, "gestureSourceType": "touch", "speed": 2000}
        session.send("Input.synthesizeScrollGesture", middle | swipe)
        assert (page.evaluate("scrollY") != top) == scrolls
        assert np.array_equal(large(page), before) == scrolls
        assert not changed(z, z_on(page))


def luminance(color):
    """How bright "rgb(26, 95, 180)" is, as WCAG 2 defines it: from 0 to 1."""
    levels = np.array([float(level) / 255 for level in re.findall(r"[\d.]+", color)[:3]])
    return np.where(levels <= 0.04, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_all_is_legible_and_nothing_is_cut_off(page, scheme, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("find('walk').ariaPressed = true")
