package penstock.kernel.window;

import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;

/**
 * The state of one entity in a stage: its views. It is either open, as objects that events change,
 * or packed, as the bytes of a snapshot. A million packed states are a million arrays, which cost
 * the garbage collector and the next snapshot little.
 *
 * <p>A snapshot packs what it writes. On the heap another thread does so, which is safe: Flink
 * copies a state of a running snapshot before an event may change it, and both forms are the same
 * state.
 */
public final class EntityState {
  final StageSpec spec;

  /** An array of views, or of bytes. */
  private volatile Object form;

  EntityState(StageSpec spec, ViewState[] views) {
    this.spec = spec;
    this.form = views;
  }

  EntityState(StageSpec spec, byte[] packed) {
    this.spec = spec;
    this.form = packed;
  }

  /** Its views, open. */
  ViewState[] views() {
    Object now = form;
    if (now instanceof byte[] packed) {
      form = now = read(packed);
    }
    return (ViewState[]) now;
  }

  private ViewState[] read(byte[] packed) {
    DataInputDeserializer in = new DataInputDeserializer(packed);
    ViewState[] views = new ViewState[spec.views().length];
    try {
      for (int i = 0; i < views.length; i++) {
        views[i] = ViewState.read(spec.views()[i], in);
      }
    } catch (IOException error) {
      throw new UncheckedIOException("an entity's state cannot be read", error);
    }
    return views;
  }

  /** Its bytes, packed. {@code buffer} is used and may contain anything. */
  byte[] pack(DataOutputSerializer buffer) throws IOException {
    Object now = form;
    if (now instanceof ViewState[] views) {
      buffer.clear();
      for (ViewState view : views) {
        view.write(buffer);
      }
      form = now = buffer.getCopyOfBuffer();
    }
    return (byte[]) now;
  }

  /** Its size while it is packed, else 0. */
  public int packedBytes() {
    return form instanceof byte[] packed ? packed.length : 0;
  }

  EntityState copy() {
    Object now = form;
    if (now instanceof byte[] packed) {
      return new EntityState(spec, packed);
    }
    ViewState[] views = (ViewState[]) now;
    ViewState[] copies = new ViewState[views.length];
    for (int i = 0; i < views.length; i++) {
      copies[i] = views[i].copy();
    }
    return new EntityState(spec, copies);
  }
}
