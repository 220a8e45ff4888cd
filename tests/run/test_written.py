from qaclims_ray.run.blocks import BlockProgress, Count


def test_rows_errors_and_answers_add_up_block_by_block():
    written = BlockProgress(Count(0, 0, 0), "answers")
    assert written() == 0
    written.add(Count(2, 1, 3))
    written.add(Count(2, 0, 1))
    assert written() == 4
    assert written.detail(2.0) == "2.0 answers/s, 1 errors"


def test_what_was_there_at_first_counts_for_no_rate():
    written = BlockProgress(Count(1, 0, 3), "answers")
    assert written() == 1
    assert written.detail(1.0) == "0.0 answers/s, 0 errors"
    written.add(Count(1, 0, 2))
    assert written() == 2
    assert written.detail(1.0) == "2.0 answers/s, 0 errors"


def test_where_nothing_else_is_counted_errors_are_told():
    written = BlockProgress(Count(3, 0, 0))
    written.add(Count(4, 2, 0))
    assert written.detail(1.0) == "2 errors"
