"""The page to play with, in a real browser: what it shows, what each control does."""

import base64
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TEST import add_noun, draw_z, fill_page, find_checkpoints, load_rows, main, walk

FOLDER = """it's "<b>" & <script>alert(1)<script>"""
ALL = [*range(25)]

# What the page answers when it is asked
Z = "zs.map(z => [...z])"
PRESSED = (
    "Array.from(document.querySelectorAll('[aria-pressed=true]'), o => o.title || o.innerText)"
)


@pytest.fixture(scope="module")
def run(small_mnist, tmp_path_factory, open_page):
    """A run of three short epochs, whose Generators make something else of every z; its page."""
    outputs = tmp_path_factory.mktemp("page")
    folder, path = outputs / FOLDER, outputs / "MNIST_MLP_GAN.html"
    options = ["--epochs", 3, "--lr", 0.001, "--beta1", 0.5, "--batch-size", 5, "--device", "cpu"]
    options += ["--data-dir", small_mnist, "--checkpoint-dir", folder]
    MNIST_MLP_GAN_TRAIN.main([*map(str, options)])
    rows = ["0", "1", "3", "2-3"]
    main(["--checkpoint-dir", str(folder), "--output-dir", str(outputs), "--rows", *rows])
    last = torch.load(folder / "last.pt", weights_only=True)
    rows, D = load_rows(rows, find_checkpoints(folder)), Discriminator()
    D.load_state_dict(last["D"])
    for network in [D, *rows.values()]:
        network.bfloat16().float()  # as exact as the page has it
    page, real_images = open_page(path), last["real_images"]
    return SimpleNamespace(path=path, page=page, rows=rows, D=D, real_images=real_images)


@pytest.fixture
def page(run):
    """The page as it was when it was opened."""
    run.page.set_viewport_size({"width": 1200, "height": 900})
    run.page.emulate_media(color_scheme="light")
    run.page.reload()
    return run.page


def shown(page, selector="#samples canvas"):
    """What every canvas that ``selector`` finds shows: colors, (N, 784, 3)."""
    program = """canvases => canvases.map(canvas => btoa(String.fromCharCode(
        ...canvas.getContext("2d").getImageData(0, 0, 28, 28).data)))"""
    data = [base64.b64decode(text) for text in page.eval_on_selector_all(selector, program)]
    return np.frombuffer(b"".join(data), np.uint8).reshape(-1, 784, 4)[..., :3].astype(float)


def differ(shown, images):
    """By how many gray levels, at most, ``shown`` differs from ``images``, from -1 to 1."""
    return np.abs(shown - 127.5 * (1 - images.detach().numpy()[..., None])).max()


def style(page, selector, name):
    return page.eval_on_selector_all(selector, f"all => all.map(o => getComputedStyle(o).{name})")


def changed(before, after):
    """Which of the images, or of the vectors, are not the same."""
    return [i for i in range(len(before)) if not np.array_equal(before[i], after[i])]


def assert_one_z(page, chosen, other):
    """Tiles, strip, bars and large image are of the same z."""
    tiles, strip = shown(page), shown(page, "#between canvas")
    assert np.abs(strip[[0, 8]] - tiles[[other, chosen]]).max() <= 1
    assert not changed(shown(page, "#large"), tiles[[chosen]])
    values = page.eval_on_selector_all("#bars input", "bars => bars.map(bar => +bar.value)")
    assert values == pytest.approx(np.clip(page.evaluate(Z)[chosen], -3, 3).tolist(), abs=0.051)


def test_rows_scores_and_gradients_equal_torchs(page, run):
    z_before = page.evaluate(Z)
    page.click("#noise")  # which the slider replaces by the sample
    page.press("#row", "Home")
    for row, G in run.rows.items():
        titles = page.inner_text("#title"), page.get_attribute("#row", "aria-valuetext")
        assert titles == (add_noun(row), add_noun(row))
        z = draw_z(G, 25, seed=0).requires_grad_()
        images = G(z)
        images.retain_grad()
        scores = run.D(images)
        scores.log().sum().backward()
        assert differ(shown(page), images) <= 1
        assert_one_z(page, 0, 1)
        opinion = [float(page.inner_text("#score")), page.evaluate("gauge.value")]
        assert opinion == pytest.approx([scores[0].item()] * 2, abs=0.006)
        both = """const fake = generator(G, zs[0]);
            const atPixels = discriminatorBackward(D, discriminator(D, fake.image));
            [atPixels, generatorBackward(G, fake, atPixels)].map(all => [...all])"""
        for ours, torchs in zip(page.evaluate(both), [images.grad[0], z.grad[0]], strict=True):
            assert np.abs(ours - torchs.numpy()).max() < 0.001 * min(1, torchs.abs().max())
        # The strongest wish has the full color, blue where ink raises the score.
        wish = (images.grad[0] / images.grad[0].abs().max()).numpy()[:, None]
        end = np.where(wish > 0, [31, 119, 208], [230, 97, 0])
        assert np.abs(shown(page, "#map")[0] - (255 + abs(wish) * (end - 255))).max() <= 1.5
        page.press("#row", "ArrowRight")
    assert not changed(z_before, page.evaluate(Z))


