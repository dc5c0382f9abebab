"""The README says what is so: its code is the scripts' code, its commands and programs run."""

import inspect
import re
import runpy
import shlex
import textwrap

import benchmark
import pytest
from helpers import ROOT, SCORE, TEST, TRAIN

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN

README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.py"), SCORE]]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
PROGRAMS = [block for block in BLOCKS if "import " in block]
EXCERPTS = [block for block in BLOCKS if block not in PROGRAMS]


def commands(script):
    """The options of each of the README's commands that start ``script``, in order."""
    lines = README.replace("\\\n", " ")
    return [shlex.split(found) for found in re.findall(rf"python {script.name}([^&\n`]*)", lines)]


def test_both_steps_are_shown_whole():
    for step in [MNIST_MLP_GAN_TRAIN.train_discriminator, MNIST_MLP_GAN_TRAIN.train_generator]:
        body = textwrap.dedent(inspect.getsource(step).split('"""\n')[1])
        assert body.split("return ")[0] in EXCERPTS


@pytest.mark.parametrize("block", EXCERPTS)
def test_every_excerpt_stands_in_a_script_line_for_line(block):
    indented = [textwrap.indent(block, " " * depth) for depth in (0, 4, 8)]
    assert any(lines in source for lines in indented for source in SOURCES)


def test_first_command_leaves_what_every_program_needs(train, call, tmp_path, monkeypatch, capsys):
    """The first command's options, on few images; then each program prints or makes a picture."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    train("checkpoints", *commands(TRAIN)[0])
    folders = ["--checkpoint-dir", "checkpoints", "--output-dir", "outputs"]
    call(TEST, *folders, *commands(TEST)[0])
    assert PROGRAMS
    for number, program in enumerate(PROGRAMS):
        assert len(program.splitlines()) <= 25
        before = {*tmp_path.rglob("*.png")}
        path = tmp_path / f"program_{number}.py"
        path.write_text(program, encoding="utf-8")
        runpy.run_path(str(path), run_name="__main__")
        made = {*tmp_path.rglob("*.png")} - before
        assert made or capsys.readouterr().out


def test_every_command_is_one_that_the_scripts_take():
    for script, module in [(TRAIN, MNIST_MLP_GAN_TRAIN), (TEST, MNIST_MLP_GAN_TEST)]:
        assert len(commands(script)) > 3
        for options in commands(script):
            module.parse_arguments(options)


def test_files_that_it_links_to_exist():
    paths = re.findall(r"\]\(([^):#]+)\)", README)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path
        assert (ROOT / path).stat().st_size < 2_000_000, path  # a page loads in a moment


def test_every_option_is_in_the_readme():
    options = vars(MNIST_MLP_GAN_TRAIN.parse_arguments([]))
    options |= vars(MNIST_MLP_GAN_TEST.parse_arguments([]))
    for name in options:
        assert f"--{name.replace('_', '-')}" in README


def test_readme_is_short_and_its_first_command_comes_soon():
    lines = README.splitlines()
    assert len(README) <= 24_000
    assert [line for line in lines if len(line) > 110] == []
    assert lines.index("```", lines.index("```sh")) < 30


def test_benchmark_times_the_readmes_recipes(server, capsys, monkeypatch):
    recipes = [" ".join(options) for options in commands(TRAIN)]
    for recipe in [benchmark.QUICK, benchmark.BETTER]:
        assert any(line.startswith(recipe) for line in recipes)

    monkeypatch.setattr(benchmark.multiprocessing, "get_context", lambda _: server)
    monkeypatch.setattr("sys.executable", "true")  # TEST itself is run by others
    benchmark.main(["--rounds", "1", "--images", "300", "--saves", "2"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if "|" in line]
    names = ["plain loop", "ours, quick", "ours, classic", "ours, better digits"]
    assert [row[0].strip() for row in rows[2:]] == names
    epochs = [float(row[2]) for row in rows[2:]]
    assert epochs == [200, 26, 200, 100]
    for row, count in zip(rows[2:], epochs, strict=True):
        assert float(row[1]) > 0
        assert float(row[3]) == pytest.approx(float(row[1]) * count / 60, abs=0.1)
