import torch
from torch import nn
from torchvision.datasets import MNIST
from torchvision.utils import save_image

latent_size = 100
mnist = MNIST("data", download=True)
# From -1 (background) to 1 (ink), like the output of Tanh
images = mnist.data.reshape(-1, 784) / 127.5 - 1
one_hot = nn.functional.one_hot(mnist.targets).float()  # a 7 is 0 0 0 0 0 0 0 1 0 0

D = nn.Sequential(
    nn.Linear(784 + 10, 256), nn.LeakyReLU(0.2),
    nn.Linear(256, 256), nn.LeakyReLU(0.2),
    nn.Linear(256, 1), nn.Sigmoid())
G = nn.Sequential(
    nn.Linear(latent_size + 10, 256), nn.ReLU(),
    nn.Linear(256, 256), nn.ReLU(),
    nn.Linear(256, 784), nn.Tanh())
criterion = nn.BCELoss()  # -log(score) for label 1, -log(1 - score) for label 0
d_optimizer = torch.optim.Adam(D.parameters(), lr=0.001, betas=(0.5, 0.999))
g_optimizer = torch.optim.Adam(G.parameters(), lr=0.001, betas=(0.5, 0.999))

for epoch in range(1, 16):
    for batch in torch.randperm(len(images)).split(100):
        real_images, digits = images[batch], one_hot[batch]
        batch_size = len(real_images)

        # ---- D's step ----
        # Real images: D should say 1.
        real_score = D(torch.cat([real_images, digits], dim=1))
        real_labels = torch.ones_like(real_score)
        d_loss_real = criterion(real_score, real_labels)

        # Fake images: D should say 0.
        z = torch.randn(batch_size, latent_size)
        with torch.no_grad():  # G does not learn here: no need to remember how it made the images
            fake_images = G(torch.cat([z, digits], dim=1))
        fake_score = D(torch.cat([fake_images, digits], dim=1))
        fake_labels = torch.zeros_like(fake_score)
        d_loss_fake = criterion(fake_score, fake_labels)

        d_loss = d_loss_real + d_loss_fake
        d_optimizer.zero_grad()
        d_loss.backward()
        d_optimizer.step()
        d_x, d_g_z = real_score.mean(), fake_score.mean()  # D(x) and D(G(z)), to print

        # ---- G's step ----
        # A new z, for fakes that D has not been trained on.
        z = torch.randn(batch_size, latent_size)
        fake_images = G(torch.cat([z, digits], dim=1))  # with gradients: now G learns
        fake_score = D(torch.cat([fake_images, digits], dim=1))

        # Real labels for fake images: G wants D to say 1.
        # This is the paper's non-saturating loss (section 3).
        real_labels = torch.ones_like(fake_score)
        g_loss = criterion(fake_score, real_labels)

        g_optimizer.zero_grad()
        # Back through D and the images into G. D gets gradients, too; its next step clears them.
        g_loss.backward()
        g_optimizer.step()

    losses = f"d_loss {d_loss:.2f} g_loss {g_loss:.2f}"
    print(f"epoch {epoch} {losses} D(x) {d_x:.2f} D(G(z)) {d_g_z:.2f}")
    z = torch.randn(10, latent_size).repeat_interleave(10, dim=0)  # a row shares its z
    digits = torch.eye(10).repeat(10, 1)  # and a column its digit
    samples = -G(torch.cat([z, digits], dim=1)).reshape(-1, 1, 28, 28)  # black ink on white
    samples = nn.functional.interpolate(samples, scale_factor=4)  # four times larger
    save_image(samples, f"digits_{epoch}.png", nrow=10, normalize=True, pad_value=1)

torch.save(G.state_dict(), "digits_G.pth")
