"""PyTorch, eager, with AdamW."""

import torch
from torch import nn

import contender
import models


def main():
    parser = contender.arguments(__doc__)
    parser.add_argument("--fused", action="store_true", help="AdamW(fused=True)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    network = models.network(args.model).train()
    # `fused=None` is PyTorch's default.
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=args.fused or None)
    loss_function = nn.CrossEntropyLoss()

    def step(x, y):
        optimizer.zero_grad()
        loss = loss_function(network(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        return loss.item()

    contender.report("pytorch-fused" if args.fused else "pytorch", args, step)


if __name__ == "__main__":
    main()
