"""`model=cnn`: one net, one loss; Lightning's automatic optimization."""

from typing import Any

from torch import Tensor, nn

from sr.model.module import SRModule, trainable
from sr.pair import Pair


class CNN(SRModule):
    """Minimises `loss(net(lr), hr)`."""

    def __init__(self, loss: nn.Module, **parts: Any) -> None:
        super().__init__(**parts)
        self.loss = loss

    def training_step(self, pair: Pair, batch_idx: int) -> Tensor:
        lr, hr = self.visible(pair)
        loss = self.loss(self.net(lr), hr)
        self.signals = {"train/loss": loss.detach(), "train/lr": self.optimizers().param_groups[0]["lr"]}
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(trainable(self.net))
        schedule = self.schedule(optimizer, total=self.budget())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
