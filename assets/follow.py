"""Draw how 30 steps along D's gradient change eight samples: first their pixels, then their z.

    python -m assets.follow

needs the finished default run. The picture is outputs/follow.png.
"""

import torch

from MNIST_MLP_GAN_NETWORK import denorm, picture_seed, sample_z
from MNIST_MLP_GAN_TEST import (
    COLORS,
    black_on_white,
    load_discriminator,
    load_generator,
    tile_images,
    write_text,
)

D = load_discriminator("checkpoints/D_40.pth")
G = load_generator("checkpoints/G_40.pth")


def follow(x, make_images):
    """Return the images that ``make_images`` makes of ``x`` after 30 steps that raise D's score."""
    for _ in range(30):
        x = x.detach().requires_grad_()  # we want the gradient with respect to x
        D(make_images(x)).log().sum().backward()
        x = x + 0.1 * x.grad / x.grad.norm(dim=1, keepdim=True)  # a step of length 0.1
    return make_images(x).detach()


z = sample_z(G, 8, picture_seed)
fake_images = G(z).detach()
rows = {
    "fakes": fake_images,
    "pixels\nchanged": follow(fake_images, lambda x: x.clamp(-1, 1)),
    "z\nchanged": follow(z, G),
}

images = black_on_white(denorm(torch.cat(list(rows.values()))))
images = torch.nn.functional.pad(images, (0, 0, 0, 8), value=1)  # for the scores below
picture = tile_images(images, scale=6, columns=8, left=140)
for row, (name, made) in enumerate(rows.items()):
    write_text(picture, (70, 6 * (37 * row + 15)), name)
    write_text(picture, (70, 6 * (37 * row + 33)), "D's score", size=24, color=COLORS["fake"])
    for column, score in enumerate(D(made).flatten().tolist()):
        place = (140 + 6 * (29 * column + 15), 6 * (37 * row + 33))
        write_text(picture, place, f"{score:.2f}", color=COLORS["fake"])
picture.save("outputs/follow.png")
print("saved outputs/follow.png")
