"""A property of an object that is computed when it is first asked for, and then kept."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self, TypeVar, overload

T = TypeVar("T", covariant=True)


class lazy(cached_property[T]):  # noqa: N801  # a decorator, as the one it stands for
    """`functools.cached_property` without the lock that Python takes before 3.12.

    To lock takes longer than most of what is computed once for each of a hundred thousand records.
    Threads that ask at the same time may each compute the value.
    """

    def __set_name__(self, owner: type[Any], name: str) -> None:
        super().__set_name__(owner, name)
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self.func(instance)
        return value
