"""The kernel's process: where it finds Flink."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.inprocess import kernel as kernel_module
from streams.inprocess.kernel import Kernel
from tests.sinks.payments import PLAN


def test_an_image_without_flinks_python_package_has_flink_beside_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flink.jar").symlink_to(kernel_module._flink())
    monkeypatch.setattr(kernel_module, "_FLINK", tmp_path)
    monkeypatch.setattr(kernel_module, "site_packages", lambda _: None)
    with Kernel() as kernel:
        assert kernel.features(PLAN.model_dump(mode="json"), []) == []
