"""What generation returns: texts, and what each call of the target brought."""

import dataclasses

import numpy as np
from jaxtyping import Int

from ergodica.samplers.sequences.model import Prefix

__all__ = ["Block", "Generation"]


@dataclasses.dataclass(frozen=True)
class Block:
    """What one call of the target brought to one text.

    Parameters
    ----------
    text
        Number of the text.
    tokens
        The new tokens.
    drafted, accepted
        How many tokens were drafted, and how many of them kept.
    by_token, by_block
        Mean number of kept drafts, given the drafts, under verification by tokens and as a block; the latter is the most
        that an exact rule keeps on average.
    is_last
        Whether the text ends here.
    """

    text: int
    tokens: Prefix
    drafted: int
    accepted: int
    by_token: float
    by_block: float
    is_last: bool


@dataclasses.dataclass(frozen=True)
class Generation:
    """Texts, and what they took.

    Parameters
    ----------
    texts
        The generated tokens of each text, without the prompt.
    blocks
        What each call of the target brought, in the order of the calls; of calls for several texts at once, one entry for
        each.
    """

    texts: tuple[Prefix, ...]
    blocks: tuple[Block, ...]

    @property
    def num_calls(self) -> int:
        """Calls of the target, a call for several texts counted for each of them."""
        return len(self.blocks)

    @property
    def tokens_per_call(self) -> float:
        """Mean number of tokens that a call of the target brings to a text."""
        return sum(len(block.tokens) for block in self.blocks) / max(1, self.num_calls)

    @property
    def accepted(self) -> Int[np.ndarray, " blocks"]:
        """Number of accepted drafts in each block."""
        return np.array([block.accepted for block in self.blocks], int)

    @property
    def predicted(self) -> tuple[float, float]:
        """Tokens per call that theory predicts on these drafts: by tokens, and as blocks, the optimum for one chain.

        Averages of the conditional means given the drafts. They do not know that texts are cut where they end.
        """
        count = max(1, self.num_calls)
        by_token = sum(block.by_token for block in self.blocks) / count
        return 1 + by_token, 1 + sum(block.by_block for block in self.blocks) / count

    @property
    def share_of_optimum(self) -> float:
        """Accepted drafts over the largest mean number of them that an exact rule keeps of these drafts; NaN if none."""
        best = sum(block.by_block for block in self.blocks)
        return float(self.accepted.sum()) / best if best > 0 else float("nan")
