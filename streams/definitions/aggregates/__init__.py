"""The aggregates of the definition language: each is one :class:`~streams.definitions.aggregates.spec.AggregateSpec`.

To add an aggregate, add a spec to a module of this package and a class to the kernel, then run
``python -m streams.definitions.aggregates``: it updates the table in the docs and the imports for type checkers below.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from streams.definitions.aggregates.spec import SPECS

if TYPE_CHECKING:
    from streams.definitions.aggregates.counts import *  # noqa: F403
    from streams.definitions.aggregates.decay import *  # noqa: F403
    from streams.definitions.aggregates.distinct_values import *  # noqa: F403
    from streams.definitions.aggregates.lists import *  # noqa: F403
    from streams.definitions.aggregates.moments import *  # noqa: F403
    from streams.definitions.aggregates.order import *  # noqa: F403
    from streams.definitions.aggregates.ranks import *  # noqa: F403
    from streams.definitions.aggregates.sessions import *  # noqa: F403
else:
    for _module in iter_modules(__path__):  # noqa: F405
        if _module.name != "__main__":
            import_module(f"{__name__}.{_module.name}")
    globals().update({spec.public_name: spec for spec in SPECS.values()})
    __all__ = [spec.public_name for spec in SPECS.values()]
