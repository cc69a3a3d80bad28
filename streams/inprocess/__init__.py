"""Features without a cluster: the kernel as a child process, and feature tests that use it."""
