"""What REST and gRPC share: the served versions, the queue before them, and who still waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from camformer_tf.serving import batching, metrics, models, options, refusal, versions

_PATIENCE = 0.1  # seconds before it is worth asking whether the client is still there


class Gone(Exception):
    """The client went away."""


@dataclasses.dataclass
class Service:
    """Args:
    open: requests that are being answered.
    ready: whether a version is loaded.
    stopping: whether new requests are refused.
    """

    options: options.Options
    versions: versions.Versions
    batcher: batching.Batcher
    metrics: metrics.Metrics
    open: int = 0
    ready: bool = False
    stopping: bool = False

    def refuse_when_stopping(self) -> None:
        if self.stopping:
            raise refusal.Refused("UNAVAILABLE", "The server is stopping")

    async def outputs(
        self,
        answer: asyncio.Future[models.Arrays],
        seconds: float,
        leaves: Callable[[], Awaitable] | None = None,
    ) -> models.Arrays:
        """Waits for what `Batcher.submit` promised, and takes the request back if nobody does.

        Args:
            seconds: how long.
            leaves: returns when the client goes away.

        Raises:
            refusal.Refused: the model refused, or it took too long.
            Gone: the client went away.
        """
        try:
            await asyncio.wait([answer], timeout=min(_PATIENCE, seconds))
            if not answer.done() and leaves and seconds > _PATIENCE:
                gone = asyncio.ensure_future(leaves())
                try:
                    await asyncio.wait(
                        [answer, gone],
                        timeout=seconds - _PATIENCE,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if gone.done() and not answer.done():
                        raise Gone
                finally:
                    gone.cancel()
            elif not answer.done() and seconds > _PATIENCE:
                await asyncio.wait([answer], timeout=seconds - _PATIENCE)
            if not answer.done():
                raise refusal.Refused("DEADLINE_EXCEEDED", f"No answer within {seconds:g} s")
            return answer.result()
        finally:
            answer.cancel()  # does nothing to one that is done


def status_json(states: dict[int, versions.State]) -> dict:
    """Returns tensorflow.serving.GetModelStatusResponse as TensorFlow Serving writes it in JSON."""
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": state.state,
                "status": {"error_code": state.code, "error_message": state.message},
            }
            for number, state in states.items()
        ]
    }
