package penstock.kernel.stage;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.io.IOException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.junit.jupiter.api.Test;

/** When values in front of a backend of bytes are read, written and dropped. */
class WriteBackStateTest {
  private static final long ROOM_FOR_TWO = 2 * (4 << 10) + 20;

  private String key;
  private final Map<String, String> backend = new HashMap<>();
  private final List<String> read = new ArrayList<>();
  private final List<String> written = new ArrayList<>();
  private final WriteBackState<StringBuilder> state =
      new WriteBackState<>(new Written(), keys(), StringBuilder::length, ROOM_FOR_TWO);

  /** The backend's state: it keeps copies. */
  private final class Written implements ValueState<StringBuilder> {
    @Override
    public StringBuilder value() {
      read.add(key);
      String value = backend.get(key);
      return value == null ? null : new StringBuilder(value);
    }

    @Override
    public void update(StringBuilder value) {
      written.add(key);
      backend.put(key, value.toString());
    }

    @Override
    public void clear() {
      throw new AssertionError();
    }
  }

  @SuppressWarnings("unchecked")
  private KeyedStateBackend<String> keys() {
    return (KeyedStateBackend<String>)
        Proxy.newProxyInstance(
            getClass().getClassLoader(),
            new Class<?>[] {KeyedStateBackend.class},
            (proxy, method, arguments) -> {
              if (method.getName().equals("setCurrentKey")) {
                key = (String) arguments[0];
                return null;
              }
              assertEquals("getCurrentKey", method.getName());
              return key;
            });
  }

  private String append(String to, String text) throws IOException {
    key = to;
    StringBuilder value = state.value();
    value = value == null ? new StringBuilder() : value;
    value.append(text);
    state.update(value);
    assertEquals(to, key, "the current key is as before");
    return value.toString();
  }

  @Test
  void aValueIsReadOnceAndWrittenWhenASnapshotBegins() throws IOException {
    backend.put("a", "1");
    append("a", "2");
    assertEquals("123", append("a", "3"));
    assertEquals(Map.of("a", "1"), backend);
    state.writeAll();
    assertEquals(Map.of("a", "123"), backend);
    assertEquals(List.of("a"), read);
    assertEquals(List.of("a"), written);
  }

  @Test
  void theNextSnapshotWritesOnlyWhatChangedSince() throws IOException {
    append("a", "1");
    append("b", "1");
    state.writeAll();
    written.clear();
    append("b", "2");
    state.writeAll();
    state.writeAll();
    assertEquals(List.of("b"), written);
    assertEquals(Map.of("a", "1", "b", "12"), backend);
  }

  @Test
  void theValueThatWasNotUsedForLongestIsWrittenAndDroppedForAnother() throws IOException {
    append("a", "1");
    append("b", "1");
    append("a", "2");
    append("c", "1");
    assertEquals(List.of("b"), written);
    assertEquals("12", append("b", "2"));
    assertEquals(List.of("a", "b", "c", "b"), read);
  }

  @Test
  void aValueThatDidNotChangeIsDroppedWithoutWritingIt() throws IOException {
    for (String each : List.of("a", "b", "c")) {
      key = each;
      assertNull(state.value());
    }
    state.writeAll();
    assertEquals(List.of(), written);
  }

  @Test
  void aValueThatHasGrownTakesTheRoomOfOthersFromTheNextSnapshotOn() throws IOException {
    append("a", "1");
    append("b", "1".repeat(30));
    assertEquals(List.of(), written);
    state.writeAll();
    read.clear();
    append("b", "2");
    append("a", "2");
    assertEquals(List.of("a"), read);
    assertEquals("12", append("a", "").toString());
  }
}
