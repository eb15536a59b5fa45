"""Lightning's Trainer with the dials that it lacks; SRModule reads them at the start of training."""

from typing import Any

from pytorch_lightning import Trainer as LightningTrainer


class Trainer(LightningTrainer):
    """`channels_last`: the net's weights and batches lie in memory with channels innermost. `compile`: torch.compile,
    of its usual backend (True), or of the one named."""

    def __init__(self, *, channels_last: bool = False, compile: bool | str = False, **dials: Any) -> None:
        super().__init__(**dials)
        self.channels_last, self.compile = channels_last, compile
