"""Causal language models of Hugging Face's transformers; not covered by the tests of this project."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ergodica.samplers.sequences.model import Prefix, Reader, SequenceModel, as_rows

__all__ = ["HuggingFaceModel"]


class HuggingFaceModel(SequenceModel):
    """A causal model of ``transformers``, one text at a time, with its cache of keys and values.

    Not covered by continuous integration, which has neither PyTorch nor weights.

    Parameters
    ----------
    model
        As from ``transformers.AutoModelForCausalLM.from_pretrained``.
    beginning
        Token that every text begins with, unseen by the caller; such as the tokenizer's ``bos_token_id``.
    """

    def __init__(self, model: Any, beginning: int) -> None:
        self.model = model.eval()
        self.beginning = int(beginning)
        self.vocabulary_size = int(model.config.vocab_size)

    def laws(self, prefixes: Sequence[Prefix]) -> Float[np.ndarray, "B V"]:
        """Return the laws of the next token; see :meth:`SequenceModel.laws`."""
        return self.open(prefixes).law

    def open(self, prompts: Sequence[Prefix]) -> Reader:
        """Read some prompts; see :meth:`SequenceModel.open`."""
        return _HuggingFaceReader(self, prompts)


class _HuggingFaceReader(Reader):
    """Texts of a model of ``transformers``; see :class:`Reader`."""

    def __init__(self, owner: HuggingFaceModel, prompts: Sequence[Prefix]) -> None:
        from transformers import DynamicCache  # type: ignore[import-not-found]

        self.owner = owner
        self.caches = [DynamicCache() for _ in prompts]
        self.lengths = np.array([len(prompt) for prompt in prompts], int)
        rows = [self._read(b, (owner.beginning, *prompt)) for b, prompt in enumerate(prompts)]
        self.law = np.stack([row[-1] for row in rows])

    def _read(self, b: int, tokens: Sequence[int]) -> Float[np.ndarray, "n V"]:
        import torch  # type: ignore[import-not-found]

        with torch.no_grad():
            given = torch.tensor([list(tokens)], device=self.owner.model.device)
            out = self.owner.model(given, past_key_values=self.caches[b], use_cache=True)
            weights = torch.softmax(out.logits[0].double(), dim=-1)
        return as_rows("the model", weights.cpu().numpy(), self.owner.vocabulary_size)

    def extend(self, tokens: Sequence[Sequence[int]], width: int | None = None) -> Float[np.ndarray, "B n V"]:
        """Read on; see :meth:`Reader.extend`."""
        longest = max((len(new) for new in tokens), default=0) if width is None else width
        rows = np.zeros((len(tokens), longest, self.owner.vocabulary_size))
        for b, new in enumerate(tokens):
            if new:
                rows[b, : len(new)] = self._read(b, new)
        self.lengths = self.lengths + np.array([len(new) for new in tokens], int)
        self.num_calls += 1
        return rows

    def cut(self, lengths: Int[np.ndarray, " B"]) -> None:
        """Forget; see :meth:`Reader.cut`."""
        for cache, length in zip(self.caches, lengths.tolist(), strict=True):
            cache.crop(length + 1)
        self.lengths = np.asarray(lengths, int)

    def select(self, index: Int[np.ndarray, " B"]) -> None:
        """Resample; see :meth:`Reader.select`."""
        self.caches = [copy.deepcopy(self.caches[number]) for number in index.tolist()]
        self.lengths = self.lengths[index]
