"""What the way to a node is like: lag, loss, reordering, silence."""

import asyncio
import random

# How much later than its time a frame comes that others are to overtake.
HELD_BACK_SECONDS = 0.01
# The most frames that are under way in one direction; more are lost, as they are where a queue is full.
UNDER_WAY_MAX = 10_000


class Link:
    """Both directions of the way to one node; it can be shaped while it is used."""

    def __init__(self):
        self.lag = self.loss = self.reorder = 0.0
        self.silent = False
        self.lost = self.under_way = 0

    def shape(self, lag=None, loss=None, reorder=None, silent=None):
        """Changes what is given: seconds each way, shares of all frames each way, and whether
        nothing passes at all. What is under way still comes."""
        for name, share in (("loss", loss), ("reorder", reorder)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} is a share from 0 to 1")
        self.lag = self.lag if lag is None else lag
        self.loss = self.loss if loss is None else loss
        self.reorder = self.reorder if reorder is None else reorder
        self.silent = self.silent if silent is None else silent

    def carry(self, frame: bytes, deliver):
        """Calls `deliver(frame)` when the frame arrives, if it does."""
        delay = self.lag
        if self.reorder and random.random() < self.reorder:
            delay += HELD_BACK_SECONDS
        is_lost = self.silent or (self.loss and random.random() < self.loss)
        if is_lost or self.under_way >= UNDER_WAY_MAX:
            self.lost += 1
        elif delay == 0:
            deliver(frame)
        else:
            self.under_way += 1
            asyncio.get_running_loop().call_later(delay, self._arrive, frame, deliver)

    def _arrive(self, frame: bytes, deliver):
        self.under_way -= 1
        deliver(frame)
