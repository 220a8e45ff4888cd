import threading

import pytest

from qaclims_ray.images.ahead import ahead


@pytest.mark.parametrize("is_on", [True, False])
def test_results_come_in_order(is_on):
    assert list(ahead(lambda x: 2 * x, range(5), is_on)) == [0, 2, 4, 6, 8]
    assert list(ahead(len, [], is_on)) == []


def test_the_next_one_is_made_while_the_last_one_is_in_use():
    begun = [threading.Event() for _ in range(4)]
    results = ahead(lambda number: begun[number].set() or number, range(4), is_on=True)
    for number in results:
        if number < 3:
            assert begun[number + 1].wait(60)
        assert not any(later.is_set() for later in begun[number + 2 :])


def test_without_a_thread_each_is_made_when_it_is_due():
    made = []
    results = ahead(made.append, range(3), is_on=False)
    next(results)
    assert made == [0]


@pytest.mark.parametrize("is_on", [True, False])
def test_an_error_comes_where_its_result_was_due(is_on):
    results = ahead(lambda x: 1 // x, [1, 0, 1], is_on)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