def test_names_and_marks(page):
    assert page.inner_text("#source") == f"These are the networks of the folder {FOLDER}."
    assert "The D of epoch 3 knows" in page.inner_text("#one")
    assert "Press again to stop." in page.inner_text("#one")
    headings = ["Play with your GAN", "Watch it learn", "One sample", "What does D want?", "Its z"]
    headings += ["From one digit to another", "Which one is real?"]
    assert page.locator("h1, h2").all_inner_texts() == headings
    assert "■ D wants it darker\n■ D wants it lighter" in page.inner_text("#views")
    assert style(page, "#darker, #lighter", "color") == ["rgb(31, 119, 208)", "rgb(230, 97, 0)"]
    names = [f"sample {i + 1}" for i in ALL] + [f"z {i}" for i in range(100)]
    names += [f"between, {i + 1} of 9" for i in range(9)] + ["left image", "right image"]
    assert page.eval_on_selector_all("[title]", "all => all.map(one => one.title)") == names
    before = shown(page)
    page.click("#samples button:nth-child(3)")
    page.press("#samples button:nth-child(8)", "Enter")
    page.keyboard.press("Enter")  # once more changes nothing
    assert_one_z(page, 7, 2)
    assert not changed(before, shown(page))
    assert page.evaluate(PRESSED) == ["sample 8"]
    assert page.locator("#samples [aria-pressed=false]").count() == 24
    looks = style(page, "#samples button", "border")
    assert [looks.count(looks[tile]) for tile in [0, 2, 7]] == [23, 1, 1]
    assert looks[2] == looks[7].replace("solid", "dashed") == "3px dashed rgb(26, 95, 180)"


def test_new_z_and_walk_until_something_stops_it(page):
    z, before = page.evaluate(Z), shown(page)
    page.click("#new")
    after = page.evaluate(Z)
    assert changed(before, shown(page)) == changed(z, after) == ALL
    assert [np.mean(after), np.std(after)] == pytest.approx([0, 1], abs=0.1)  # 5 standard errors
    assert np.abs(after).max() > 2.5
    for stop in ["clear", "pixels", "large", "between *", "walk", "new", "samples *"]:
        page.click("#walk")
        assert "Walk" in page.evaluate(PRESSED)
        page.evaluate("started = zs")
        page.wait_for_function("zs != started")
        page.click(f"#{stop}")
        assert "Walk" not in page.evaluate(PRESSED)
        stopped, strip = page.evaluate(Z), shown(page, "#between canvas")
        assert np.abs(strip[[0, 8]] - shown(page)[[1, 0]]).max() <= 1
        if stop == "walk":  # the large image has moved on, too
            assert_one_z(page, 0, 1)
    assert page.inner_text("#walk") == "Walk"
    assert not changed(stopped, page.evaluate(Z))
    ways = page.evaluate("[0, 4000, 4001, 8000].map(now => { walk(now); return [...zs[0]] })")
    to_new, turn, to_next = np.linalg.norm(np.diff(ways, axis=0), axis=1)
    assert turn < 0.02  # without a jump
    assert min(to_new, to_next) > 8
    assert changed(stopped, page.evaluate(Z)) == ALL


def test_bars_and_the_strip_between_two_tiles(page, run):
    z, before = page.evaluate(Z), shown(page)
    bar = page.get_by_role("slider", name="z 5", exact=True)
    bar.click(position={"x": 0.8 * bar.bounding_box()["width"], "y": 9})
    after = page.evaluate(Z)
    assert changed(z, after) == changed(before, shown(page)) == [0]
    assert changed(z[0], after[0]) == [5]
    assert_one_z(page, 0, 1)
    for key, value in [("Home", -3), ("End", 3)]:
        bar.press(key)
        assert page.evaluate(Z)[0][5] == value
        picture = np.array(Image.open(io.BytesIO(bar.screenshot())).convert("RGB"))
        share = 0.5 + value / 15  # filled on this side of the middle, and empty on the other
        dots = picture[6, [round(picture.shape[1] * at) for at in [share, 1 - share]]]
        assert dots.tolist() == [[26, 95, 180], [255, 255, 255]]
    page.click("#samples button:nth-child(3)")
    page.click("#samples button:nth-child(10)")
    z = page.evaluate(Z)
    between = run.rows["2-3"](walk(*torch.tensor([z[2], z[9]]), steps=9))
    assert differ(shown(page, "#between canvas"), between) <= 1
    page.click("#between button:nth-child(5)")
    assert differ(shown(page, "#large"), between[4]) <= 1
    assert page.evaluate("gauge.value") == pytest.approx(run.D(between[4]).item(), abs=0.01)
    assert not changed(z, page.evaluate(Z))


