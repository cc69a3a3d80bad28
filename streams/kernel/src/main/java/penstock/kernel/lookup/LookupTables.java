package penstock.kernel.lookup;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.metrics.Counter;
import penstock.kernel.Counters;
import penstock.kernel.decode.EventDecoder;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Plan;

/** The rows of all lookups of a plan. */
public final class LookupTables {
  private final List<LookupTable> tables = new ArrayList<>();
  private final List<String> topics;
  private final boolean[] joins;
  private Counter[] misses;

  /** For events with the columns of {@code layout}. */
  public LookupTables(Plan plan, ColumnLayout layout, EventDecoder.DecoderSettings settings) {
    for (int i = 0; i < plan.lookups().size(); i++) {
      tables.add(new LookupTable(plan, i, layout, settings));
    }
    topics = plan.referenceTopics();
    // Records keep what was looked up, so that others can tell what an event was given. Only these
    // sources have records.
    joins = new boolean[plan.sources().size()];
    for (int i = 0; i < joins.length; i++) {
      joins[i] = plan.sources().get(i).triggers();
    }
  }

  /** Shows the number of rows, and counts events without a row, for each lookup. */
  public void measure(Counters counters) {
    misses = new Counter[tables.size()];
    for (int i = 0; i < misses.length; i++) {
      LookupTable table = tables.get(i);
      String name = table.lookup().name();
      misses[i] = counters.counter("lookup", name, "lookup_misses");
      counters.gauge("lookup", name, "lookup_rows", table::rows);
      counters.gauge("lookup", name, "lookup_invalid", table::invalid);
      counters.gauge("lookup", name, "lookup_refused", table::refused);
    }
  }

  /** The topics of reference data. */
  public List<String> topics() {
    return topics;
  }

  /** Takes the next record of topic number {@code topic}. */
  public void apply(int topic, RawRecord record) throws IOException, InterruptedException {
    for (LookupTable table : tables) {
      if (table.lookup().topic().equals(topics.get(topic))) {
        table.apply(record);
      }
    }
  }

  /** Forgets the rows of a topic. */
  public void clear(int topic) {
    for (LookupTable table : tables) {
      if (table.lookup().topic().equals(topics.get(topic))) {
        table.clear();
      }
    }
  }

  /** Gives an event the columns of its rows. */
  public void join(Event event) throws IOException {
    if (!joins[event.source]) {
      return;
    }
    for (int i = 0; i < tables.size(); i++) {
      if (!tables.get(i).join(event) && misses != null) {
        misses[i].inc();
      }
    }
  }

  /** Takes a row out of, or into, the state of a replay. */
  @FunctionalInterface
  public interface RowConsumer {
    void accept(int lookup, String key, byte[] row) throws Exception;
  }

  /** Gives every row. */
  public void snapshot(RowConsumer each) throws Exception {
    for (int i = 0; i < tables.size(); i++) {
      int lookup = i;
      List<String> keys = new ArrayList<>();
      List<byte[]> rows = new ArrayList<>();
      tables
          .get(i)
          .snapshot(
              (key, row) -> {
                keys.add(key);
                rows.add(row);
              });
      for (int j = 0; j < keys.size(); j++) {
        each.accept(lookup, keys.get(j), rows.get(j));
      }
    }
  }

  /** Puts a row back that {@link #snapshot} gave. */
  public void restore(int lookup, String key, byte[] row) throws IOException {
    tables.get(lookup).restore(key, row);
  }
}
