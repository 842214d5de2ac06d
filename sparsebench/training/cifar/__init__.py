"""Whole models on CIFAR-10: pruned while they train, with masks and in sparse storage."""
