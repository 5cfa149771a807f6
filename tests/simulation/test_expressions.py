import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokctl.simulation.expressions import timer_to_python, to_python

DATA = {"amount": 100, "method": "a && b = c", "ok": True, "none": None, "f": lambda x: x + 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("amount > 50", True),
        ("${amount > 50}", True),
        ("#{amount > 50 && !ok}", False),
        ("= amount = 100", True),
        ("amount = 100 and ok", True),
        ("= ok = true and none = null", True),
        ("${method == 'a && b = c'}", True),
        ("= method = 'a && b = c'", True),
        ("${f(x=1)}", 2),
        ("amount != 100 || ok", True),
        ("not(amount >= 100)", False),
        ("{'a': 1}['a'] == 1", True),
    ],
)
def test_spellings_of_conditions(text, value):
    assert eval(to_python(text), dict(DATA)) == value


@pytest.mark.parametrize("text", ["amount >", "${amount >}", "= ", "a b", "${", "'open"])
def test_what_is_no_expression_stays_one_that_fails(text):
    with pytest.raises(SyntaxError):
        eval(to_python(text), {})


@given(st.text())
@example("0\r\x80")
def test_any_text_is_taken(text):
    assert isinstance(to_python(text), str)
    assert isinstance(timer_to_python(text), str)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PT5M", "PT5M"),
        ("R3/PT10S", "R3/PT10S"),
        ('"PT5M"', "PT5M"),
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ("PERIOD", "PT1H"),
        ("= wait", "PT2H"),
        ("${wait}", "PT2H"),
    ],
)
def test_values_of_timers(text, value):
    assert eval(timer_to_python(text), {"PERIOD": "PT1H", "wait": "PT2H"}) == value
