package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** What a stage knows of one entity: how far its time has come, and its views. */
public final class EntityState {
  final StageSpec spec;
  final ViewState[] views;
  long asOf = Long.MIN_VALUE;

  EntityState(StageSpec spec, ViewState[] views) {
    this.spec = spec;
    this.views = views;
  }

  /** A deep copy. */
  EntityState copy() {
    ViewState[] copies = new ViewState[views.length];
    for (int i = 0; i < views.length; i++) {
      copies[i] = views[i].copy();
    }
    EntityState copy = new EntityState(spec, copies);
    copy.asOf = asOf;
    return copy;
  }

  void write(DataOutputView out) throws IOException {
    out.writeLong(asOf);
    for (ViewState view : views) {
      view.write(out);
    }
  }

  static EntityState read(StageSpec spec, DataInputView in) throws IOException {
    long asOf = in.readLong();
    ViewState[] views = new ViewState[spec.views().length];
    for (int i = 0; i < views.length; i++) {
      views[i] = ViewState.read(spec.views()[i], in);
    }
    EntityState state = new EntityState(spec, views);
    state.asOf = asOf;
    return state;
  }
}
