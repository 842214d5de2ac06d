"""How a network gets sparser while it trains, and what it would be at a step it has not reached."""

from __future__ import annotations

from collections.abc import Callable

from sparsebench.training.settings import CifarSetting, MLPSetting, Setting
from sparselayers.prune import Gradual, Schedule, Sigmoid

_KINDS: dict[str, Callable[..., Schedule]] = {"cubic": Gradual, "sigmoid": Sigmoid}


def schedule_of(setting: Setting) -> Schedule | None:
    """Return how the network gets sparser beside what is rewired, if it does."""
    if not isinstance(setting, MLPSetting) or setting.annealing == "none":
        return None
    return _KINDS[setting.annealing](
        initial=setting.initial_sparsity,
        final=setting.sparsity,
        begin=setting.anneal_from,
        stop_after=setting.anneal_until,
        update_every=setting.update_every,
    )


def gets_sparser(setting: Setting) -> bool:
    """Whether the network gets sparser while it trains, so that its epochs take less and less."""
    gradual = isinstance(setting, CifarSetting) and setting.pruning == "gradual"
    return gradual or schedule_of(setting) is not None


def last_change(schedule: Schedule, step: int) -> int:
    """Return the last step up to `step` after which `schedule` prunes; 0 where there is none."""
    before = range(step, 0, -1)
    return next((each for each in before if schedule.sparsity(each) is not None), 0)
