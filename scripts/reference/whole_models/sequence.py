"""Networks for text and other sequences, and their data."""

import math

import numpy as np
import torch
from family import Data
from torch import nn
from torch.nn import functional

PADDING = 0
IGNORED = -100


def text(vocabulary, length):
    """Text in which each character mostly decides the next one: `ids`, and the character behind each as `next`."""

    def make(rng, count):
        ids = np.empty((count, length + 1), np.int64)
        ids[:, 0] = rng.integers(0, vocabulary, count)
        for place in range(length):
            drawn = rng.integers(0, vocabulary, count)
            ids[:, place + 1] = np.where(rng.random(count) < 0.8, (3 * ids[:, place] + 1) % vocabulary, drawn)
        return Data({"ids": ids[:, :-1].copy()}, {"next": ids[:, 1:].copy()})

    return make


def padded(rng, count, vocabulary, length):
    """Sequences of 1 to `length` words, and padding behind them."""
    ids = rng.integers(1, vocabulary, (count, length))
    lengths = rng.integers(1, length + 1, count)
    ids[np.arange(length) >= lengths[:, None]] = PADDING
    return ids


def classified(vocabulary, length, classes):
    """Padded sequences whose first word decides the class."""

    def make(rng, count):
        ids = padded(rng, count, vocabulary, length)
        return Data({"ids": ids}, {"label": ids[:, 0] % classes})

    return make


def tagged(vocabulary, length, tags):
    """Padded sequences with a tag for each word, which depends on the word before; padding does not count."""

    def make(rng, count):
        ids = padded(rng, count, vocabulary, length)
        before = np.roll(ids, 1, 1)
        return Data({"ids": ids}, {"tags": np.where(ids == PADDING, IGNORED, (ids + before) % tags)})

    return make


def waves(length, channels):
    """Sums of noise and waves: `past`, and the same one place later as `future`."""

    def make(rng, count):
        phase = rng.random((count, 1, channels), dtype=np.float32) * 2 * math.pi
        at = np.arange(length + 1, dtype=np.float32)[None, :, None]
        wave = np.sin(at * np.linspace(0.3, 0.9, channels, dtype=np.float32) + phase)
        wave += rng.standard_normal(wave.shape, dtype=np.float32) / 10
        return Data({"past": wave[:, :-1].copy()}, {"future": wave[:, 1:].copy()})

    return make


class Block(nn.Module):
    """Causal attention and a perceptron, each behind a normalisation and around a residual connection."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, 2)
        q, k, v = (part.view(batch, length, self.heads, width // self.heads).transpose(1, 2) for part in parts)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class CharacterGpt(nn.Module):
    """A decoder over characters whose head has the weights of its embedding."""

    def __init__(self, vocabulary, length, width, heads, layers):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for embedding in (self.token, self.position):
            nn.init.normal_(embedding.weight, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, ids):
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.token(ids) + self.position(places)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class BertEncoder(nn.Module):
    """An encoder that passes over padding, and a classifier on its first position."""

    def __init__(self, vocabulary, length, width, heads, layers, classes):
        super().__init__()
        self.word = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, ids):
        x = self.norm(self.word(ids) + self.position)
        x = self.encoder(x, src_key_padding_mask=ids == PADDING)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class LstmTagger(nn.Module):
    """A bidirectional LSTM over words, and a tag for each."""

    def __init__(self, vocabulary, width, hidden, layers, tags):
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, hidden, num_layers=layers, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(2 * hidden, tags)

    def forward(self, ids):
        return self.tags(self.lstm(self.word(ids))[0])


class GruForecaster(nn.Module):
    """A GRU that says the next value of each channel at every place."""

    def __init__(self, channels, hidden, layers):
        super().__init__()
        self.gru = nn.GRU(channels, hidden, num_layers=layers, batch_first=True)
        self.out = nn.Linear(hidden, channels)

    def forward(self, past):
        return self.out(self.gru(past)[0])


def turned(x, cos, sin):
    """Rotary positions: halves of the last axis, turned by the angle of their place."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


class LlamaBlock(nn.Module):
    """Attention with fewer heads of keys than of queries and a gated perceptron, each let in by a number of its own."""

    def __init__(self, width, heads, key_heads):
        super().__init__()
        self.heads, self.key_heads, self.size = heads, key_heads, width // heads
        self.norm1, self.norm2 = RmsNorm(width), RmsNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, key_heads * self.size, bias=False)
        self.value = nn.Linear(width, key_heads * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 2 * width, bias=False)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        self.attention_scale = nn.Parameter(torch.tensor(0.5))
        self.perceptron_scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        y = self.norm1(x)
        query = self.query(y).view(batch, length, self.heads, self.size).transpose(1, 2)
        key, value = (
            layer(y).view(batch, length, self.key_heads, self.size).transpose(1, 2) for layer in (self.key, self.value)
        )
        key, value = (part.repeat_interleave(self.heads // self.key_heads, 1) for part in (turned(key, cos, sin), value))
        y = functional.scaled_dot_product_attention(turned(query, cos, sin), key, value, is_causal=True)
        x = x + self.attention_scale * self.out(y.transpose(1, 2).reshape(batch, length, width))
        y = self.norm2(x)
        return x + self.perceptron_scale * self.down(functional.silu(self.gate(y)) * self.up(y))


class RmsNorm(nn.Module):
    """x divided by its root mean square."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Llama(nn.Module):
    """A decoder whose positions a vector weighs for a classifier. The turns are buffers, the scales single numbers."""

    def __init__(self, vocabulary, length, width, heads, key_heads, layers, classes):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList([LlamaBlock(width, heads, key_heads) for _ in range(layers)])
        self.norm = RmsNorm(width)
        self.pool = nn.Parameter(torch.randn(length) / length)
        self.head = nn.Linear(width, classes)
        size = width // heads
        angles = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids):
        x = self.token(ids)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        return self.head(self.norm(x).transpose(1, 2) @ self.pool)


class WaveNet(nn.Module):
    """Causal convolutions over characters with gates, whose reach doubles from layer to layer."""

    def __init__(self, vocabulary, width, layers):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        reach = [2**layer for layer in range(layers)]
        self.filters = nn.ModuleList([nn.Conv1d(width, 2 * width, 2, dilation=distance) for distance in reach])
        self.onward = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in reach[1:]])
        self.skip = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in reach])
        self.head = nn.Conv1d(width, vocabulary, 1)

    def forward(self, ids):
        x, total = self.token(ids).transpose(1, 2), 0.0
        for layer, (filters, skip) in enumerate(zip(self.filters, self.skip)):
            y, gate = filters(functional.pad(x, (2**layer, 0))).chunk(2, 1)
            y = torch.tanh(y) * torch.sigmoid(gate)
            total = total + skip(y)
            if layer < len(self.onward):
                x = x + self.onward[layer](y)
        return self.head(functional.silu(total))
