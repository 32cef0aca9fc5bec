"""What a client worker learned of its server's clock outlives the worker: its successor begins with it.

Pure. Knows where in a specification it belongs; refuses to know how it was learned.
"""

from dataclasses import replace

import msgspec

from hyperion.proto.control import ClientWorkerConfig
from hyperion.supervisor.spec import Spec


def with_skew(spec: Spec, skew_ms: int | None) -> Spec:
    """``spec``, for the next worker; as it was, where nothing is known or nobody knocks. Milliseconds."""
    config = spec.config
    if skew_ms is None or not isinstance(config, ClientWorkerConfig) or config.knock is None:
        return spec
    knock = msgspec.structs.replace(config.knock, skew_ms=skew_ms)
    return replace(spec, config=msgspec.structs.replace(config, knock=knock))
