"""A causal language model of transformers from a folder of its own.

It needs `pip install transformers`. Make a small one without any download, then measure it:

    python docs/examples/hf_lm.py gpt2-small
    landscape analyze gpt2-small --problem docs/examples/hf_lm.py --samples all

The labels are the tokens themselves, as transformers' causal models take them; `reading="next-token"` compares each
place with the token after it, and turns the logits (N, T, K) to what torch's loss takes.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import landscape

sys.path.insert(0, str(Path(__file__).parent))
from char_lm import LETTERS, sequences

FOLDER = "gpt2-small"


def problem(weights: dict[str, Tensor]) -> landscape.Problem:
    """The network that the folder describes, the checkpoint's weights in it, beside the text of the other example."""
    model = landscape.network(f"hf:{FOLDER}", weights)
    tokens, _ = sequences()
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "labels": tokens}
    return landscape.Problem(model, nn.CrossEntropyLoss(), batch, reading="next-token")


def train(folder: str, steps: int = 60) -> None:
    """Train a GPT-2 of 15,000 parameters on the text and keep it as transformers does."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    tokens, _ = sequences()
    config = GPT2Config(
        vocab_size=len(LETTERS), n_positions=tokens.shape[1], n_embd=32, n_layer=1, n_head=4,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


if __name__ == "__main__":
    train(sys.argv[1])
