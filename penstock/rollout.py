"""Rollout policies, for whoever writes them in Python.

::

    from penstock.rollout import Arm, RolloutPolicy

    policy = RolloutPolicy(
        pipeline="fraud",
        mode="canary",
        salt="fraud/deeper-trees",
        arms=(Arm(name="present", version=3, role="champion"), Arm(name="deeper", version=4)),
    )

``penstock rollout apply PIPELINE -f FILE`` publishes the policy of a file. How a pipeline's rollouts are judged is part
of its definition: :class:`penstock.Rollout`.
"""

from __future__ import annotations

from scoring.rollout.policy import Arm, Exploration, RolloutPolicy
from streams.definitions.rollout import Step

__all__ = ["Arm", "Exploration", "RolloutPolicy", "Step"]
