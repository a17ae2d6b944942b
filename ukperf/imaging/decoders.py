"""A language model as data: a decoder as llama.cpp's architecture `llama` has it, and what it gives by NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ukperf.imaging.datasets import uniform
from ukperf.imaging.nets import ROWS, Floats, Weights, write_down

EPSILON = 1e-5  # in the root mean square
ROPE_BASE = 10_000.0


@dataclass(frozen=True, eq=False)
class Decoder:
    """Blocks of attention and SwiGLU with root mean square norms before each (Touvron et al. 2023, LLaMA).

    weights: by the names of GGUF (token_embd.weight, blk.0.attn_q.weight …), matrices as (out, in). A row is as many
    token numbers as `places`; what it gives is the last place's logits, one for each of the vocabulary.
    """

    name: str
    vocabulary: int
    places: int
    width: int
    heads: int
    blocks: int
    inner: int
    weights: Mapping[str, Weights]

    def write(self, folder: Path) -> None:
        """As writers read it (workloads/models/netfile.py). Raises OSError."""
        sizes = {name: getattr(self, name) for name in ("vocabulary", "places", "width", "heads", "blocks", "inner")}
        about = {"name": self.name, "shape": [self.places], "steps": []}
        about["steps"] = [{"op": "decoder", "epsilon": EPSILON, "rope_base": ROPE_BASE, **sizes}]
        write_down(about, self.weights, folder)

    def rows(self) -> Weights:
        """Token numbers, as float32 like all rows, which has them exactly. Shape (ROWS, places)."""
        return tokens(ROWS, self.places, self.vocabulary)

    def outputs(self, rows: Weights) -> Weights:
        """Logits behind the last token, shape (rows, vocabulary): computed in double precision, rounded once."""
        x = self._weight("token_embd")[rows.astype(np.int64)]
        for block in range(self.blocks):
            x = x + self._attention(self._normed(x, f"blk.{block}.attn_norm"), f"blk.{block}.")
            x = x + self._feed_forward(self._normed(x, f"blk.{block}.ffn_norm"), f"blk.{block}.")
        logits: Floats = self._normed(x[:, -1], "output_norm") @ self._weight("output").T
        return logits.astype(np.float32)

    def _weight(self, name: str) -> Floats:
        return self.weights[f"{name}.weight"].astype(np.float64)

    def _normed(self, x: Floats, name: str) -> Floats:
        scaled: Floats = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + EPSILON)
        return scaled * self._weight(name)

    def _attention(self, x: Floats, block: str) -> Floats:
        rows, places, width = x.shape
        each = width // self.heads

        def split(name: str) -> Floats:
            part: Floats = x @ self._weight(f"{block}attn_{name}").T
            return part.reshape(rows, places, self.heads, each).transpose(0, 2, 1, 3)

        scores = _turned(split("q")) @ _turned(split("k")).swapaxes(-1, -2) / math.sqrt(each)
        scores = np.where(np.tri(places, dtype=bool), scores, -np.inf)  # nobody sees what comes later
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        seen: Floats = powers / powers.sum(axis=-1, keepdims=True) @ split("v")
        return seen.transpose(0, 2, 1, 3).reshape(rows, places, width) @ self._weight(f"{block}attn_output").T

    def _feed_forward(self, x: Floats, block: str) -> Floats:
        gate = x @ self._weight(f"{block}ffn_gate").T
        opened: Floats = gate / (1 + np.exp(-gate)) * (x @ self._weight(f"{block}ffn_up").T)
        return opened @ self._weight(f"{block}ffn_down").T


def _turned(x: Floats) -> Floats:
    """Neighbouring numbers as points, turned by their place (Su et al. 2021, RoPE). Shape (…, places, each)."""
    places, each = x.shape[-2:]
    angles = np.arange(places)[:, None] * ROPE_BASE ** (-np.arange(0, each, 2) / each)
    cos, sin = np.cos(angles), np.sin(angles)
    even, odd = x[..., ::2], x[..., 1::2]
    result: Floats = np.stack((even * cos - odd * sin, even * sin + odd * cos), axis=-1).reshape(x.shape)
    return result


def tokens(rows: int, places: int, vocabulary: int) -> Weights:
    """Token numbers below vocabulary, the same wherever they are made. Shape (rows, places)."""
    return np.floor(uniform(0, rows * places) * vocabulary).astype(np.float32).reshape(rows, places)


def decoder() -> Decoder:
    """Two blocks, 64 wide, 4 heads, 256 tokens: 139,584 weights."""
    vocabulary, places, width, heads, blocks, inner = 256, 16, 64, 4, 2, 192
    weights: dict[str, Weights] = {}

    def matrix(name: str, out: int, into: int, limit: float | None = None) -> None:
        spread = math.sqrt(3.0 / into) if limit is None else limit  # what comes out has the spread of what goes in
        numbers = (uniform(1 + len(weights), out * into) * 2.0 - 1.0) * spread
        weights[f"{name}.weight"] = numbers.astype(np.float32).reshape(out, into)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = (0.75 + uniform(1 + len(weights), width) / 2).astype(np.float32)

    matrix("token_embd", vocabulary, width, limit=1.0)
    for block in range(blocks):
        norm(f"blk.{block}.attn_norm")
        for part in ("q", "k", "v", "output"):
            matrix(f"blk.{block}.attn_{part}", width, width)
        norm(f"blk.{block}.ffn_norm")
        matrix(f"blk.{block}.ffn_gate", inner, width)
        matrix(f"blk.{block}.ffn_up", inner, width)
        matrix(f"blk.{block}.ffn_down", width, inner)
    norm("output_norm")
    matrix("output", vocabulary, width)
    return Decoder("decoder", vocabulary, places, width, heads, blocks, inner, weights)
