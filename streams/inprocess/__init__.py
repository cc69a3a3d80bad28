"""Features without a cluster: the kernel as a child process, and unit tests of features on top of it."""