def test_drawing_is_judged_and_leaves_the_samples_alone(page, run):
    z, before = page.evaluate(Z), shown(page)
    page.click("#noise")
    noise = shown(page, "#large")  # even, from black to white
    assert [noise.mean(), noise.std()] == pytest.approx([127.5, 73.6], abs=15)
    page.click("#clear")
    assert (shown(page, "#large") == 255).all()
    canvas = page.locator("#large")
    dot = canvas.bounding_box()["width"] / 28
    for x in [7.5 * dot, 20.5 * dot]:  # two strokes, quick ones: of two events each
        start, end = {"x": x, "y": 7.5 * dot}, {"x": x, "y": 20.5 * dot}
        canvas.drag_to(canvas, source_position=start, target_position=end)
    canvas.hover()  # with no button pressed
    strokes = np.zeros((28, 28), bool)
    strokes[6:22, [6, 7, 8, 19, 20, 21]] = True
    assert not changed(shown(page, "#large")[0, :, 0] < 128, strokes.flatten())
    image = torch.tensor(page.evaluate("[...image]"))
    assert page.evaluate("gauge.value") == pytest.approx(run.D(image).item(), abs=1e-4)

    page.click("#clear")
    page.evaluate("pen = { x: 14.5, y: 14.5 }")
    for key in ["ArrowUp", "ArrowRight", "Space", "ArrowLeft", "ArrowDown", "Alt+ArrowRight"]:
        page.press("#large", key)
    assert shown(page, "#large")[0, 14 * 28 + 14].tolist() == [255, 0, 0]
    ink = np.flatnonzero(np.array(page.evaluate("[...image]")) == 1)
    assert ink.mean() == 13 * 28 + 15
    assert changed(before, shown(page)) == changed(z, page.evaluate(Z)) == []


def test_verdict_is_read_out_when_it_rests(page):
    page.evaluate("discriminatorBackward = () => new Float32Array(784)")
    words = ["fake", "rather fake", "it cannot tell", "rather real", "real"]
    for number, value in enumerate([0, 0.19, 0.2, 0.39, 0.4, 0.59, 0.6, 0.79, 0.8, 1]):
        page.evaluate(f"discriminator = () => ({{ score: {value} }}); show()")
        assert page.inner_text("#says") == f"D says {value:.2f}: {words[number // 2]}"
    moving = "heard.textContent = ''; show(); setTimeout(show, 300);"
    after = "new Promise(tell => setTimeout(() => tell(heard.textContent), 600))"
    assert page.evaluate(moving + after) == ""
    page.wait_for_function("heard.textContent == says.textContent")
    assert page.get_by_role("status").count() == 2  # this, and the game's answer


def test_what_d_wants_is_followed_and_taken_back(page):
    z, before, first = page.evaluate(Z), shown(page), page.inner_text("#score")
    for name, others in [("Change the pixels", []), ("Change z", [0])]:
        button = page.get_by_role("button", name=name)
        page.click("#walk")
        button.click()
        assert page.evaluate(PRESSED) == ["sample 1", name]
        page.reload()
        assert not page.is_enabled("#back")
        button.click()
        page.wait_for_function(f"score.textContent > {first} + 0.02")
        button.click()
        assert page.evaluate(PRESSED) == ["sample 1"]
        assert changed(z, page.evaluate(Z)) == changed(before, shown(page)) == others
        assert page.is_enabled("#z") == bool(others)  # which cannot follow changed pixels
        assert page.evaluate("changePixels(), show(), Math.max(...image.map(Math.abs))") <= 1
        page.click("#back")
        assert_one_z(page, 0, 1)
        assert not changed(z, page.evaluate(Z))
    page.evaluate("stopAndShow(image.map(() => 0)), changePixels(), show()")
    assert np.linalg.norm(page.evaluate("[...image]")) == pytest.approx(0.1)
    assert page.is_enabled("#back")
    page.click("#samples button")  # another control: nothing to take back
    assert not page.is_enabled("#back")
    page.evaluate("changeZ()")
    assert np.linalg.norm(np.subtract(page.evaluate(Z), z)) == pytest.approx(0.1, abs=1e-4)


