package penstock.kernel.stage;

import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.ToLongFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.runtime.state.KeyedStateBackend;

/**
 * A value state whose recently used values stay objects. They are written when a snapshot begins,
 * or when others take their place. For a backend that keeps states as bytes: to read and write
 * those at every event would cost many times what the event itself costs.
 */
final class WriteBackState<T> implements ValueState<T> {
  /** What a value costs beside its bytes, to hold and to write it. */
  private static final long VALUE_BYTES = 4 << 10;

  private final ValueState<T> written;
  private final KeyedStateBackend<String> backend;
  private final ToLongFunction<T> bytes;
  private final long capacity;

  /** The least recently used first. */
  private final Map<String, Recent<T>> recent = new LinkedHashMap<>(16, 0.75f, true);

  private long held;

  private static final class Recent<T> {
    T value;
    boolean isChanged;
    long bytes;
  }

  /**
   * In front of {@code written}.
   *
   * @param bytes the size of a value; it is asked for when the value is read and when it is written
   * @param capacity how many bytes of values to keep as objects
   */
  WriteBackState(
      ValueState<T> written,
      KeyedStateBackend<String> backend,
      ToLongFunction<T> bytes,
      long capacity) {
    this.written = written;
    this.backend = backend;
    this.bytes = bytes;
    this.capacity = capacity;
  }

  @Override
  public T value() throws IOException {
    return current().value;
  }

  @Override
  public void update(T value) throws IOException {
    Recent<T> current = current();
    current.value = value;
    current.isChanged = true;
  }

  @Override
  public void clear() {
    throw new UnsupportedOperationException("the states of entities expire");
  }

  /**
   * Writes all changed values. Flink snapshots the backend after the functions' {@code
   * snapshotState}, which is where this belongs. Leaves another current key.
   */
  void writeAll() throws IOException {
    for (Map.Entry<String, Recent<T>> entry : recent.entrySet()) {
      write(entry.getKey(), entry.getValue());
    }
    makeRoom();
  }

  private Recent<T> current() throws IOException {
    String key = backend.getCurrentKey();
    Recent<T> found = recent.get(key);
    if (found == null) {
      found = new Recent<>();
      found.value = written.value();
      recent.put(key, found);
      weigh(found);
      if (held > capacity) {
        makeRoom();
        backend.setCurrentKey(key);
      }
    }
    return found;
  }

  /** Drops the values that were not used for longest, except the newest one. */
  private void makeRoom() throws IOException {
    var oldest = recent.entrySet().iterator();
    while (held > capacity && recent.size() > 1) {
      Map.Entry<String, Recent<T>> entry = oldest.next();
      write(entry.getKey(), entry.getValue());
      held -= entry.getValue().bytes;
      oldest.remove();
    }
  }

  private void write(String key, Recent<T> changed) throws IOException {
    if (changed.isChanged) {
      backend.setCurrentKey(key);
      written.update(changed.value);
      changed.isChanged = false;
      weigh(changed);
    }
  }

  private void weigh(Recent<T> one) {
    held -= one.bytes;
    one.bytes = VALUE_BYTES + (one.value == null ? 0 : bytes.applyAsLong(one.value));
    held += one.bytes;
  }
}
