"""Run a model many times over the same batches, and look at its sublayers: each layer's attention and its FFN."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from edgeprune.models.architectures import LayerParts
from edgeprune.models.reader import unpadded
from edgeprune.pruning.importance import Batch

__all__ = ["FromBelow", "rows_of", "sublayers"]


class _Reached(Exception):  # noqa: N818 (no error: it ends a forward pass)
    """Signal that a forward pass has gone as far as is needed."""


def sublayers(parts: LayerParts) -> tuple[tuple[nn.Module, nn.Linear], ...]:
    """Return the module that is given the residual and the projection whose output is added to it.

    The first pair is the attention's, the second the FFN's.
    """
    return (
        (parts.attention_residual, parts.attention_output.linear),
        (parts.ffn_residual, parts.ffn_out.linear),
    )


class FromBelow:
    """Run one model over the same batches many times, and compute no layer again that stays as it is.

    Args:
        batches: The batches that the model is given.
        run: Runs the model on one batch.
    """

    def __init__(self, batches: Sequence[Batch], run: Callable[[Batch], torch.Tensor]) -> None:
        self._batches = batches
        self._run = run
        self._below: list[nn.Module] = []
        self._outputs: list[Any] = [None] * len(batches)
        """By batch, the output of the last layer that stays as it is."""

    def keep_below(self, layers: Sequence[LayerParts]) -> None:
        """Keep the output of the last of these layers, and use it in every later pass.

        Args:
            layers: The layers from the bottom up, which must not change again.
        """
        for parts in layers[len(self._below) :]:
            layer = parts.attention_residual
            for number in range(len(self._batches)):

                def keep(_module: nn.Module, _arguments: object, output: object, number: int = number) -> None:
                    self._outputs[number] = output
                    raise _Reached

                self._pass(number, [layer.register_forward_hook(keep)])
            self._below.append(layer)

    def inputs(
        self, number: int, residual: nn.Module, writer: nn.Linear, times: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of two modules in a pass of one batch, [unpadded tokens, features] each.

        Args:
            number: The batch's number.
            residual: The module that is given the residual.
            writer: The projection whose output is added to the residual.
            times: How many times the pass runs both modules; the inputs of all runs are put together.
        """
        batch = self._batches[number]
        states: list[torch.Tensor] = []
        inputs: list[torch.Tensor] = []

        def keep(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            states.append(unpadded(arguments[0], batch))

        def keep_and_stop(_module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            inputs.append(unpadded(arguments[0], batch))
            if len(inputs) == times:
                raise _Reached

        self._pass(number, [residual.register_forward_pre_hook(keep), writer.register_forward_pre_hook(keep_and_stop)])
        return torch.cat(states), torch.cat(inputs)

    def reads(
        self, number: int, readers: Sequence[nn.Linear], writer: nn.Module | None, times: int
    ) -> list[torch.Tensor]:
        """Return what linear layers are given in a pass of one batch, without padding, [rows, features] each.

        Args:
            number: The batch's number.
            readers: The linear layers. What one is given several times is put together; it may be given something else
                than states of tokens (one state of each row, a table of positions), or nothing at all: [0, features].
            writer: A module behind the readers, at which the pass ends; None: the pass goes on to the model's outputs.
            times: How many times the pass runs `writer`.
        """
        batch = self._batches[number]
        given: list[list[torch.Tensor]] = [[] for _ in readers]
        reached: list[bool] = []

        def keep(found: list[torch.Tensor], arguments: tuple[torch.Tensor, ...]) -> None:
            found.append(rows_of(arguments[0], batch))

        def stop(_module: nn.Module, _arguments: object) -> None:
            reached.append(True)
            if len(reached) == times:
                raise _Reached

        handles = [
            reader.register_forward_pre_hook(lambda _module, arguments, found=found: keep(found, arguments))
            for reader, found in zip(readers, given, strict=True)
        ]
        self._pass(number, handles if writer is None else [*handles, writer.register_forward_pre_hook(stop)])
        return [
            torch.cat(found) if found else reader.weight.new_zeros(0, reader.in_features)
            for reader, found in zip(readers, given, strict=True)
        ]

    def outputs(self, number: int) -> torch.Tensor:
        """Return what the model gives for one batch, as it is now."""
        outputs = self._pass(number, [])
        assert outputs is not None  # noqa: S101 (no hook ends the pass)
        return outputs

    def _pass(self, number: int, handles: Sequence[RemovableHandle]) -> torch.Tensor | None:
        """Run the model until a hook has seen enough. The layers below only hand on the output that was kept."""
        for layer in self._below:
            layer.forward = lambda *_arguments, **_keywords: self._outputs[number]
        try:
            with torch.inference_mode():
                return self._run(self._batches[number])
        except _Reached:
            return None
        finally:
            for layer in self._below:
                del layer.forward
            for handle in handles:
                handle.remove()


def rows_of(given: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Turn the states of a batch's tokens, or anything else [..., features], into rows, and leave padding out."""
    mask = batch.get("attention_mask")
    if mask is not None and given.shape[:-1] == mask.shape:
        return unpadded(given, batch)
    return given.flatten(0, -2)
