"""What the formula guard does to blocks of CSV: every text that a spreadsheet would evaluate, nothing else."""

from hypothesis import example, given
from hypothesis import strategies as st

from hubblewave_pipelines.transfer.formula_guard import guarded

EVALUATED = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
# Texts in quotes, everything else without: as COPY writes them.
signs = st.sampled_from([*EVALUATED, '"', ",", ";", "|", "'", "a", "é", "／", "日"])  # noqa: RUF001
texts = st.lists(signs, max_size=6).map("".join)
cells = st.tuples(st.just(True), texts) | st.tuples(
    st.just(False), st.sampled_from(["", "-5", "1", "2024-02-29T12:30:00.000000Z"])
)
Rows = list[list[tuple[bool, str]]]


def written(rows: Rows, delimiter: str, *, apostrophes: bool) -> bytes:
    def cell(quoted: bool, text: str) -> str:
        if not quoted:
            return text
        mark = "'" if apostrophes and text.startswith(EVALUATED) else ""
        return f'"{mark}{text.replace(chr(34), chr(34) * 2)}"'

    return "".join(delimiter.join(cell(*one) for one in row) + "\n" for row in rows).encode()


@given(
    st.lists(st.lists(cells, min_size=1, max_size=4), max_size=6),
    st.sampled_from([",", ";", "\t", "|", "'"]),
)
@example([[(True, 'a","=b')], [(True, "=")]], ",")
@example([[(True, "a,")], [(True, "\n")], [(True, "a\n")], [(True, "x\t"), (True, "\t")]], ",")
@example([[(True, "x\t"), (True, "\t")]], "\t")
def test_exactly_the_texts_that_would_be_evaluated_get_an_apostrophe(
    rows: Rows, delimiter: str
) -> None:
    block = written(rows, delimiter, apostrophes=False)
    assert guarded(block, delimiter) == written(rows, delimiter, apostrophes=True)
