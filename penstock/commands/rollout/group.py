"""The group ``penstock rollout``; each command is imported when it is used."""

from __future__ import annotations

from penstock.commands.lazy import Entry, LazyGroup

_LOOKING, _CHANGING = "penstock.commands.rollout.looking", "penstock.commands.rollout.changing"
_TOUCHING = "penstock.commands.rollout.touching"

rollout = LazyGroup(
    "rollout",
    entries={
        "show": Entry(f"{_LOOKING}:show", "Show the policy, and who follows it."),
        "history": Entry(f"{_LOOKING}:history", "Show every change of the policy: by whom, why, on what evidence."),
        "at": Entry(f"{_LOOKING}:at", "Show the policy that was effective at an offset."),
        "diff": Entry(f"{_LOOKING}:diff_command", "Compare a file with the published policy."),
        "apply": Entry(f"{_CHANGING}:apply", "Check, load and publish the policy of a file."),
        "pause": Entry(f"{_CHANGING}:pause", "Keep the policy as it is; the controller only rolls back."),
        "resume": Entry(f"{_CHANGING}:resume", "Let the controller judge a paused rollout again."),
        "promote": Entry(f"{_CHANGING}:promote", "Make a candidate the champion."),
        "rollback": Entry(f"{_CHANGING}:rollback", "Go back to the champion."),
        "touched": Entry(f"{_TOUCHING}:touched", "List the predictions that a bad version made."),
        "rescore": Entry(f"{_TOUCHING}:rescore_command", "Score what `touched` lists again, as corrections."),
        "controller": Entry(
            "penstock.commands.rollout.controller:controller", "Judge rollouts by what happens, as a service."
        ),
    },
    help="""Try versions of a model on live events: in shadow, on a share of the entities, or all at once.

    A policy says which version scores which entity. It is a file, YAML or Python, that `apply` publishes; scorers
    follow it without a restart. Every change has an author and a reason, and stays in the log for ever.
    """,
)
