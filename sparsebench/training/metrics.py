"""Metric: by which number of an epoch a kind of network is judged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A field of an Epoch, and how people read it: times `factor`, in this `form`."""

    name: str
    factor: float = 1.0
    form: str = "{:.2f}"

    def of(self, epoch: object) -> float | None:
        """Return what people read of `epoch`; None where it was not measured."""
        value = getattr(epoch, self.name)
        return None if value is None else self.factor * value

    def shown(self, epoch: object) -> str:
        """Return it with its name: "accuracy 97.86%"."""
        value = self.of(epoch)
        return f"{self.name} {'not measured' if value is None else self.form.format(value)}"


ACCURACY = Metric("accuracy", 100.0, "{:.2f}%")
PERPLEXITY = Metric("perplexity", form="{:.3f}")  # the less the better
