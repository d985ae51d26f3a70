"""Plugins that misbehave, and one that does not."""

from __future__ import annotations

MUTATION = '''
from typing import ClassVar, Literal

from lossforge.interfaces import Loss, MutationOperator


class Toy(MutationOperator):
    """Steps of no use."""

    type: Literal["{type}"] = "{type}"
    {extra}

    def init(self, num, dim, generator):
        return {{}}

    def mutate(self, parents_PD, sigma, state, generator):
        return parents_PD + {step}, state
'''


def mutation(type_name: str, *, before: str = "", extra: str = "", step: str = "sigma") -> str:
    """Return the code of a mutation."""
    return before + MUTATION.format(type=type_name, extra=extra, step=step)


WRONG_BASE = '''
from typing import Literal

from lossforge.interfaces import LocalLoss


class Toy(LocalLoss):
    """A loss that is registered as a mutation."""

    type: Literal["toy_base"] = "toy_base"

    def of_log_prob(self, log_prob):
        return -log_prob
'''

SOURCES = {
    "toy-good": {"mutations.toy_good": mutation("toy_good")},
    "toy-missing": {"mutations.toy_missing": "import a_package_nobody_has.inner\n"},
    "toy-bad": {
        "mutations.toy_import": "raise ImportError('libfoo is not there')\n",
        "mutations.toy_assert": "assert False, 'wrong torch'\n",
        "mutations.toy_exit": "raise SystemExit('no licence')\n",
        "mutations.toy_loud": mutation("toy_loud", before="import os\nprint('{hello}')\nos.write(1, b'world')\n"),
        "mutations.toy_slow": mutation("toy_slow", before="import time\ntime.sleep(2.3)\n"),
        "mutations.toy_old": mutation("toy_old", extra="api_version: ClassVar[int] = 0"),
        "mutations.toy_base": WRONG_BASE,
        "mutations.toy_mutable": mutation("toy_mutable", extra="steps: list[float] = [0.1, 0.2]"),
    },
    "toy-first": {"mutations.toy_contested": mutation("toy_contested")},
    "toy-second": {"mutations.toy_contested": mutation("toy_contested")},
    "toy-shadow": {"mutations.gaussian": mutation("gaussian", step="1e9")},
    "toy-death": {
        "mutations.toy_dies": "import os\nos._exit(9)\n",
        "mutations.toy_hangs": "import time\ntime.sleep(3600)\n",
        "mutations.toy_lives": mutation("toy_lives"),
    },
}
"""Code of the components of each distribution."""

DEPENDENCIES = {"toy-missing": ("A.Package_nobody-has[fast]>=1.12", "torch<1", "nothing; python_version < '3'")}

SURVIVED = ",".join(sorted(SOURCES.keys() - {"toy-death"}))
"""All whose import a process survives, as the environment variable lists them."""
