"""The README says what is so: its code is the scripts' code, its pictures and options exist."""

import re
import textwrap

import pytest
from conftest import ROOT, TEST, TRAIN, run

README = (ROOT / "README.md").read_text()
SCRIPTS = {path.name: path.read_text() for path in ROOT.glob("*.py")}


def python_blocks():
    return re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_walkthrough_has_code():
    assert len(python_blocks()) > 10


@pytest.mark.parametrize("block", python_blocks())
def test_every_python_block_stands_in_a_script(block):
    """Line for line; only a common indentation may differ."""
    for source in SCRIPTS.values():
        lines = source.splitlines()
        wanted = block.splitlines()
        for start in range(len(lines) - len(wanted) + 1):
            found = textwrap.dedent("\n".join(lines[start : start + len(wanted)]))
            if found == "\n".join(wanted):
                return
    pytest.fail(f"in no script:\n{block}")


def test_pictures_and_files_it_names_exist():
    for path in re.findall(r"!?\[[^]]*\]\(([^):#]+)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_every_option_is_in_the_readme(script):
    for option in set(re.findall(r"--[a-z-]+", run(script, "--help"))) - {"--help"}:
        assert f"`{option}" in README, option
