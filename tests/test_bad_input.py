"""Wrong options, devices, folders, data and files: one line that names them, nothing touched."""

import gzip
import os
from pathlib import Path

import pytest
import torch
from helpers import TEST, TRAIN, contents, first_images, save_generator, save_last, write_archive

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_NETWORK import Discriminator, Generator
from MNIST_MLP_GAN_TRAIN import ARCHIVE


def test_numbers_out_of_range_are_refused(train, tmp_path):
    for option in ["--epochs", "--batch-size", "--hidden-size", "--latent-size"]:
        for value in [0, -1, 1.5, "x"]:
            assert option in train(tmp_path / "new", f"{option}={value}", fails=True)
    for option in ["--lr=-1", "--lr=nan", "--beta1=1", "--beta1=-0.1", "--seed=-1"]:
        assert option.split("=")[0] in train(tmp_path / "new", option, fails=True)
    assert not (tmp_path / "new").exists()


def test_rows_that_cannot_be_drawn_are_refused(call, folders):
    line = call(TEST, *folders.options, fails=True)
    assert str(folders.checkpoints) in line
    assert TRAIN.name in line
    save_generator(folders.checkpoints, 4)
    for text in ["", "x", "-1", "3-2", "1-", "1.5"]:
        assert repr(text) in call(TEST, *folders.options, f"--rows={text}", fails=True)
    for row in ["5", "5-6", "4-5", "3-4"]:
        line = call(TEST, *folders.options, "--rows", row, fails=True)
        assert ("epoch 3" if row == "3-4" else "epoch 5") in line
    assert not folders.outputs.exists()


def test_device_that_does_not_work_is_refused(train, tmp_path):
    for name in ["nonsense", "cuda:99"]:
        line = train(tmp_path / "new", "--device", name, fails=True)
        assert f"--device {name}" in line
        assert "\n" not in line
    assert not (tmp_path / "new").exists()


