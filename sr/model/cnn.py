"""`model=cnn`: one net, one loss; Lightning's automatic optimization."""

from typing import Any

from torch import Tensor

from sr.image.batch import Pair
from sr.model.module import SRModule, list_trainable
from sr.model.objective import Objective


class CNN(SRModule):
    """Minimises `loss(net(lr), hr)`."""

    JUDGED = "train/loss"

    def __init__(self, loss: Objective, **parts: Any) -> None:
        super().__init__(**parts)
        self.loss = loss

    def training_step(self, pair: Pair, batch_idx: int) -> Tensor:
        lr, hr = self.shown(pair)
        self.signals = {"train/lr": self.optimizers().param_groups[0]["lr"]}
        terms = self.loss(self.net(lr), hr)
        loss = self.loss.total(terms)
        self.tell_loss(loss)
        self.tell_terms(terms, self.loss.weights)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(list_trainable(self.net))
        schedule = self.schedule(optimizer, total=self.budget())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
