"""Connections that change while a model trains: SET, RigL and the rules that came after them.

A Rewirer is used like a learning rate scheduler. At regular steps it drops the connections that
are worth least and grows as many where its rule says; with a `schedule`, layers become sparser
meanwhile:

    rewirer = RigL(model, optimizer, update_every=100, stop_after=75_000)
    for x, target in data:
        optimizer.zero_grad()
        loss(model(x), target).backward()
        optimizer.step()
        rewirer.step()

A new rule is a subclass of Rewirer with one method, `grow`.
"""

from sparselayers.dynamic.cht import CHT, CHTs
from sparselayers.dynamic.granet import GraNet
from sparselayers.dynamic.gse import GSE
from sparselayers.dynamic.mest import MEST
from sparselayers.dynamic.momentum import MomentumGrowth
from sparselayers.dynamic.rewirer import Rewirer
from sparselayers.dynamic.rigl import RigL
from sparselayers.dynamic.set import SET
from sparselayers.dynamic.site import Site
from sparselayers.dynamic.top_kast import TopKAST

__all__ = [
    "CHT",
    "GSE",
    "MEST",
    "SET",
    "CHTs",
    "GraNet",
    "MomentumGrowth",
    "Rewirer",
    "RigL",
    "Site",
    "TopKAST",
]
