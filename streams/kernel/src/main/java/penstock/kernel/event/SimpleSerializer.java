package penstock.kernel.event;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** What serializers without configuration have in common. */
public abstract class SimpleSerializer<T> extends TypeSerializerSingleton<T> {
  private static final long serialVersionUID = 1;

  /** Whether values never change, so that copies are not needed. */
  private final boolean immutable;

  protected SimpleSerializer(boolean immutable) {
    this.immutable = immutable;
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
}
