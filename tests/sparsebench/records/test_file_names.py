"""Records of different kinds lie in one folder of results: no kind reads another's file."""

from collections import Counter

from sparsebench.models import records as of_models
from sparsebench.records import Store, store
from sparsebench.regression import results
from sparsebench.scale import records as of_scale
from sparsebench.training import curves
from sparsebench.training import records as of_training
from sparsebench.training.cifar import format_records

MODULES = (of_models, results, of_scale, curves, of_training, format_records)


def test_every_kind_has_a_file_name_of_its_own():
    kinds = {Store, *(k for m in MODULES for k in vars(m).values() if is_store(k))}
    names = Counter(kind.file_name for kind in kinds)
    assert len(kinds) == 9
    assert set(names.values()) == {1}, names


def is_store(kind):
    return isinstance(kind, type) and issubclass(kind, store.Store) and kind is not store.Store
