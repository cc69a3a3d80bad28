package penstock.kernel.stage;

import java.util.ArrayList;
import java.util.List;
import java.util.function.ToLongFunction;
import java.util.stream.Stream;
import org.apache.flink.api.common.state.KeyedStateStore;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.StateBackendLoader;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.operators.KeyedProcessOperator;
import org.apache.flink.util.function.ThrowingRunnable;
import penstock.kernel.event.Event;

/** A keyed function whose states stay objects between snapshots, on every state backend. */
public abstract class WriteBackFunction extends KeyedProcessFunction<String, Event, Event>
    implements CheckpointedFunction {
  private static final long serialVersionUID = 1;

  /** Of the heap, for one state of a task. A TaskManager has some eight tasks with two each. */
  private static final long HEAP_SHARE = 128;

  /** Bounds the pause in which a snapshot begins: all of them may have to be written. */
  private static final long MOST_BYTES = 32 << 20;

  private transient KeyedStateBackend<String> backend;
  private transient List<WriteBackState<?>> states;

  /** The operator of such a function. */
  public KeyedProcessOperator<String, Event, Event> operator() {
    return new WriteBackOperator(this);
  }

  /** Whether the backend keeps states as bytes, and not as objects. */
  boolean keepsBytes(KeyedStateBackend<String> backend) {
    return !backend
        .getBackendTypeIdentifier()
        .equals(StateBackendLoader.HASHMAP_STATE_BACKEND_NAME);
  }

  /**
   * A state that this function reads and changes at every event.
   *
   * @param bytes the size of a value in the backend
   */
  final <T> ValueState<T> state(
      KeyedStateStore store, ValueStateDescriptor<T> descriptor, ToLongFunction<T> bytes) {
    ValueState<T> state = store.getState(descriptor);
    if (!keepsBytes(backend)) {
      return state;
    }
    long capacity = Math.min(MOST_BYTES, Runtime.getRuntime().maxMemory() / HEAP_SHARE);
    WriteBackState<T> written = new WriteBackState<>(state, backend, bytes, capacity);
    states.add(written);
    return written;
  }

  /** Runs {@code action} for each key that has a state of this name, as the current key. */
  final void forEachKey(String stateName, ThrowingRunnable<Exception> action) throws Exception {
    List<String> keys;
    try (Stream<String> found = backend.getKeys(stateName, VoidNamespace.INSTANCE)) {
      keys = found.toList(); // the action may remove the state
    }
    for (String key : keys) {
      backend.setCurrentKey(key);
      action.run();
    }
  }

  @Override
  public void snapshotState(FunctionSnapshotContext context) throws Exception {
    for (WriteBackState<?> state : states) {
      state.writeAll();
    }
  }

  /** Gives its function the backend, to set the current key. */
  private static final class WriteBackOperator extends KeyedProcessOperator<String, Event, Event> {
    private static final long serialVersionUID = 1;

    WriteBackOperator(WriteBackFunction function) {
      super(function);
    }

    @Override
    public void initializeState(StateInitializationContext context) throws Exception {
      WriteBackFunction function = (WriteBackFunction) userFunction;
      function.backend = getKeyedStateBackend();
      function.states = new ArrayList<>();
      super.initializeState(context);
    }
  }
}
