"""Puts the window kernel into the wheel. Maven has built it before: `make wheel` does both."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "PENSTOCK_WHEEL_KERNEL"
_BUILT = "build/jars/kernel/penstock-kernel.jar"
_IN_WHEEL = "streams/inprocess/penstock-kernel.jar"


class KernelHook(BuildHookInterface):
    """Adds the kernel's jar to a wheel. An editable install has it in the checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the jar, or end the build with what to do."""
        if version == "editable" or os.environ.get(VARIABLE) == "none":
            return
        jar = Path(self.root) / _BUILT
        if not jar.is_file():
            sys.exit(
                f"the kernel is not built: {jar} is missing\n"
                f"  next: make wheel, in a checkout; for a wheel without the kernel: {VARIABLE}=none"
            )
        build_data["force_include"][str(jar)] = _IN_WHEEL
