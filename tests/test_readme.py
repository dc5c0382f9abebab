"""The README says what is so: its code is the scripts' code, its pictures and options exist."""

import re
import subprocess
import sys
import textwrap

import pytest
from benchmark import BETTER, HURRY
from conftest import ROOT, environment, save_generator

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN

README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("*.py")}
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
PROGRAMS = [block for block in BLOCKS if "import torch" in block]
EXCERPTS = [block for block in BLOCKS if block not in PROGRAMS]


def test_walkthrough_has_code():
    assert len(EXCERPTS) > 10


@pytest.mark.parametrize("block", EXCERPTS)
def test_every_excerpt_stands_in_a_script(block):
    """Line for line; only a common indentation may differ."""
    for source in SCRIPTS.values():
        lines = source.splitlines()
        wanted = block.splitlines()
        for start in range(len(lines) - len(wanted) + 1):
            found = textwrap.dedent("\n".join(lines[start : start + len(wanted)]))
            if found == "\n".join(wanted):
                return
    pytest.fail(f"in no script:\n{block}")


def test_program_draws_a_digit(tmp_path):
    (program,) = PROGRAMS
    save_generator(tmp_path / "checkpoints", 200)
    env = environment(PYTHONPATH=str(ROOT), MPLBACKEND="Agg")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True)
    assert (tmp_path / "digit.png").stat().st_size > 1000


def test_pictures_and_files_it_names_exist():
    for path in re.findall(r"!?\[[^]]*\]\(([^):#]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("script", [MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST])
def test_every_option_is_in_the_readme(script, capsys):
    with pytest.raises(SystemExit):
        script.parse_arguments(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert len(options) > 5
    for option in options:
        assert f"`{option}" in README, option


@pytest.mark.parametrize("recipe", [HURRY, BETTER])
def test_benchmark_times_the_readmes_recipes(recipe):
    assert f"MNIST_MLP_GAN_TRAIN.py {recipe} " in README
