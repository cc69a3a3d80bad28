package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** The state of one entity in a stage: its views. */
public final class EntityState {
  final StageSpec spec;
  final ViewState[] views;

  EntityState(StageSpec spec, ViewState[] views) {
    this.spec = spec;
    this.views = views;
  }

  EntityState copy() {
    ViewState[] copies = new ViewState[views.length];
    for (int i = 0; i < views.length; i++) {
      copies[i] = views[i].copy();
    }
    return new EntityState(spec, copies);
  }

  void write(DataOutputView out) throws IOException {
    for (ViewState view : views) {
      view.write(out);
    }
  }

  static EntityState read(StageSpec spec, DataInputView in) throws IOException {
    ViewState[] views = new ViewState[spec.views().length];
    for (int i = 0; i < views.length; i++) {
      views[i] = ViewState.read(spec.views()[i], in);
    }
    return new EntityState(spec, views);
  }
}