def test_output_folder_that_is_a_file(call, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    save_generator(tmp_path, 0)
    line = call(TEST, "--checkpoint-dir", tmp_path, "--output-dir", path, fails=True)
    assert str(path) in line
    assert "\n" not in line
    assert path.read_bytes() == b"mine"


def test_ctrl_c_while_starting(start, edited, tmp_path):
    script = edited(TRAIN, "data = gzip", "raise KeyboardInterrupt\n        data = gzip")
    with pytest.raises(SystemExit) as stopped:
        start(script, "--checkpoint-dir", tmp_path / "new")
    assert "\n" not in stopped.value.code
    assert not (tmp_path / "new").exists()


def test_images_that_cannot_be_read_or_are_not_28x28(train, small_mnist, tmp_path):
    whole = (small_mnist / ARCHIVE).read_bytes()
    content = gzip.decompress(whole)
    wrongs = {
        "cut": whole[:5000],
        "damaged": whole[:5000] + bytes(100) + whole[5100:],
        "not packed": content,
        "empty": b"",
        "packed empty": gzip.compress(b""),
        "too few images": gzip.compress(content[:-784]),
        "a folder": None,
        "missing": None,
    }
    for kind, wrong in wrongs.items():
        (tmp_path / kind).mkdir()
        if wrong is not None:
            (tmp_path / kind / ARCHIVE).write_bytes(wrong)
    (tmp_path / "a folder" / ARCHIVE).mkdir()
    for images, height in [
        (first_images(9), 14),
        (first_images(9), 56),
        (torch.zeros(9, 1024), 32),
    ]:
        write_archive(tmp_path / f"{height} high", images.byte(), height)
    for data_dir in [path for path in tmp_path.iterdir() if path.name != "new"]:
        line = train(tmp_path / "new", "--data-dir", data_dir, fails=True)
        assert str(data_dir / ARCHIVE) in line
        assert "\n" not in line
        if "high" in data_dir.name:
            assert f"{data_dir.name.split()[0]}x" in line
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_where_the_images_are(train, tmp_path):
    data = tmp_path / "data"
    write_archive(data, first_images(250))
    (data / ARCHIVE.removesuffix(".gz")).write_bytes(b"mine")
    before = {path: path.stat().st_mtime_ns for path in [data, *data.iterdir()]}
    train(tmp_path / "run", "--data-dir", data)
    assert before == {path: path.stat().st_mtime_ns for path in [data, *data.iterdir()]}


class Trap:
    """What makes a file when it is loaded as code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_refused_and_not_run(train, call, tmp_path):
    made = tmp_path / "made"
    for name in ["G_1.pth", "last.pt"]:
        run = tmp_path / name
        save_generator(run, 0, hidden_size=1)
        save_last(run, [])
        torch.save({"weight": Trap(made)}, run / name)
        assert str(run / name) in call(TEST, "--checkpoint-dir", run, fails=True)
        assert not made.exists()
    assert str(run / name) in train(run, "--resume", fails=True)
    assert str(run / name) in train(run, fails=True)
    assert not made.exists()
    torch.load(run / name, weights_only=False)  # the trap works
    assert made.exists()


BAD_FILES = {
    "empty": lambda path: path.touch(),
    "cut": lambda path: (torch.save(Generator().state_dict(), path), os.truncate(path, 10_000)),
    "a model": lambda path: torch.save(Generator(), path),
    "a folder": lambda path: path.mkdir(),
    "a list": lambda path: torch.save([1], path),
    "another network's": lambda path: torch.save(Discriminator().state_dict(), path),
    "another version's": lambda path: torch.save({"options": {"epochs": 2}, "history": []}, path),
}


def test_bad_files_are_named_and_left_alone(call, train, tmp_path):
    for kind, make in BAD_FILES.items():
        folder, outputs = tmp_path / kind, tmp_path / "outputs"
        save_generator(folder, 0, hidden_size=1)
        make(folder / "last.pt")
        make(folder / "G_3.pth")
        before = contents(folder)
        line = train(folder, "--resume", fails=True)
        assert str(folder / "last.pt") in line
        assert "\n" not in line
        line = call(TEST, "--checkpoint-dir", folder, "--output-dir", outputs, fails=True)
        assert str(folder / "G_3.pth") in line
        assert "\n" not in line
        assert ("size mismatch" in line) == (kind == "another network's")
        assert contents(folder) == before
        assert not outputs.exists()


def test_options_and_their_defaults(capsys):
    parse = MNIST_MLP_GAN_TRAIN.parse_arguments
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    root = Path(MNIST_MLP_GAN_TRAIN.__file__).parent
    defaults = {
        "epochs": 200,
        "batch_size": 100,
        "lr": 0.0002,
        "beta1": 0.9,
        "hidden_size": 256,
        "latent_size": 100,
        "seed": 0,
        "device": str(gpu or "cpu"),
        "data_dir": root / "data" / "MNIST" / "raw",
        "checkpoint_dir": root / "checkpoints",
        "quick": False,
        "resume": False,
        "overwrite": False,
    }
    quick = {"epochs": 26, "lr": 0.001, "beta1": 0.5, "quick": True}
    own = {"batch_size": 7, "beta1": 0.1, "seed": 5}
    for line, differing in {
        "": {},
        "--quick": quick,
        "--quick --lr 0.0002 --epochs 3": quick | {"lr": 0.0002, "epochs": 3},
        "--beta1 0.1 --batch-size 7 --seed 5 --quick": quick | own,
        "--beta1 0.1 --batch-size 7 --seed 5": own,
    }.items():
        options = vars(parse(line.split()))
        assert {name: options[name] for name in defaults} == defaults | differing
    assert vars(MNIST_MLP_GAN_TEST.parse_arguments([])) == {
        "checkpoint_dir": root / "checkpoints",
        "output_dir": root / "outputs",
        "rows": None,
        "seed": 0,
    }
    for module in [MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST]:
        with pytest.raises(SystemExit) as exited:
            module.parse_arguments(["--help"])
        assert not exited.value.code
        assert "--checkpoint-dir" in capsys.readouterr().out
