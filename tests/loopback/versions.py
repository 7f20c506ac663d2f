"""What depends on the version of a package that we are compared with."""

from importlib.metadata import version

import pytest

LITELLM = tuple(int(number) for number in version("litellm").split(".")[:2])

of_litellm_now = pytest.mark.skipif(LITELLM < (1, 110), reason="what LiteLLM's own logger sent before 1.110 differs")
