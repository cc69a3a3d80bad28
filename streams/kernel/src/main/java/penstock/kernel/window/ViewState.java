package penstock.kernel.window;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.event.EventPosition;
import penstock.kernel.event.UpdatesSerializer;
import penstock.kernel.plan.Binary;

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

  /** See {@link penstock.kernel.event.ViewValues#updates}. */
  List<EventPosition> updates = new ArrayList<>();

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

  /** The same state under the specification of another plan. */
  ViewState under(ViewSpec other) {
    ViewState state = new ViewState(other, windows, epoch, seq, asOf);
    state.updates = updates;
    return state;
  }

  ViewState copy() {
    Tiles[] copies = new Tiles[windows.length];
    for (int i = 0; i < windows.length; i++) {
      copies[i] = windows[i].copy();
    }
    ViewState copy = new ViewState(spec, copies, epoch, seq, asOf);
    copy.updates = updates == null ? null : new ArrayList<>(updates);
    return copy;
  }

  void write(DataOutputView out) throws IOException {
    out.writeLong(epoch);
    Binary.writePositive(seq, out);
    out.writeLong(asOf);
    if (spec.hasUpdates) {
      UpdatesSerializer.write(updates, out);
    }
    for (Tiles tiles : windows) {
      tiles.write(out);
    }
  }

  static ViewState read(ViewSpec spec, DataInputView in) throws IOException {
    long epoch = in.readLong();
    long seq = Binary.readPositive(in);
    long asOf = in.readLong();
    List<EventPosition> updates =
        spec.hasUpdates ? UpdatesSerializer.read(in) : new ArrayList<>();
    Tiles[] windows = new Tiles[spec.windows.length];
    for (int i = 0; i < windows.length; i++) {
      windows[i] = Tiles.read(spec.windows[i], in);
    }
    ViewState state = new ViewState(spec, windows, epoch, seq, asOf);
    state.updates = updates;
    return state;
  }
}
