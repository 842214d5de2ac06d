"""Values that are computed once."""

import dataclasses

from sparsebench.lazy import lazy


@dataclasses.dataclass(frozen=True)
class Square:
    side: int
    asked: list[int] = dataclasses.field(default_factory=list)

    @lazy
    def area(self):
        """Its area."""
        self.asked.append(self.side)
        return self.side**2


def test_a_value_is_computed_when_it_is_asked_for_and_once_for_each_object():
    two, three = Square(2), Square(3)
    assert not two.asked
    assert [two.area, three.area, two.area] == [4, 9, 4]
    assert two.asked + three.asked == [2, 3]
    del vars(two)["area"]  # as who changes what it was made of does
    assert two.area == 4
    assert two.asked == [2, 2]


def test_it_is_told_of_the_class_too():
    assert Square.area.__doc__ == "Its area."
