"""The scripts as a user meets them: imported, from anywhere, on a GPU, on the shipped images."""

import csv
import os
import shutil

import numpy as np
import pytest
import score
import torch
from helpers import ARCHIVES, ROOT, TEST, TRAIN, OnAnotherDevice, contents, first_images, run
from torchvision.datasets import MNIST

import MNIST_MLP_GAN_TRAIN
from MNIST_MLP_GAN_TEST import generate, load_generator


def test_importing_does_nothing_and_no_picture_needs_a_display(tmp_path):
    """And the default folders lie beside the scripts, wherever one is."""
    (tmp_path / "program.py").write_text("""if True:
        import numpy, torch
        def settings():
            names = "initial_seed get_num_threads get_default_dtype get_float32_matmul_precision"
            return [getattr(torch, name)() for name in names.split()]
        before = settings()
        import MNIST_MLP_GAN_NETWORK, MNIST_MLP_GAN_TRAIN, MNIST_MLP_GAN_TEST
        assert settings() == before
        history = numpy.ones(2, [(name, float) for name in "epoch d_loss g_loss d_x d_g_z".split()])
        MNIST_MLP_GAN_TEST.draw_curves(history).savefig("curves.png")
        train = MNIST_MLP_GAN_TRAIN.parse_arguments([])
        test = MNIST_MLP_GAN_TEST.parse_arguments([])
        print(train.data_dir, train.checkpoint_dir, test.checkpoint_dir, test.output_dir, sep="\\n")
    """)
    # A backend that cannot be loaded, as one for windows cannot where there is no display
    env = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "module://no_display"}
    folders = [str(ROOT / name) for name in ["data", "checkpoints", "checkpoints", "outputs"]]
    assert run("-B", "program.py", cwd=tmp_path, env=env).splitlines() == folders
    assert set(contents(tmp_path)) == {"program.py", "curves.png"}


def test_training_prints_and_saves_a_line_per_epoch(train, tmp_path):
    first, *lines, last = train(tmp_path, "--epochs", 2).splitlines()
    names = {"G_0.pth", "G_1.pth", "G_2.pth", "samples.png", "history.csv", "last.pt"}
    assert set(contents(tmp_path)) == names
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "d_loss", "g_loss", "d_x", "d_g_z"]
    means = torch.load(tmp_path / "last.pt", weights_only=True)["history"]
    for row, mean in zip(rows, means, strict=True):
        assert [float(value) for value in row.values()] == pytest.approx(mean, rel=1e-5)
    assert first == f"cpu; epochs up to 2 go to {tmp_path}; watch its samples.png"
    line = "epoch {:.0f}/2 d_loss {:.2f} g_loss {:.2f} D(x) {:.2f} D(G(z)) {:.2f}"
    assert lines == [line.format(*mean) for mean in means]
    command = f"MNIST_MLP_GAN_TEST.py --checkpoint-dir {tmp_path}"
    assert last == f"2 epochs are done. Now make the pictures: {command}"


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="there is no accelerator here")
def test_accelerator_trains_resumes_and_leaves_what_the_cpu_can_draw(train, call, folders):
    accelerator = torch.accelerator.current_accelerator().type
    assert train(folders.checkpoints, "--device", "auto", "--epochs", 1).startswith(accelerator)
    train(folders.checkpoints, "--device", "auto", "--resume", "--epochs", 2)
    call(TEST, *folders.options)
    assert load_generator(folders.checkpoints / "G_2.pth").linear1.weight.device.type == "cpu"
    assert "MNIST_MLP_GAN.png" in contents(folders.outputs)


def test_generators_are_saved_from_the_cpu(tmp_path, monkeypatch):
    """What stands for the test above where there is no accelerator."""
    folder = ["--checkpoint-dir", str(tmp_path)]
    args = MNIST_MLP_GAN_TRAIN.parse_arguments([*folder, "--device", "cpu"])
    D, G, *optimizers = MNIST_MLP_GAN_TRAIN.build(args)
    away = {name: OnAnotherDevice(weight) for name, weight in G.state_dict().items()}
    monkeypatch.setattr(G, "state_dict", lambda: away)
    MNIST_MLP_GAN_TRAIN.save_epoch(args, first_images(100), [], D, G, *optimizers)
    saved = load_generator(tmp_path / "G_0.pth").parameters()
    assert all(map(torch.equal, saved, G.parameters()))


def test_end_to_end_from_the_shipped_archives(call, folders, tmp_path, monkeypatch):
    """All 60,000 images are there; four epochs of the first 10,000 become pictures with digits.

    Of 1,000 samples after these 800 steps, with three seeds: KL 0.31 to 0.39, precision 0.83 to
    0.97. Where D's optimizer takes no step: KL 2.4, precision 0. Where G collapses (--beta1 0.9):
    1.7, 0.06. One real image 1,000 times: 2.2, 1. Before training: 2.1 to 2.4, 0.
    """
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in ARCHIVES.glob("*.gz"):
        shutil.copy(archive, raw)
    images = MNIST_MLP_GAN_TRAIN.load_images(tmp_path)
    assert images.shape == (60_000, 784)
    assert torch.equal(images[:10_000], first_images(10_000))
    monkeypatch.setattr(MNIST_MLP_GAN_TRAIN, "load_images", lambda _: images[:10_000])
    quick = ["--epochs", 4, "--batch-size", 50, "--lr", 0.001, "--beta1", 0.5]
    call(TRAIN, *quick, *folders.options[:2])
    call(TEST, *folders.options, "--rows", 0, 4, "3-4")
    assert {"MNIST_MLP_GAN.png", "MNIST_MLP_GAN.gif", "G_3-4.pth"} < set(contents(folders.outputs))

    samples = generate(load_generator(folders.checkpoints / "G_4.pth"), torch.randn(1000, 100))
    test, digits = first_images(1000, "t10k") / 255, MNIST(tmp_path).targets[:10_000]
    real = {"train": images[:10_000] / 255, "digits": digits, "test": test}
    real["test_radii"] = score.radii(test)
    assert score.score_digits(samples, real)[0]["kl"] < 0.9
    assert score.score_variety(samples, real)["precision"] > 0.4
    # White where MNIST is, and ink where it has ink
    assert np.corrcoef(samples.mean(dim=0), real["train"].mean(dim=0))[0, 1] > 0.7
