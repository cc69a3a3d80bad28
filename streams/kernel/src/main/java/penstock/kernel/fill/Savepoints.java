package penstock.kernel.fill;

import java.io.DataInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.core.fs.FSDataOutputStream;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.fs.Path;
import org.apache.flink.runtime.checkpoint.Checkpoints;
import org.apache.flink.runtime.checkpoint.OperatorState;
import org.apache.flink.runtime.checkpoint.StateObjectCollection;
import org.apache.flink.runtime.checkpoint.metadata.CheckpointMetadata;
import org.apache.flink.runtime.jobgraph.OperatorID;
import org.apache.flink.runtime.state.KeyGroupsSavepointStateHandle;
import org.apache.flink.runtime.state.KeyGroupsStateHandle;
import org.apache.flink.runtime.state.KeyedStateHandle;
import org.apache.flink.runtime.state.OperatorStateHandle;
import org.apache.flink.runtime.state.OperatorStreamStateHandle;
import org.apache.flink.runtime.state.StreamStateHandle;
import org.apache.flink.runtime.state.filesystem.AbstractFsCheckpointStorageAccess;
import org.apache.flink.runtime.state.filesystem.FileStateHandle;
import org.apache.flink.runtime.state.filesystem.FsCompletedCheckpointStorageLocation;
import org.apache.flink.runtime.state.filesystem.RelativeFileStateHandle;

/**
 * Reads savepoints, and joins two of them.
 *
 * <p>A savepoint is a file that names, for each operator, the files that have its state. So joining
 * two writes that file only, with the absolute paths of both: it takes no time and no room, and
 * needs both savepoints to stay.
 */
public final class Savepoints {
  private static final String METADATA = AbstractFsCheckpointStorageAccess.METADATA_FILE_NAME;

  /** The operators whose states a fill computes begin with this; see {@code JobGraph}. */
  private static final String STAGE = "stage-";

  private Savepoints() {}

  /** What the savepoint at {@code path} consists of. */
  static CheckpointMetadata read(String path) throws IOException {
    FsCompletedCheckpointStorageLocation place =
        AbstractFsCheckpointStorageAccess.resolveCheckpointPointer(path);
    try (DataInputStream in = new DataInputStream(place.getMetadataHandle().openInputStream())) {
      return Checkpoints.loadCheckpointMetadata(
          in, Savepoints.class.getClassLoader(), place.getExternalPointer());
    }
  }

  /**
   * Writes a savepoint with everything that {@code live} has and, in the stages, also what {@code
   * filled} has. An existing one at {@code target} is replaced, as a killed attempt may have left a
   * part of it.
   */
  public static void join(String live, String filled, String target) throws IOException {
    CheckpointMetadata of = read(live);
    Map<OperatorID, OperatorState> operators = new LinkedHashMap<>();
    for (OperatorState operator : of.getOperatorStates()) {
      operators.put(operator.getOperatorID(), absolute(operator));
    }
    int stages = 0;
    for (OperatorState operator : read(filled).getOperatorStates()) {
      if (operator.getOperatorUid().filter(uid -> uid.startsWith(STAGE)).isPresent()) {
        stages++;
        operators.merge(operator.getOperatorID(), absolute(operator), Savepoints::joined);
      }
    }
    if (stages == 0) {
      throw new IllegalStateException("savepoint " + filled + " has no stage");
    }
    CheckpointMetadata joined =
        new CheckpointMetadata(
            of.getCheckpointId(),
            operators.values(),
            of.getMasterStates(),
            of.getCheckpointProperties());
    Path path = new Path(target, METADATA);
    try (FSDataOutputStream out =
        path.getFileSystem().create(path, FileSystem.WriteMode.OVERWRITE)) {
      Checkpoints.storeCheckpointMetadata(joined, out);
    }
  }

  /**
   * Both states of an operator, as those of different subtasks: a savepoint has one state for each.
   * When a job begins from it, its subtasks take their key groups out of all of them, unless it has
   * just as many subtasks. So their number is one that no job has.
   */
  private static OperatorState joined(OperatorState live, OperatorState filled) {
    int subtasks = live.getMaxParallelism() - 1;
    if (live.getMaxParallelism() != filled.getMaxParallelism()
        || live.getParallelism() + filled.getParallelism() > subtasks) {
      throw new IllegalStateException(
          "%d and %d subtasks, or %d and %d key groups, cannot be joined"
              .formatted(
                  live.getParallelism(),
                  filled.getParallelism(),
                  live.getMaxParallelism(),
                  filled.getMaxParallelism()));
    }
    OperatorState joined = emptyCopy(live, subtasks);
    live.getSubtaskStates().forEach(joined::putState);
    filled
        .getSubtaskStates()
        .forEach((subtask, state) -> joined.putState(live.getParallelism() + subtask, state));
    return joined;
  }

  private static OperatorState emptyCopy(OperatorState of, int subtasks) {
    OperatorState copy =
        new OperatorState(
            of.getOperatorName().orElse(null),
            of.getOperatorUid().orElse(null),
            of.getOperatorID(),
            subtasks,
            of.getMaxParallelism());
    copy.setCoordinatorState(of.getCoordinatorState());
    return copy;
  }

  /** The same state, whose files are named by their absolute paths. */
  private static OperatorState absolute(OperatorState of) {
    if (of.isFullyFinished()) {
      return of;
    }
    OperatorState copy = emptyCopy(of, of.getParallelism());
    of.getSubtaskStates()
        .forEach(
            (subtask, state) ->
                copy.putState(
                    subtask,
                    state.isFinished()
                        ? state
                        : state.toBuilder()
                            .setManagedKeyedState(keyed(state.getManagedKeyedState()))
                            .setRawKeyedState(keyed(state.getRawKeyedState()))
                            .setManagedOperatorState(operator(state.getManagedOperatorState()))
                            .setRawOperatorState(operator(state.getRawOperatorState()))
                            .build()));
    return copy;
  }

  private static StateObjectCollection<KeyedStateHandle> keyed(
      Collection<KeyedStateHandle> handles) {
    List<KeyedStateHandle> found = new ArrayList<>();
    for (KeyedStateHandle handle : handles) {
      if (handle instanceof KeyGroupsSavepointStateHandle of) {
        found.add(
            new KeyGroupsSavepointStateHandle(
                of.getGroupRangeOffsets(), absolute(of.getDelegateStateHandle())));
      } else if (handle.getClass() == KeyGroupsStateHandle.class) {
        KeyGroupsStateHandle of = (KeyGroupsStateHandle) handle;
        found.add(
            new KeyGroupsStateHandle(
                of.getGroupRangeOffsets(), absolute(of.getDelegateStateHandle())));
      } else {
        throw new IllegalStateException("not the state of a savepoint in the canonical format");
      }
    }
    return new StateObjectCollection<>(found);
  }

  private static StateObjectCollection<OperatorStateHandle> operator(
      Collection<OperatorStateHandle> handles) {
    List<OperatorStateHandle> found = new ArrayList<>();
    for (OperatorStateHandle of : handles) {
      found.add(
          new OperatorStreamStateHandle(
              of.getStateNameToPartitionOffsets(), absolute(of.getDelegateStateHandle())));
    }
    return new StateObjectCollection<>(found);
  }

  private static StreamStateHandle absolute(StreamStateHandle handle) {
    return handle instanceof RelativeFileStateHandle file
        ? new FileStateHandle(file.getFilePath(), file.getStateSize())
        : handle;
  }
}
