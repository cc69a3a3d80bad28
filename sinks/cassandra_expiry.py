"""The last moment at which a row can expire in Cassandra; it refuses every insert of one that would live longer.

Until 2038, unless all nodes run Cassandra 5 with ``storage_compatibility_mode: NONE``
(https://github.com/apache/cassandra/blob/cassandra-5.0/CASSANDRA-14092.txt). Pure: the clock is an argument.
"""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.time import readable

_DAY_S = 86_400
# 2038-01-19T03:14:06 and 2106-02-07T06:28:13, in UTC.
_LAST_S, _LAST_WITHOUT_COMPATIBILITY_S = 2**31 - 2, 2**32 - 3


def last_expiry_s(compatibility: str | None) -> int:
    """The last second at which a row can expire, by the setting; None if Cassandra has none or does not tell it."""
    return _LAST_WITHOUT_COMPATIBILITY_S if compatibility == "NONE" else _LAST_S


def check_expiry(ttl_s: int, last_s: int, now_s: int, table: str, remedy: str) -> None:
    """Check that a row that is written now can expire in time.

    Args:
        ttl_s: The rows' time to live.
        last_s: The last second at which a row can expire.
        now_s: Now, in epoch seconds.
        table: The table, for the error.
        remedy: The command that sets another time to live, with the fields ``seconds`` and ``days``.

    Raises:
        PenstockError: if it cannot; names the longest time to live of today.
    """
    if now_s + ttl_s <= last_s:
        return
    days = (last_s - now_s) // _DAY_S
    # Each day it is a day less, so a year is left for the sink to run.
    lasting = max(1, days - 365)
    raise PenstockError(
        f"rows that live for {ttl_s / _DAY_S:,.0f} days would expire at {readable((now_s + ttl_s) * 1000, 'minutes')}: "
        f"this Cassandra takes none that expire after {readable(last_s * 1000, 'minutes')}, today {days:,} days",
        where=table,
        safe="nothing was written",
        next=remedy.format(seconds=lasting * _DAY_S, days=lasting)
        + "; if all nodes run Cassandra 5 with storage_compatibility_mode: NONE, rows can live until 2106: "
        "let this user SELECT from system_views.settings",
    )
