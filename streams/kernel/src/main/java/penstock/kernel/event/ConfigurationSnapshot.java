package penstock.kernel.event;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import penstock.kernel.plan.Binary;

/**
 * A serializer's entry in a savepoint: the version of its format, and its configuration as strings.
 * With it, a job with another plan can read the state, unless values that it would keep have
 * another type there: Flink then refuses to restore.
 */
public abstract class ConfigurationSnapshot<T, S extends BaseSerializer<T>>
    implements TypeSerializerSnapshot<T> {
  private static final Logger LOG = LoggerFactory.getLogger(ConfigurationSnapshot.class);

  private final String contents;
  private final int format;
  private S serializer;

  /** With null, {@link #readSnapshot} sets the serializer. */
  protected ConfigurationSnapshot(String contents, int format, S serializer) {
    this.contents = contents;
    this.format = format;
    this.serializer = serializer;
  }

  /** Reads the configuration's strings, in their order. */
  protected abstract S readSerializer(DataInputView in) throws IOException;

  /** Whether each serializer can read what the other one writes. */
  protected abstract boolean haveSameLayout(S one, S other);

  /** Whether what the job keeps of the old state has the types that it expects. */
  protected abstract boolean keepsTypes(S old, S current);

  @Override
  public final int getCurrentVersion() {
    return format;
  }

  @Override
  public final void writeSnapshot(DataOutputView out) throws IOException {
    for (Object text : serializer.configuration()) {
      Binary.writeString((String) text, out);
    }
  }

  @Override
  public final void readSnapshot(int version, DataInputView in, ClassLoader loader)
      throws IOException {
    if (version != format) {
      throw new IOException(
          "the savepoint has %s of format %d, this release reads format %d: resume with the release that wrote the savepoint, or start the job without a savepoint"
              .formatted(contents, version, format));
    }
    serializer = readSerializer(in);
  }

  @Override
  public final TypeSerializer<T> restoreSerializer() {
    return serializer.duplicate();
  }

  @Override
  @SuppressWarnings("unchecked")
  public final TypeSerializerSchemaCompatibility<T> resolveSchemaCompatibility(
      TypeSerializerSnapshot<T> old) {
    S written = ((ConfigurationSnapshot<T, S>) old).serializer;
    if (!keepsTypes(written, serializer)) {
      // Flink's own error names only classes.
      LOG.error(
          "{} of other types cannot be restored. Written: {}. Now: {}. Resume with the definitions that wrote them, or start the job without a savepoint",
          contents,
          written,
          serializer);
      return TypeSerializerSchemaCompatibility.incompatible();
    }
    return haveSameLayout(serializer, written)
        ? TypeSerializerSchemaCompatibility.compatibleAsIs()
        : TypeSerializerSchemaCompatibility.compatibleAfterMigration();
  }
}
