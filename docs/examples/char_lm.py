"""A problem of one's own: a small character language model.

Train it and keep its weights, then measure them:

    python docs/examples/char_lm.py char_lm.pt
    landscape analyze char_lm.pt --problem docs/examples/char_lm.py --samples all

`problem(weights)` is all that `landscape` asks of this file: it builds the network, loads the checkpoint's tensors and
returns the function L(theta; D). A sequence is one sample; the label of each character is the next one, and the last,
which has none, is ignored.
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

import landscape

TEXT = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade
Nor lose possession of that fair thou owest;
Nor shall Death brag thou wander'st in his shade,
When in eternal lines to time thou growest:
So long as men can breathe or eyes can see,
So long lives this and this gives life to thee.
"""
LETTERS = sorted(set(TEXT))
LENGTH = 24
IGNORED = -100


class CharacterModel(nn.Module):
    """Embedding, one block of causal attention and an MLP, logits (N, K, T) as `nn.CrossEntropyLoss` wants them."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.letters = nn.Embedding(len(LETTERS), width)
        self.places = nn.Embedding(LENGTH, width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, len(LETTERS))

    def forward(self, letters: Tensor) -> Tensor:
        """Logits (N, K, T) for letters (N, T)."""
        n, length = letters.shape
        x = self.letters(letters) + self.places(torch.arange(length, device=letters.device))
        parts = self.attention(self.norm1(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.mix(mixed.transpose(1, 2).reshape(n, length, -1))
        x = x + self.mlp(self.norm2(x))
        return self.head(x).transpose(1, 2)


def sequences() -> tuple[Tensor, Tensor]:
    """All the text in pieces of 24 characters: letters (N, T) and the next letters (N, T), the last one ignored."""
    codes = torch.tensor([LETTERS.index(letter) for letter in TEXT])
    pieces = codes[: len(codes) // LENGTH * LENGTH].view(-1, LENGTH)
    labels = torch.cat([pieces[:, 1:], torch.full((len(pieces), 1), IGNORED)], dim=1)
    return pieces, labels


def problem(weights: dict[str, Tensor]) -> landscape.Problem:
    """What `landscape analyze --problem` calls with the checkpoint's tensors."""
    model = CharacterModel()
    model.load_state_dict(weights)
    return landscape.Problem(model, nn.CrossEntropyLoss(ignore_index=IGNORED), sequences())


def train(path: str, steps: int = 200) -> None:
    """Train on the text and keep the weights."""
    torch.manual_seed(0)
    model, (inputs, labels) = CharacterModel(), sequences()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = functional.cross_entropy(model(inputs), labels, ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), path)


if __name__ == "__main__":
    train(sys.argv[1])
