import itertools

import pytest
import torch

from sparsebench.training.batches import batches
from sparsebench.training.cifar.augmentation import SHIFT, crop_and_flip
from sparsebench.training.datasets import Dataset
from sparsebench.training.settings import CifarSetting, SettingError

functional = pytest.importorskip("torchvision.transforms.v2.functional")

IMAGES = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SETTING = CifarSetting(
    experiment="t",
    row="dense",
    model="dense",
    network="resnet18",
    batch=4,
    sparsity=0.0,
    augmentation="crop_and_flip",
)


def every_change_of(image):
    """Every window of the padded image, and its mirror image, as torchvision makes them."""
    padded = functional.pad(image, [SHIFT] * 4)
    for top, left in itertools.product(range(2 * SHIFT + 1), repeat=2):
        window = functional.crop(padded, top, left, 32, 32)
        yield (top, left, False), window
        yield (top, left, True), functional.horizontal_flip(window)


def test_every_image_is_shifted_and_mirrored_in_its_own_way():
    (image,) = IMAGES[:1]
    known = {window.numpy().tobytes(): change for change, window in every_change_of(image)}
    made = crop_and_flip(image.expand(3000, -1, -1, -1), torch.Generator().manual_seed(1))
    seen = [known[window.numpy().tobytes()] for window in made.contiguous()]
    tops, lefts, mirrored = zip(*seen, strict=True)
    for places in (tops, lefts):
        counts = torch.bincount(torch.tensor(places), minlength=9)
        assert len(counts) == 9
        assert counts.min() > 250  # of 333, with a deviation of 17
    assert 1350 < sum(mirrored) < 1650
    assert len(set(seen)) == 162


def test_batches_are_changed_by_seed_epoch_and_number_alone():
    data = Dataset("cifar10", IMAGES, torch.arange(12), IMAGES, torch.arange(12), "")
    whole = list(batches(data, SETTING, 0))
    assert [labels.tolist() for _, labels in whole] == [
        labels.tolist()
        for _, labels in batches(
            data, CifarSetting(**(vars(SETTING) | {"augmentation": "none"})), 0
        )
    ]
    for images, labels in whole:
        for image, label in zip(images, labels, strict=True):
            assert any(torch.equal(image, made) for _, made in every_change_of(IMAGES[label]))
    resumed = list(batches(data, SETTING, 0, first=1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[1:], resumed, strict=True))
    first, second = (
        {int(label): image for pair in batches(data, SETTING, epoch)
         for image, label in zip(*pair, strict=True)}
        for epoch in (0, 1)
    )  # fmt: skip
    assert sum(torch.equal(first[label], second[label]) for label in range(12)) < 3


def test_what_is_no_augmentation_is_named():
    with pytest.raises(SettingError, match="augmentation must be one of none, crop_and_flip"):
        CifarSetting(**(vars(SETTING) | {"augmentation": "mixup"}))


def test_names_of_earlier_settings_stay_as_they_were():
    plain = CifarSetting(**(vars(SETTING) | {"augmentation": "none"}))
    assert "augmentation" not in plain.key
    assert SETTING.key == f"{plain.key} augmentation=crop_and_flip"
