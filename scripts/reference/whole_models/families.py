"""The families of models: at the sizes that are compared, and small ones whose files are committed."""

import rows
import sequence
import vision
from family import Family, Loss


def one_loss(kind, output, target, **settings):
    """The fields of a family with one output and one loss."""
    return {"losses": (Loss(kind, output, target, settings=settings),), "outputs": (output,)}


def classifier(title, make, data, **more):
    """A family that tells classes apart by cross entropy."""
    return Family(title, make, data, **one_loss("cross_entropy", "logits", "label"), **more)


def language(title, make, data, target, **more):
    """A family with a class at each position; the classes are the last axis."""
    settings = {"class_axis": -1}
    if target == "tags":
        settings["ignore_index"] = sequence.IGNORED
    return Family(title, make, data, **one_loss("cross_entropy", "logits", target, **settings), **more)


def two_losses(title, width, height, **more):
    """A family with two outputs, each with a loss."""
    losses = (Loss("cross_entropy", "label", "label"), Loss("smooth_l1", "place", "place", weight=0.5))
    make = lambda: vision.TwoHeads(width)  # noqa: E731
    return Family(title, make, vision.boxes(height), losses=losses, outputs=("label", "place"), **more)


# Why the first gradients of a deep network of ReLUs may be further apart.
BENDS = (
    "Of the millions of activations a few lie so near the bend of their ReLU that rounding decides on which side, and a "
    "different one changes all gradients before it."
)

FAMILIES = {
    "activations": classifier(
        "MLP with every activation",
        lambda: rows.EveryActivation(32, 32),
        rows.clusters(32),
        batch=64,
        lr=0.05,
        timed_batches=50,
    ),
    "resnet18": classifier(
        "resnet18, 64x64", vision.torchvision("resnet18"), vision.images(64), batch=16, lr=3e-5
    ),
    "mobilenet_v2": classifier(
        "mobilenet_v2, 64x64",
        vision.torchvision("mobilenet_v2"),
        vision.images(64),
        batch=16,
        lr=1e-6,
        gradient_tolerance=2e-2,
        reason=BENDS,
    ),
    "mobilenet_v2_silu": classifier(
        "mobilenet_v2 with SiLU in place of ReLU6, 64x64",
        vision.smooth(vision.torchvision("mobilenet_v2")),
        vision.images(64),
        batch=16,
        lr=3e-5,
    ),
    "vgg11_bn": classifier(
        "vgg11_bn, 224x224",
        vision.torchvision("vgg11_bn"),
        vision.images(224),
        batch=4,
        lr=3e-5,
        timed_batches=3,
        gradient_tolerance=1e-2,
        reason=BENDS,
    ),
    "vit": classifier(
        "vit_b_16's architecture, 64x64, 4 layers of 128",
        vision.vit(64, 16, 4, 4, 128, 512),
        vision.images(64),
        batch=16,
        lr=0.05,
        timed_batches=20,
    ),
    "squeezenet1_1": classifier(
        "squeezenet1_1, 64x64", vision.torchvision("squeezenet1_1"), vision.images(64), batch=16, lr=0.01
    ),
    "unet": Family(
        "U-Net with ConvTranspose, 64x64",
        lambda: vision.UNet((16, 32, 64)),
        vision.masks(64),
        **one_loss("cross_entropy", "logits", "label"),
        batch=4,
        lr=0.05,
        data_seed=12,
    ),
    "gpt": language(
        "character GPT, 4 layers of 128, tied head",
        lambda: sequence.CharacterGpt(65, 64, 128, 4, 4),
        sequence.text(65, 64),
        "next",
        batch=8,
        lr=0.1,
        timed_batches=20,
    ),
    "bert": classifier(
        "BERT-like encoder, 2 layers of 64, padding",
        lambda: sequence.BertEncoder(200, 32, 64, 4, 2, 4),
        sequence.classified(200, 32, 4),
        batch=16,
        lr=0.05,
        timed_batches=20,
    ),
    "llama": classifier(
        "Llama-like decoder: rotary positions, RMSNorm, SwiGLU, fewer heads of keys",
        lambda: sequence.Llama(200, 32, 64, 4, 2, 2, 4),
        sequence.classified(200, 32, 4),
        batch=16,
        lr=0.05,
        timed_batches=20,
        freeze=("cos", "sin"),
    ),
    "wavenet": Family(
        "WaveNet: dilated causal convolutions",
        lambda: sequence.WaveNet(65, 32, 6),
        sequence.text(65, 64),
        **one_loss("cross_entropy", "logits", "next"),
        batch=8,
        lr=0.1,
        timed_batches=20,
    ),
    "lstm": language(
        "bidirectional LSTM tagger, 2 layers",
        lambda: sequence.LstmTagger(100, 32, 48, 2, 9),
        sequence.tagged(100, 24, 9),
        "tags",
        batch=16,
        lr=0.5,
        timed_batches=20,
    ),
    "gru": Family(
        "GRU forecaster, 2 layers",
        lambda: sequence.GruForecaster(4, 48, 2),
        sequence.waves(32, 4),
        **one_loss("smooth_l1", "forecast", "future"),
        batch=16,
        lr=0.5,
        timed_batches=20,
    ),
    "tabular": Family(
        "tabular, 3 embeddings",
        lambda: rows.Tabular((7, 40, 300), 6, 128),
        rows.mixed((7, 40, 300), 6),
        **one_loss("bce_with_logits", "logit", "answer"),
        batch=64,
        lr=0.1,
        timed_batches=50,
    ),
    "autoencoder": Family(
        "convolutional autoencoder, mse",
        lambda: vision.Autoencoder(16, 32, 28),
        vision.reconstruction(28),
        **one_loss("mse", "decoded", "same"),
        batch=32,
        lr=0.5,
        timed_batches=20,
    ),
    "two_losses": two_losses(
        "two outputs, two losses", 32, 32, batch=16, lr=0.05, timed_batches=20
    ),
}

