"""The kernel as tests drive it."""

from streams.kernel_process import Kernel

__all__ = ["Kernel"]
