"""`model=cnn`: one net, one loss; Lightning's automatic optimization."""

from typing import Any

from torch import Tensor

from sr.image.batch import Pair
from sr.model.gradient import list_trainable
from sr.model.module import SRModule


class CNN(SRModule):
    """Minimizes `loss(net(lr), hr)`."""

    loss_signal = "train/loss"

    def training_step(self, pair: Pair, batch_idx: int) -> Tensor:
        lr, hr = self.take_batch(pair)
        self.signals = {"train/lr": self.optimizers().param_groups[0]["lr"]}
        terms = self.loss(self.net(lr), hr)
        loss = self.loss.total(terms)
        self.log_loss(loss)
        self.log_terms(terms, self.loss.weights)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(list_trainable(self.net))
        schedule = self.schedule(optimizer, total=self.set_total_steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
