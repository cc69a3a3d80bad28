"""Publishes policies whose versions are loaded: no scorer can take up a policy with a version that is not."""

from __future__ import annotations

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from scoring.repository import ModelRepository
from scoring.rollout.policy_log import PolicyChange
from scoring.rollout.policy_store import Decide, change_policy, read_followed, read_policy
from scoring.servers.protocol import ModelServer, ModelServerUnavailable
from scoring.version_loading import load_versions
from streams.definitions.pipeline import Pipeline

_ATTEMPTS = 3


class _NotLoadedError(Exception):
    """What was decided, or what is followed meanwhile, needs versions that are not loaded."""


class Publication:
    """Changes the policy of a pipeline, and what is served of its model.

    Args:
        kafka: How to reach Kafka.
        pipeline: The pipeline.
        repository: Has the versions.
        server: Serves them.
        repairs: Whether a record that is no policy is replaced, as in :func:`change_policy`.
    """

    def __init__(
        self,
        kafka: KafkaAccess,
        pipeline: Pipeline,
        repository: ModelRepository,
        server: ModelServer,
        *,
        repairs: bool = False,
    ) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._repository = repository
        self._server = server
        self._repairs = repairs
        self._model = pipeline.model.name

    def load_and_publish(self, decide: Decide) -> PolicyChange | None:
        """Load the versions of the policy that ``decide`` chooses, then publish it; returns the change.

        The versions of the policy that is followed until then stay loaded: scorers take up the new one a little later.

        Raises:
            PenstockError: if a version cannot be loaded, ``decide`` raises it, or the policy cannot be changed.
        """
        for _ in range(_ATTEMPTS):
            read = read_followed if self._repairs else read_policy
            present = read(self._kafka, self._pipeline)
            wanted = decide(present)
            if wanted is None:
                self._load_lost(present)
                return None
            loaded = _versions(wanted) | _versions(present)
            self._check_followed(_versions(present) - _versions(wanted))
            champion = wanted.policy.policy.champion.version
            load_versions(self._repository, self._server, self._model, champion, loaded)
            try:
                return self._change(_among(loaded, decide, and_present=True))
            except _NotLoadedError:
                continue  # another policy was published meanwhile: its versions must be loaded, too
        raise PenstockError(
            "others publish policies at the same time",
            where=f"{self._pipeline.rollout_topic} at {self._kafka}",
            safe="this policy was not published",
            next="penstock rollout history PIPELINE",
        )

    def _load_lost(self, present: PolicyChange | None) -> None:
        """Load the versions of the policy that is followed if the server has lost one.

        A server that cannot be asked has nothing to be loaded now: the same file can be applied again later.
        """
        if present is None:
            return
        try:
            ready = {state.version for state in self._server.versions(self._model) if state.state == "READY"}
        except ModelServerUnavailable:
            return
        needed = _versions(present)
        if needed - ready:
            champion = present.policy.policy.champion.version
            load_versions(self._repository, self._server, self._model, champion, needed)

    def _check_followed(self, versions: set[int]) -> None:
        """Check versions that only the policy has that is followed until then."""
        for version in sorted(versions):
            try:
                self._repository.verified(self._model, version)
            except PenstockError as error:
                raise PenstockError(
                    f"version {version} of the policy that is followed now cannot be loaded: {error.what}",
                    where=error.where,
                    safe="this policy was not published",
                    next="put the version back, or: penstock rollout rollback PIPELINE --reason TEXT, and try again",
                ) from error

    def publish(self, decide: Decide) -> PolicyChange | None:
        """Publish a policy at once if its versions are loaded as configured, else as :meth:`load_and_publish`.

        So a rollback does not wait for the model server, and needs none.

        Raises:
            PenstockError: as :meth:`load_and_publish`.
        """
        serving = self._repository.serving_config(self._model)
        loaded = set() if serving is None else {*serving.versions}
        try:
            return self._change(_among(loaded, decide))
        except _NotLoadedError:
            return self.load_and_publish(decide)

    def _change(self, decide: Decide) -> PolicyChange | None:
        return change_policy(self._kafka, self._pipeline, decide, repairs=self._repairs)

    def make_current(self, champion: int) -> None:
        """Make the champion of a published policy the current version of the repository, if it is not.

        All versions that are loaded for rollouts stay.

        Raises:
            PenstockError: if it cannot be loaded.
        """
        serving = self._repository.serving_config(self._model)
        if serving is None or serving.version != champion:
            stay = () if serving is None else serving.rollout
            load_versions(self._repository, self._server, self._model, champion, stay)


def _among(loaded: set[int], decide: Decide, *, and_present: bool = False) -> Decide:
    """The same decision, if all its versions are loaded, and those of the policy that is followed until then."""

    def decided(present: PolicyChange | None) -> PolicyChange | None:
        change = decide(present)
        needed = _versions(change) | (_versions(present) if and_present else set())
        if change is not None and not needed <= loaded:
            raise _NotLoadedError
        return change

    return decided


def _versions(change: PolicyChange | None) -> set[int]:
    return set() if change is None else {*change.policy.policy.versions}
