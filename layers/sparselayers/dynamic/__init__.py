"""Connections that change while a model trains: SET, RigL and whatever rule comes next.

A Rewirer is used like a learning rate scheduler. At regular steps it drops the weights of
smallest magnitude and grows as many where its rule says; the number of weights never changes:

    rewirer = RigL(model, optimizer, update_every=100, stop_after=75_000)
    for x, target in data:
        optimizer.zero_grad()
        loss(model(x), target).backward()
        optimizer.step()
        rewirer.step()

A new rule is a subclass of Rewirer with one method, `grow`.
"""

from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.rules import SET, RigL
from sparselayers.dynamic.site import Site

__all__ = ["SET", "Rewirer", "RigL", "Site"]