# Small enough to be committed with their weights; the tests train them without Python.
SMALL = {
    "activations": classifier(
        "MLP with every activation", lambda: rows.EveryActivation(6, 4), rows.clusters(6), batch=8, lr=0.05
    ),
    "unet": Family(
        "U-Net",
        lambda: vision.UNet((4, 6)),
        vision.masks(8),
        **one_loss("cross_entropy", "logits", "label"),
        batch=2,
        lr=0.05,
    ),
    "gpt": language(
        "GPT",
        lambda: sequence.CharacterGpt(13, 8, 8, 2, 2),
        sequence.text(13, 8),
        "next",
        batch=4,
        lr=0.1,
    ),
    "bert": classifier(
        "BERT-like encoder",
        lambda: sequence.BertEncoder(17, 6, 8, 2, 1, 3),
        sequence.classified(17, 6, 3),
        batch=4,
        lr=0.05,
    ),
    "llama": classifier(
        "Llama-like decoder",
        lambda: sequence.Llama(17, 6, 8, 4, 2, 1, 3),
        sequence.classified(17, 6, 3),
        batch=4,
        lr=0.05,
        freeze=("cos", "sin"),
    ),
    "lstm": language(
        "LSTM tagger",
        lambda: sequence.LstmTagger(15, 5, 4, 2, 3),
        sequence.tagged(15, 6, 3),
        "tags",
        batch=4,
        lr=0.5,
    ),
    "gru": Family(
        "GRU",
        lambda: sequence.GruForecaster(3, 5, 2),
        sequence.waves(7, 3),
        **one_loss("smooth_l1", "forecast", "future"),
        batch=4,
        lr=0.5,
    ),
    "tabular": Family(
        "tabular",
        lambda: rows.Tabular((3, 9), 4, 12),
        rows.mixed((3, 9), 4),
        **one_loss("bce_with_logits", "logit", "answer"),
        batch=8,
        lr=0.1,
    ),
    "autoencoder": Family(
        "autoencoder",
        lambda: vision.Autoencoder(3, 5, 8),
        vision.reconstruction(8),
        **one_loss("mse", "decoded", "same"),
        batch=4,
        lr=0.5,
    ),
    "two_losses": two_losses("two losses", 4, 8, batch=4, lr=0.05),
}
