"""Networks for images, and their data: each class has a pattern of its own, under noise."""

import numpy as np
import torch
from family import Data
from torch import nn


def images(height, channels=3, classes=10):
    """Data of one input `image` and one target `label`."""

    def make(rng, count):
        patterns = rng.standard_normal((classes, channels, height, height), dtype=np.float32)
        labels = rng.integers(0, classes, count)
        noise = rng.standard_normal((count, channels, height, height), dtype=np.float32)
        return Data({"image": 0.5 * patterns[labels] + noise}, {"label": labels})

    return make


def masks(height, classes=3):
    """Images whose first channel says, under noise, which class each pixel has."""

    def make(rng, count):
        labels = rng.integers(0, classes, (count, height, height))
        image = rng.standard_normal((count, 3, height, height), dtype=np.float32)
        image[:, 0] += labels
        return Data({"image": image}, {"label": labels})

    return make


def reconstruction(height):
    """Images of 8 smooth patterns, to be given back as they are."""

    def make(rng, count):
        patterns = rng.random((8, 1, height, height), dtype=np.float32)
        image = (
            patterns[rng.integers(0, 8, count)]
            + rng.standard_normal((count, 1, height, height), dtype=np.float32) / 8
        )
        return Data({"image": image}, {"same": image})

    return make


def boxes(height, classes=5):
    """Images with a class and four numbers each."""

    def make(rng, count):
        data = images(height, classes=classes)(rng, count)
        return Data(data.inputs, data.targets | {"place": rng.random((count, 4), dtype=np.float32)})

    return make


def without_dropout(model):
    """The model with every dropout set to 0: two programs do not draw the same masks."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def torchvision(name, **settings):
    """An architecture of torchvision with 10 classes and without dropout."""

    def make():
        from torchvision import models

        return without_dropout(getattr(models, name)(num_classes=10, **settings))

    return make


def smooth(make):
    """The same network with SiLU in the place of each ReLU and ReLU6, so that it bends nowhere."""

    def replaced():
        model = make()
        for module in model.modules():
            for name, child in module.named_children():
                if isinstance(child, (nn.ReLU, nn.ReLU6)):
                    setattr(module, name, nn.SiLU())
        return model

    return replaced


def vit(image_size, patch_size, layers, heads, width, mlp_width):
    """torchvision's VisionTransformer of any size."""

    def make():
        from torchvision.models import VisionTransformer

        model = VisionTransformer(image_size, patch_size, layers, heads, width, mlp_width, num_classes=10)
        # torchvision begins with a head of zeros, with which no other parameter has a first gradient.
        model.heads.head.reset_parameters()
        return model

    return make


def double_conv(inputs, outputs):
    """Two convolutions with normalisation."""
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Contraction, expansion with ConvTranspose, and connections across."""

    def __init__(self, widths, classes=3):
        super().__init__()
        inputs = (3, *widths[:-1])
        self.down = nn.ModuleList([double_conv(a, b) for a, b in zip(inputs, widths)])
        self.pool = nn.MaxPool2d(2)
        pairs = list(zip(widths[:-1], widths[1:]))[::-1]
        self.up = nn.ModuleList([nn.ConvTranspose2d(wide, narrow, 2, stride=2) for narrow, wide in pairs])
        self.merge = nn.ModuleList([double_conv(2 * narrow, narrow) for narrow, _ in pairs])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image):
        x, across = image, []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else self.pool(x))
            across.append(x)
        for up, merge, skip in zip(self.up, self.merge, across[-2::-1]):
            x = merge(torch.cat([skip, up(x)], 1))
        return self.head(x)


class Autoencoder(nn.Module):
    """Strided convolutions to a short code, and transposed ones back."""

    def __init__(self, width, code, height):
        super().__init__()
        side = height // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * side * side, code),
        )
        self.decoder = nn.Sequential(
            nn.Linear(code, 2 * width * side * side),
            nn.ReLU(),
            nn.Unflatten(1, (2 * width, side, side)),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image):
        return self.decoder(self.encoder(image))


class TwoHeads(nn.Module):
    """A convolutional trunk, and a head each for the class and for the place of what the image shows."""

    def __init__(self, width, classes=5):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, groups=2),
            nn.GroupNorm(2, 2 * width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.label = nn.Linear(2 * width, classes)
        self.place = nn.Sequential(nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 4))

    def forward(self, image):
        features = self.trunk(image)
        return self.label(features), self.place(features)
