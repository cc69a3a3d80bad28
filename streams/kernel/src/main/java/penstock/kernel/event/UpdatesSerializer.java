package penstock.kernel.event;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import penstock.kernel.plan.Binary;

/** Positions of updating events, in state and between operators; null if there were too many. */
public final class UpdatesSerializer {
  private UpdatesSerializer() {}

  /** Writes positions. */
  public static void write(List<EventPosition> updates, DataOutputView out) throws IOException {
    Binary.writeSize(updates == null ? -1 : updates.size(), out);
    for (EventPosition update : updates == null ? List.<EventPosition>of() : updates) {
      out.writeByte(update.source());
      Binary.writeSize(update.partition(), out);
      out.writeLong(update.offset());
    }
  }

  /** Reads what {@link #write} wrote, as a list that may grow. */
  public static List<EventPosition> read(DataInputView in) throws IOException {
    int size = Binary.readSize(in);
    if (size < 0) {
      return null;
    }
    List<EventPosition> updates = new ArrayList<>(size);
    for (int i = 0; i < size; i++) {
      updates.add(new EventPosition(in.readByte(), Binary.readSize(in), in.readLong()));
    }
    return updates;
  }
}
