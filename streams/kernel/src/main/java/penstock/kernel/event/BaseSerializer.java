package penstock.kernel.event;

import java.io.IOException;
import java.util.List;
import java.util.Objects;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Base of the kernel's serializers. Values have no fixed length. Serializers are equal if they have
 * the same class and configuration.
 */
public abstract class BaseSerializer<T> extends TypeSerializer<T> {
  private static final long serialVersionUID = 1;

  private final boolean immutable;
  private final List<?> configuration;

  /** Values that are not {@code immutable} need their own {@link #copy(Object)}. */
  protected BaseSerializer(boolean immutable, Object... configuration) {
    this.immutable = immutable;
    this.configuration = List.of(configuration);
  }

  final List<?> configuration() {
    return configuration;
  }

  @Override
  public final boolean isImmutableType() {
    return immutable;
  }

  @Override
  public T createInstance() {
    return null;
  }

  @Override
  public T copy(T from) {
    return from;
  }

  @Override
  public final T copy(T from, T reuse) {
    return copy(from);
  }

  @Override
  public final void copy(DataInputView in, DataOutputView out) throws IOException {
    serialize(deserialize(in), out);
  }

  @Override
  public final T deserialize(T reuse, DataInputView in) throws IOException {
    return deserialize(in);
  }

  @Override
  public final int getLength() {
    return -1;
  }

  /** Serializers with buffers override this. */
  @Override
  public TypeSerializer<T> duplicate() {
    return this;
  }

  @Override
  public final boolean equals(Object other) {
    return other instanceof BaseSerializer<?> that
        && that.getClass() == getClass()
        && that.configuration.equals(configuration);
  }

  @Override
  public final int hashCode() {
    return Objects.hash(getClass(), configuration);
  }

  /** Serializers of state override this. */
  @Override
  public TypeSerializerSnapshot<T> snapshotConfiguration() {
    throw new UnsupportedOperationException(getClass().getSimpleName() + " does not write state");
  }
}
