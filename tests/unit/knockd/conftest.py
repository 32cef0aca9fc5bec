"""What several tests of knockd need."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.knockd_rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    await made.start()
    yield made
    made.stop()
