"""The one scenario in every language, over a kill of the streamer and one of a worker: the same lines from all."""

import pytest
from scenario import ENDS, EXPECTED, LANGUAGES, STACK, command, run  # noqa: F401

# The Swift client is compiled by the tests that run alone.
HERE = [pytest.param(name, marks=pytest.mark.alone) if name == "swift" else name for name in LANGUAGES]


@pytest.mark.parametrize("language", HERE)
def test_the_scenario_prints_the_same_lines_in_every_language(stack, language):
    program, reason = command(language)
    if program is None:
        pytest.skip(reason)
    lines, ends = run(stack, program)
    assert lines == EXPECTED
    # An abort closes the call of the model; nothing else does, whatever was killed.
    assert ends == ENDS
