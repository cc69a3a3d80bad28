package penstock.kernel.plan;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.util.List;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.junit.jupiter.api.Test;

/** Features are read as they were written. */
class FeatureTypeTest {
  private static Object through(String type, Object value) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(16);
    FeatureType.of(type).write(value, out);
    DataInputDeserializer in = new DataInputDeserializer(out.getCopyOfBuffer());
    Object read = FeatureType.of(type).read(in);
    assertEquals(0, in.available());
    return read;
  }

  @Test
  void aListIsReadAsItWasWritten() throws IOException {
    assertEquals(List.of("", "é", "😀"), through("string[]", List.of("", "é", "😀")));
    assertEquals(List.of(1L, -1L), through("long[]", List.of(1L, -1L)));
    assertEquals(List.of(-0.0, 1e300), through("double[]", List.of(-0.0, 1e300)));
    assertEquals(List.of(true, false), through("boolean[]", List.of(true, false)));
  }

  @Test
  void anEmptyListIsNotNull() throws IOException {
    assertEquals(List.of(), through("string[]", List.of()));
    assertEquals(null, through("string[]", null));
    assertEquals(null, through("string", null));
  }
}
