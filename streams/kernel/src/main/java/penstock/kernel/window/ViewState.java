package penstock.kernel.window;

import java.io.IOException;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * The state of a view for one entity: its windows, its number of events, and the time as of which
 * it was computed. Its epoch tells when it started.
 */
final class ViewState {
  final ViewSpec spec;
  final Tiles[] windows;
  long epoch;
  long seq;
  long asOf = Long.MIN_VALUE;

  ViewState(ViewSpec spec) {
    this.spec = spec;
    this.windows = new Tiles[spec.windows.length];
    for (int i = 0; i < windows.length; i++) {
      windows[i] = new Tiles(spec.windows[i]);
    }
  }

  private ViewState(ViewSpec spec, Tiles[] windows, long epoch, long seq, long asOf) {
    this.spec = spec;
    this.windows = windows;
    this.epoch = epoch;
    this.seq = seq;
    this.asOf = asOf;
  }

  ViewState copy() {
    Tiles[] copies = new Tiles[windows.length];
    for (int i = 0; i < windows.length; i++) {
      copies[i] = windows[i].copy();
    }
    return new ViewState(spec, copies, epoch, seq, asOf);
  }

  void write(DataOutputView out) throws IOException {
    out.writeLong(epoch);
    out.writeLong(seq);
    out.writeLong(asOf);
    for (Tiles tiles : windows) {
      tiles.write(out);
    }
  }

  static ViewState read(ViewSpec spec, DataInputView in) throws IOException {
    long epoch = in.readLong();
    long seq = in.readLong();
    long asOf = in.readLong();
    Tiles[] windows = new Tiles[spec.windows.length];
    for (int i = 0; i < windows.length; i++) {
      windows[i] = Tiles.read(spec.windows[i], in);
    }
    return new ViewState(spec, windows, epoch, seq, asOf);
  }
}