def test_which_one_is_real(page, run):
    sides, places, seen, yours, ds = ["left", "right"], set(), [], 0, 0
    for number in range(1, 13):
        images = torch.tensor(page.evaluate("pair.map(image => [...image])"))
        assert differ(shown(page, "#pair canvas"), images) <= 1
        distances = torch.cdist(images, run.real_images / 127.5 - 1).min(dim=1).values
        real = int(distances.argmin())
        assert distances[real] < 0.1 < distances[1 - real]
        places.add(real)
        seen += images
        you = real if number % 3 else 1 - real
        page.click(f"[title='{sides[you]} image']")
        page.click("#pair button")  # which counts no more
        scores = run.D(images).flatten().tolist()
        yours, ds = yours + (you == real), ds + (scores[real] > scores[1 - real])
        answer = page.inner_text("#answer")
        left, right = re.findall(r"[01]\.\d\d", answer)
        assert [float(left), float(right)] == pytest.approx(scores, abs=0.006)
        verdict = f"{'Yes' if you == real else 'No'}, the {sides[real]} image is real. "
        opinion = f"D says {left} to the left image, {right} to the right one. "
        assert answer == verdict + opinion + f"You: {yours} of {number}. D: {ds} of {number}."
        marks = style(page, "#pair button", "borderTopColor")
        assert marks[real] == "rgb(26, 95, 180)" != marks[1 - real]
        page.click("#next")
        assert page.inner_text("#answer") == ""
    assert places == {0, 1}
    assert len(torch.stack(seen).unique(dim=0)) > 18  # of 24: new ones, real and fake
    page.press("#row", "Home")
    assert page.evaluate("Math.hypot(...pair[1 - real])") < 20  # noise, by the G of epoch 0
    page.click("#pair button")
    assert page.inner_text("#answer").endswith("of 1.")


def test_without_d_nothing_speaks_of_it_and_121_rows_start_at_the_last(open_page, run, tmp_path):
    G, path = Generator(hidden_size=2), tmp_path / "page.html"
    text = fill_page({str(row): G for row in range(121)}, draw_z(G, 25, seed=0), tmp_path)
    path.write_text(text, encoding="utf-8")
    page = open_page(path)
    assert (page.inner_text("#title"), page.input_value("#row")) == ("epoch 120", "120")
    assert not re.search(r"\bD\b|Discriminator|score", page.inner_text("body"))
    before = shown(page, "#large")
    page.click("#large")
    assert not changed(before, shown(page, "#large"))
    assert not page.is_visible("#large[tabindex]")  # nor will a finger draw, or the Tab key stop
    text = re.sub(r'"real_images": "[^"]*"', '"x": 0', run.path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    page.reload()
    assert (page.is_visible("#map"), page.is_visible("#game")) == (True, False)


def test_touch_scrolls_over_bars_and_draws_on_the_image(page):
    page.set_viewport_size({"width": 400, "height": 800})
    session, z = page.context.new_cdp_session(page), page.evaluate(Z)
    for place, scrolls in [("#bars input:nth-child(50)", True), ("#large", False)]:
        page.locator(place).scroll_into_view_if_needed()
        before, top = shown(page, "#large"), page.evaluate("scrollY")
        box = page.locator(place).bounding_box()
        for move, kind in enumerate(["touchStart", *["touchMove"] * 9, "touchEnd"]):
            x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] * 0.9 - 10 * move
            points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_function(f"(scrollY != {top}) == {str(scrolls).lower()}")
        assert changed(before, shown(page, "#large")) == ([] if scrolls else [0])
        assert not changed(z, page.evaluate(Z))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "columns"), [(400, 1), (1200, 2)])
def test_all_is_legible_and_nothing_is_cut_off(page, scheme, width, columns):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("find('walk').ariaPressed = true")
    rights = "all => all.map(one => Math.max(one.getBoundingClientRect().right, one.scrollWidth))"
    assert max(page.eval_on_selector_all("html, body *", rights)) <= width
    lefts = page.eval_on_selector_all("section", "all => all.map(one => one.offsetLeft)")
    assert len({*lefts}) == columns
    for text, ground in [("#walk", "#walk"), ("h2", "section"), ("h1", "body")]:
        looks = style(page, text, "color")[0], style(page, ground, "backgroundColor")[0]
        levels = np.array([re.findall(r"\d+", look)[:3] for look in looks], float) / 255
        bright = ((levels + 0.055) / 1.055) ** 2.4 @ [0.2126, 0.7152, 0.0722]  # by WCAG 2
        assert (max(bright) + 0.05) / (min(bright) + 0.05) > 4.5
    assert (bright[0] < bright[1]) == (scheme == "light")
    page.keyboard.press("Tab")
    assert style(page, ":focus", "outlineStyle") == ["solid"]
