"""A pipeline as one thing: its parts, the supervisor that runs them, and what a screen shows of it.

The parts are ``penstock`` commands in processes of their own; nothing here does their work, and all that is measured is
read from Kafka, Flink and their metrics pages. So a pipeline that was started otherwise is shown just as well.
"""

import os

# A supervisor asks Triton by gRPC, and starts processes. With gRPC's handlers of forks, some of them ended before they
# had begun ("Check failed: next_worker->state == KICKED"). gRPC reads this once, when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
