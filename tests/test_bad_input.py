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
    Trap,
    first_images,
    save_generator,
    save_last,
    write_archive,
)

import MNIST_MLP_GAN_TEST
import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_TRAIN import ARCHIVE


def test_defaults_quick_and_help(capsys):
    parse = MNIST_MLP_GAN_TRAIN.parse_arguments
    classic = {"epochs": 200, "batch_size": 100, "lr": 0.0002, "beta1": 0.9, "seed": 0}
    classic |= {"hidden_size": 256, "latent_size": 100}
    classic |= {"quick": False, "resume": False, "overwrite": False}
    classic |= {"data_dir": ROOT / "data" / "MNIST" / "raw", "checkpoint_dir": ROOT / "checkpoints"}
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    classic |= {"device": str(gpu or "cpu")}
    quick = classic | {"quick": True, "epochs": 26, "lr": 0.001, "beta1": 0.5}
    for line, expected in {
        "": classic,
        "--quick": quick,
        "--quick --lr 0.0002 --epochs 3": quick | {"lr": 0.0002, "epochs": 3},
        "--beta1 .9 --batch-size 7 --quick": quick | {"beta1": 0.9, "batch_size": 7},
        "--beta1 .1 --seed 5": classic | {"beta1": 0.1, "seed": 5},
    }.items():
        options = vars(parse(line.split()))
        assert {name: options[name] for name in classic} == expected
    expected = {"checkpoint_dir": ROOT / "checkpoints", "output_dir": ROOT / "outputs"}
    expected |= {"rows": None, "seed": 0}
    assert vars(MNIST_MLP_GAN_TEST.parse_arguments([])) == expected
    for module in [MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST]:
        with pytest.raises(SystemExit) as exited:
            module.parse_arguments(["--help"])
        assert not exited.value.code
        assert "--checkpoint-dir" in capsys.readouterr().out


def test_numbers_out_of_range_and_devices_that_do_not_work(train, tmp_path):
    sizes = ["--epochs", "--batch-size", "--hidden-size", "--latent-size"]
    wrong = {size: [0, -1, 1.5, "x"] for size in sizes}
    wrong |= {"--lr": [-1, 1, "nan"], "--beta1": [-0.1, 1], "--seed": [-1, 400_000]}
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


def test_ctrl_c_while_starting(start, edited, tmp_path):
    script = edited(TRAIN, "data = gzip", "raise KeyboardInterrupt\n        data = gzip")
    with pytest.raises((SystemExit, KeyboardInterrupt)) as stopped:
        start(script, "--checkpoint-dir", tmp_path / "new")
    assert "\n" not in stopped.value.code
    assert not (tmp_path / "new").exists()


@pytest.mark.filterwarnings("error")  # a second line, for a user
def test_images_that_cannot_be_read_or_are_not_28x28(train, small_mnist, tmp_path):
    packed = (small_mnist / ARCHIVE).read_bytes()
    images = gzip.decompress(packed)
    contents = [b"", packed[:5000], packed[:10] + b"?" * 99, images]
    contents += [gzip.compress(b""), gzip.compress(images[:-784])]
    contents += [(ARCHIVES / "train-labels-idx1-ubyte.gz").read_bytes()]
    for number, content in enumerate(contents):
        (tmp_path / f"wrong {number}").mkdir()
        (tmp_path / f"wrong {number}" / ARCHIVE).write_bytes(content)
    (tmp_path / "a folder" / ARCHIVE).mkdir(parents=True)
    for data_dir in [*tmp_path.iterdir(), tmp_path / "missing"]:
        train(tmp_path / "new", "--data-dir", data_dir, fails=[data_dir / ARCHIVE])
    for count, height, width in [(9, 14, 56), (9, 56, 14), (9, 32, 32), (9, 28, 27), (0, 28, 28)]:
        write_archive(tmp_path, torch.zeros(count, height * width).byte(), height)
        words = [tmp_path / ARCHIVE, f"{height}x{width}"]
        train(tmp_path / "new", "--data-dir", tmp_path, fails=words)
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_where_the_images_are(train, tmp_path):
    data = tmp_path / "data"
    write_archive(data, first_images(250))
    (data / ARCHIVE.removesuffix(".gz")).write_bytes(b"mine")
    before = [(path, path.stat().st_mtime_ns) for path in [data, *data.iterdir()]]
    train(tmp_path / "run", "--data-dir", data)
    assert before == [(path, path.stat().st_mtime_ns) for path in [data, *data.iterdir()]]


def test_code_in_a_checkpoint_is_refused_and_not_run(train, call, tmp_path):
    made = tmp_path / "made"
    for name in ["G_1.pth", "last.pt"]:
        path = tmp_path / name / name
        save_generator(path.parent, 0, hidden_size=1)
        save_last(path.parent, [])
        torch.save({"weight": Trap(made)}, path)
        call(TEST, "--checkpoint-dir", path.parent, fails=[path])
    train(path.parent, fails=[path])
    train(path.parent, "--resume", fails=[path])
    assert not made.exists()
    torch.load(path, weights_only=False)  # the trap works
    assert made.exists()


def test_bad_files_are_named_and_left_alone(call, train, tmp_path):
    for kind, make in BAD_FILES.items():
        for name in ["last.pt", "G_3.pth"]:
            folder = tmp_path / kind / name
            save_generator(folder, 0, hidden_size=1)
            make(folder / name)
            options = ["--checkpoint-dir", folder, "--output-dir", tmp_path / "outputs"]
            torchs = ["size mismatch"] * ((kind, name) == ("another network's", "G_3.pth"))
            call(TEST, *options, fails=[folder / name, *torchs])
        train(tmp_path / kind / "last.pt", "--resume", fails=["last.pt"])
        train(tmp_path / kind / "last.pt", fails=["last.pt"])
    assert not (tmp_path / "outputs").exists()
    train(tmp_path / "empty" / "last.pt" / "G_0.pth", fails=["G_0.pth"])  # a file, not a folder
