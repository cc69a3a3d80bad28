"""The changes of policy that a person can ask for: from the present one to the next. Pure.

Each function returns the change to publish, or None if what is asked for holds already. Changes follow each other by
their hashes, so the result is for the present change alone (:func:`scoring.rollout.policy_store.change_policy`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from penstock.errors import PenstockError
from scoring.rollout.policy import Arm, PublishedPolicy, RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange, Status

_SAFE = "the policy is as it was"
_SHOW = "penstock rollout show PIPELINE"


class By(NamedTuple):
    """Who asks for a change, why, and when (epoch ms)."""

    author: str
    reason: str
    time_ms: int


Decision = Literal["next_step", "rolled_back", "paused", "promoted"]
"""What a change decides about what is being tried."""


def decision_between(before: PolicyChange, after: PolicyChange) -> Decision:
    """What the controller has decided by following one change with another."""
    if after.status == "paused":
        return "paused"
    if after.status == "running":
        return "next_step"
    same = after.policy.policy.champion.version == before.policy.policy.champion.version
    return "rolled_back" if same else "promoted"


def begun(policy: RolloutPolicy, present: PolicyChange | None, by: By) -> PolicyChange | None:
    """The policy of a file, at its beginning; None if it is the one that is followed, however far it has come."""
    if present is not None and present.policy.policy.hash == policy.hash:
        return None
    published = publish(policy, None if present is None else present.policy)
    tries_something = bool(policy.candidates or policy.shadow)
    return _change(published, present, by, "running" if tries_something else "ended")


def check_champion(policy: RolloutPolicy, present: PolicyChange | None, current: int | None) -> None:
    """Check that a file's champion is the version that serves now: it is what entities get without being judged.

    Args:
        policy: The policy, as its file declares it.
        present: The present change.
        current: The version that serves if there is no policy yet; None if none does.

    Raises:
        PenstockError: if it is another version.
    """
    serving = current if present is None else present.policy.policy.champion.version
    if serving is not None and policy.champion.version != serving:
        raise PenstockError(
            f"the champion of the file is version {policy.champion.version}, and version {serving} is the one now: its "
            "entities would change at once, without being judged",
            safe=_SAFE,
            next=f"name version {serving} as the champion and {policy.champion.version} as a candidate; or, to change "
            "the champion all the same: penstock rollout apply PIPELINE -f FILE --reason TEXT --switch",
        )


def paused(present: PolicyChange | None, by: By) -> PolicyChange | None:
    """The same policy, which the controller only still rolls back until somebody decides.

    Raises:
        PenstockError: if nothing is being tried.
    """
    return _with_status(_tried(present), by, "paused")


def held_back(present: PolicyChange, promotion: PolicyChange, why: str) -> PolicyChange:
    """In the place of a promotion that is due but impossible: a pause, with its evidence, which says why."""
    reason = f"paused instead of promoted: {why}; it was to be {promotion.reason}"
    change = _change(present.policy, present, By(promotion.author, reason, promotion.time_ms), "paused", present.step)
    return PolicyChange(**(dict(change) | {"evidence": promotion.evidence}))


def resumed(present: PolicyChange | None, by: By) -> PolicyChange | None:
    """The same policy, which the controller judges again.

    Raises:
        PenstockError: if nothing is being tried.
    """
    return _with_status(_tried(present), by, "running")


def published_again(present: PolicyChange, by: By) -> PolicyChange:
    """The same policy once more, at its step and with its status."""
    return _change(present.policy, present, by, present.status, present.step)


def promoted(present: PolicyChange | None, by: By, arm: str | None = None) -> PolicyChange:
    """A candidate as the champion, for all entities; by default the only candidate.

    Raises:
        PenstockError: if there is no such candidate, or several and none is named.
    """
    tried = _tried(present)
    candidates = {each.name: each for each in tried.policy.policy.candidates}
    if arm is None and len(candidates) == 1:
        (arm,) = candidates
    if arm not in candidates:
        there_are = ", ".join(candidates) or "none: versions in shadow are no candidates"
        raise PenstockError(
            "which candidate shall be promoted?" if arm is None else f"{arm} is no candidate",
            where=f"the candidates are {there_are}",
            safe=_SAFE,
            next="penstock rollout promote PIPELINE --reason TEXT --arm NAME"
            if candidates
            else "penstock rollout apply PIPELINE -f FILE --reason TEXT, with the version as a candidate",
        )
    return _alone(tried, candidates[arm], by)


def rolled_back(present: PolicyChange | None, by: By, changes: Iterable[PolicyChange]) -> PolicyChange | None:
    """The champion of the rollout that was tried last, for all entities; None if it scores all already.

    So it ends what is being tried, it takes back a promotion, and a second time it changes nothing.

    Args:
        present: The present change.
        by: Who asks for it.
        changes: All changes up to the present one, the oldest first; read only if nothing is being tried.

    Raises:
        PenstockError: if no policy was published, or nothing was ever tried.
    """
    published = _published(present)
    tried = published if published.status != "ended" else _tried_last(changes)
    if tried is None:
        raise PenstockError(
            "nothing was ever tried, so there is nothing to go back to",
            safe=_SAFE,
            next="for another version: penstock rollout apply PIPELINE -f FILE --reason TEXT",
        )
    champion = tried.policy.policy.champion
    if published.status == "ended" and published.policy.policy.champion.version == champion.version:
        return None
    return _alone(published, champion, by)


def end_of(policy: RolloutPolicy, changes: Iterable[PolicyChange]) -> PolicyChange | None:
    """The change that ended the rollout of a policy, if that was the last one that was tried.

    Args:
        policy: The policy, as its file declares it.
        changes: All changes, the oldest first.
    """
    tried, end = None, None
    for change in changes:
        if change.status != "ended":
            tried, end = change, None
        elif end is None:
            end = change
    return end if tried is not None and tried.policy.policy.hash == policy.hash else None


def _tried_last(changes: Iterable[PolicyChange]) -> PolicyChange | None:
    tried = None
    for change in changes:
        if change.status != "ended":
            tried = change
    return tried


def _published(present: PolicyChange | None) -> PolicyChange:
    if present is None:
        raise PenstockError(
            "no policy was published",
            safe="nothing was changed",
            next="penstock rollout apply PIPELINE -f FILE --reason TEXT",
        )
    return present


def _tried(present: PolicyChange | None) -> PolicyChange:
    published = _published(present)
    if published.status == "ended":
        raise PenstockError(
            "nothing is being tried: "
            f"version {published.policy.policy.champion.version} scores all, since {published.reason!r}",
            safe=_SAFE,
            next=_SHOW,
        )
    return published


def _with_status(present: PolicyChange, by: By, status: Status) -> PolicyChange | None:
    if present.status == status:
        return None
    return _change(present.policy, present, by, status, present.step)


def _alone(present: PolicyChange, arm: Arm, by: By) -> PolicyChange:
    """All entities to one version, under the same salt and with the same exploration."""
    before = present.policy.policy
    champion = Arm(name=arm.name, version=arm.version, role="champion")
    policy = RolloutPolicy(
        pipeline=before.pipeline,
        mode="shadow",
        salt=before.salt,
        arms=(champion,),
        exploration=before.exploration,
    )
    return _change(publish(policy, present.policy), present, by, "ended")


def _change(
    published: PublishedPolicy, present: PolicyChange | None, by: By, status: Status, step: int = 0
) -> PolicyChange:
    return PolicyChange(
        policy=published,
        author=by.author,
        reason=by.reason,
        previous=None if present is None else present.policy.hash,
        time_ms=by.time_ms,
        step=step,
        status=status,
    )
