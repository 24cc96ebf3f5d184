"""A network that is called as transformers' networks are: dict batches in, an output with `logits` out.

Train it and keep its weights, then measure them:

    python docs/examples/reviews.py reviews.pt
    landscape analyze reviews.pt --problem docs/examples/reviews.py --samples all

The loader gives dicts with `labels`, as those of text data sets do; all else goes to the network by keyword. Its output
is a dict: a loss of torch's is given its `logits`.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import landscape

GOOD = ["a fine film", "great fun", "a great and moving story", "fine acting and a fine story", "fun and moving"]
BAD = ["a dull film", "no fun", "a slow and dull story", "bad acting and a bad story", "slow and long"]
TEXTS = [(text, 1) for text in GOOD] + [(text, 0) for text in BAD]
WORDS = ["<pad>", *sorted({word for text, _ in TEXTS for word in text.split()})]


class Reviews(nn.Module):
    """Embedding, an LSTM, and the mean of its states over the words that are there."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), width, padding_idx=0)
        self.recurrent = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Logits (N, 2) for words (N, T)."""
        states, _ = self.recurrent(self.words(input_ids))
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return {"logits": self.head((states * mask).sum(1) / mask.sum(1))}


def collate(rows: list[tuple[str, int]]) -> dict[str, Tensor]:
    """Texts of any length as one batch: padded to the longest of all, so that every batch has the same length."""
    length = max(len(text.split()) for text, _ in TEXTS)
    codes = [[WORDS.index(word) for word in text.split()] for text, _ in rows]
    ids = torch.tensor([code + [0] * (length - len(code)) for code in codes])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": torch.tensor([y for _, y in rows])}


def loader() -> DataLoader[Any]:
    """The reviews in batches of four, in a fixed order."""
    return DataLoader(TEXTS, batch_size=4, collate_fn=collate)  # type: ignore[arg-type]


def problem(weights: dict[str, Tensor]) -> landscape.Problem:
    """What `landscape analyze --problem` calls with the checkpoint's tensors."""
    model = Reviews()
    landscape.load_tensors(model, weights)
    return landscape.Problem(model, nn.CrossEntropyLoss(), loader())


def train(path: str, steps: int = 60) -> None:
    """Train on the reviews and keep the weights."""
    torch.manual_seed(0)
    model, batch = Reviews(), collate(TEXTS)
    labels = batch.pop("labels")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(**batch)["logits"], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(model.state_dict(), path)


if __name__ == "__main__":
    train(sys.argv[1])
