"""The operator's commands as the tests run them: what each prints, and that none of it is a secret."""

import json

from client import call
from stack import CANARY_KEY

PASSWORD = "password-1"


def ok(stack, *arguments, **options):
    """What a command says in JSON; it must succeed."""
    code, out, err = stack.admin(*arguments, "--json", **options)
    assert code == 0, err
    check_clean(out + err)
    return json.loads(out)


def text(stack, *arguments, **options):
    """What a command says to people; it must succeed."""
    code, out, err = stack.admin(*arguments, **options)
    assert code == 0, err
    check_clean(out + err)
    return out


def refused(stack, *arguments, code=1, **options):
    """What a command complains of, and nothing else."""
    found, out, err = stack.admin(*arguments, **options)
    assert found == code, (out, err)
    check_clean(out + err)
    assert out == ""
    return err


def check_clean(output):
    """Nothing that a command prints is a secret or acts on the terminal."""
    for secret in ("scrypt$", PASSWORD, CANARY_KEY, "pgpt_"):
        assert secret not in output
    assert all(character == "\n" or character.isprintable() for character in output), output


def post(stack, token, path, **form):
    answer = call(stack.url, "POST", path, token=token, form=form)
    assert answer.status == 200, answer
    return answer.json
