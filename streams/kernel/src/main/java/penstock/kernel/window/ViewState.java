package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** What a view knows of one entity. */
final class ViewState {
  final ViewSpec spec;
  final Tiles[] windows;
  long seq;

  ViewState(ViewSpec spec) {
    this.spec = spec;
    this.windows = new Tiles[spec.windows.length];
    for (int i = 0; i < windows.length; i++) {
      windows[i] = new Tiles(spec.windows[i]);
    }
  }

  private ViewState(ViewSpec spec, Tiles[] windows, long seq) {
    this.spec = spec;
    this.windows = windows;
    this.seq = seq;
  }

  ViewState copy() {
    Tiles[] copies = new Tiles[windows.length];
    for (int i = 0; i < windows.length; i++) {
      copies[i] = windows[i].copy();
    }
    return new ViewState(spec, copies, seq);
  }

  void write(DataOutputView out) throws IOException {
    out.writeLong(seq);
    for (Tiles tiles : windows) {
      tiles.write(out);
    }
  }

  static ViewState read(ViewSpec spec, DataInputView in) throws IOException {
    long seq = in.readLong();
    Tiles[] windows = new Tiles[spec.windows.length];
    for (int i = 0; i < windows.length; i++) {
      windows[i] = Tiles.read(spec.windows[i], in);
    }
    return new ViewState(spec, windows, seq);
  }
}
