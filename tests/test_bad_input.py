"""Wrong options, devices, folders, data and files: one line that names them, nothing touched."""

import gzip

import pytest
import torch
from helpers import (
    ARCHIVES,
    BAD_FILES,
    ROOT,
    TEST,
    TRAIN,
    first_images,
    save_generator,
    write_archive,
)

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_TRAIN import ARCHIVE

DEFAULTS = {
    "epochs": (40, "passes over the images"),
    "batch_size": (100, "real images per step"),
    "lr": (0.001, "learning rate"),
    "beta1": (0.5, "older gradients"),
    "hidden_size": (256, "units per hidden layer"),
    "latent_size": (100, "latent vector"),
    "seed": (0, "same seed"),
    "data_dir": (ROOT / "data" / "MNIST" / "raw", ARCHIVE),
    "checkpoint_dir": (ROOT / "checkpoints", "folder to save in"),
    "resume": (False, "continue the run"),
    "overwrite": (False, "delete that run"),
}


def test_defaults_and_help(capsys):
    options = vars(MNIST_MLP_GAN_TRAIN.parse_arguments([]))
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    defaults = {name: default for name, (default, _) in DEFAULTS.items()}
    assert options == defaults | {"device": str(gpu or "cpu")}
    outputs = ROOT / "outputs"
    expected = {"checkpoint_dir": ROOT / "checkpoints", "output_dir": outputs}
    assert vars(MNIST_MLP_GAN_TEST.parse_arguments([])) == expected | {"rows": None, "seed": 5}
    for module in [MNIST_MLP_GAN_TEST, MNIST_MLP_GAN_TRAIN]:
        with pytest.raises(SystemExit) as exited:
            module.parse_arguments(["--help"])
        assert not exited.value.code
        shown = " ".join(capsys.readouterr().out.split("options:")[1].split())
        assert "--checkpoint-dir" in shown
    for name, (default, meaning) in DEFAULTS.items():  # each with its own meaning and default
        option = "--" + name.replace("_", "-")
        _, found, text = shown.partition(f" {option} {'' if default is False else name.upper()}")
        assert found
        text = text.split(" --")[0]
        assert meaning in text
        assert default is False or f"default: {default}" in text


def test_gpu_is_the_default_where_there_is_one(monkeypatch):
    """A stand-in for one: torch's two questions are answered as there."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert MNIST_MLP_GAN_TRAIN.parse_arguments([]).device == "mps"


def test_every_run_has_its_own_place_for_pictures():
    for checkpoints, outputs in {
        ROOT / "checkpoints": ROOT / "outputs",
        ROOT / "checkpoints" / "a" / "b": ROOT / "outputs" / "a" / "b",
        "elsewhere/run": "elsewhere/run/outputs",
        ROOT / "checkpoints 2": ROOT / "checkpoints 2" / "outputs",
    }.items():
        options = ["--checkpoint-dir", str(checkpoints)]
        assert str(MNIST_MLP_GAN_TEST.parse_arguments(options).output_dir) == str(outputs)
        args = MNIST_MLP_GAN_TEST.parse_arguments([*options, "--output-dir", "mine"])
        assert str(args.output_dir) == "mine"


def test_numbers_out_of_range_and_devices_that_do_not_work(train, tmp_path):
    sizes = ["--epochs", "--batch-size", "--hidden-size", "--latent-size"]
    wrong = {size: [0, -1, 1.5, "x"] for size in sizes}
    wrong |= {"--lr": [-1, 1, "nan"], "--beta1": [-0.1, 1, "x"], "--seed": ["x"]}
    for option, values in wrong.items():
        for value in values:
            train(tmp_path / "new", f"{option}={value}", fails=[option, value])
    for name in ["nonsense", "cuda:99"]:
        train(tmp_path / "new", "--device", name, fails=[f"--device {name}"])
    assert not (tmp_path / "new").exists()


def test_rows_that_cannot_be_drawn(call, folders):
    call(TEST, *folders.options, fails=[folders.checkpoints, TRAIN.name])
    save_generator(folders.checkpoints, 4)
    for text in ["", "x", "-1", "3-2", "1-", "1.5"]:
        call(TEST, *folders.options, f"--rows={text}", fails=[repr(text)])
    for row, missing in {"5": 5, "5-6": 5, "4-5": 5, "3-4": 3}.items():
        call(TEST, *folders.options, "--rows", row, fails=[f"epoch {missing}"])
    assert not folders.outputs.exists()


@pytest.mark.filterwarnings("error")  # a second line, for a user
def test_images_that_cannot_be_read_or_are_not_28x28_with_ink_of_255(train, small_mnist, tmp_path):
    packed = (small_mnist / ARCHIVE).read_bytes()
    images = gzip.decompress(packed)
    contents = [b"", packed[:5000], packed[:10] + b"?" * 99, images]
    contents += [gzip.compress(b""), gzip.compress(images[:-784])]
    contents += [(ARCHIVES / "train-labels-idx1-ubyte.gz").read_bytes()]
    for number, content in enumerate(contents):
        (tmp_path / f"wrong {number}").mkdir()
        (tmp_path / f"wrong {number}" / ARCHIVE).write_bytes(content)
    (tmp_path / "a folder" / ARCHIVE).mkdir(parents=True)
    write_archive(tmp_path / "0 and 1", first_images(9) // 128)
    write_archive(tmp_path / "none", first_images(9)[:0])
    for data_dir in [*tmp_path.iterdir(), tmp_path / "missing"]:
        train(tmp_path / "new", "--data-dir", data_dir, fails=[data_dir / ARCHIVE])
    for height, width in [(14, 56), (56, 14), (32, 32), (28, 27)]:
        write_archive(tmp_path, torch.full((9, height * width), 255).byte(), height=height)
        words = [tmp_path / ARCHIVE, f"{height}x{width}"]
        train(tmp_path / "new", "--data-dir", tmp_path, fails=words)
    assert not (tmp_path / "new").exists()


def test_bad_files_are_named_and_left_alone(call, train, tmp_path):
    for kind, make in BAD_FILES.items():
        for name in ["last.pt", "G_3.pth"]:
            folder = tmp_path / kind / name
            save_generator(folder, 0)
            make(folder / name)
            options = ["--checkpoint-dir", folder, "--output-dir", tmp_path / "outputs"]
            torchs = ["size mismatch"] * ((kind, name) == ("another network's", "G_3.pth"))
            call(TEST, *options, fails=[folder / name, *torchs])
        train(tmp_path / kind / "last.pt", "--resume", fails=["last.pt"])
        train(tmp_path / kind / "last.pt", fails=["last.pt"])
    assert not [*tmp_path.rglob("sprung")]
    torch.load(tmp_path / "code" / "G_3.pth" / "G_3.pth", weights_only=False)  # the trap works
    assert [*tmp_path.rglob("sprung")]
    assert not (tmp_path / "outputs").exists()
    train(tmp_path / "empty" / "last.pt" / "G_0.pth", fails=["G_0.pth"])  # a file, not a folder
