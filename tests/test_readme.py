"""The README says what is so: its code is the scripts' code, its pictures and options exist."""

import re
import textwrap

import pytest
import torch
from benchmark import BETTER, QUICK
from helpers import ROOT, SCORE, environment, run, save_generator

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator

README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.py"), SCORE]]
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
PROGRAMS = [block for block in BLOCKS if "import torch" in block]
EXCERPTS = [block for block in BLOCKS if block not in PROGRAMS]


def test_walkthrough_shows_both_steps_and_a_program():
    for line in [
        "d_loss.backward()",
        "d_optimizer.step()",
        "g_loss.backward(",
        "g_optimizer.step()",
    ]:
        assert any(line in block for block in EXCERPTS), line
    assert PROGRAMS


@pytest.mark.parametrize("block", EXCERPTS)
def test_every_excerpt_stands_in_a_script(block):
    """Line for line; only a common indentation may differ."""
    for source in SOURCES:
        lines = source.splitlines()
        wanted = block.splitlines()
        for start in range(len(lines) - len(wanted) + 1):
            found = textwrap.dedent("\n".join(lines[start : start + len(wanted)]))
            if found == "\n".join(wanted):
                return
    pytest.fail(f"in no script:\n{block}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_runs(program, tmp_path):
    """After a run of which two files are made up here."""
    save_generator(tmp_path / "outputs", "18-26")
    (tmp_path / "checkpoints").mkdir()
    last = {"D": Discriminator().state_dict(), "G": Generator().state_dict()}
    torch.save(last, tmp_path / "checkpoints" / "last.pt")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    env = environment(PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
    printed = run("program.py", cwd=tmp_path, env=env)
    pictures = [path for path in tmp_path.rglob("*.png") if path.stat().st_size > 1000]
    assert printed or pictures


def test_files_that_it_links_to_exist():
    paths = re.findall(r"\]\(([^):#]+)\)", README)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("script", [MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST])
def test_every_option_is_in_the_readme(script, capsys):
    with pytest.raises(SystemExit):
        script.parse_arguments(["--help"])
    options = set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out)) - {"--help"}
    assert len(options) >= 4
    for option in options:
        assert option in README, option


def test_benchmark_times_the_readmes_recipes():
    words = " ".join(README.replace("\\\n", " ").split()) + " "
    for recipe in [QUICK, BETTER]:
        assert f"MNIST_MLP_GAN_TRAIN.py {recipe} " in words


def test_readme_is_short_and_fits_an_editor():
    assert len(README) <= 21_000
    assert [line for line in README.splitlines() if len(line) > 110] == []


def test_commands_come_first_and_fit_a_terminal():
    lines = README.splitlines()
    end = lines.index("```")
    block = lines[lines.index("```sh") : end]
    assert len(block) > 1
    assert end < 25
    assert [line for line in block if len(line) > 100] == []
