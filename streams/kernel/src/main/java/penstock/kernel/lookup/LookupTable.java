package penstock.kernel.lookup;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BiConsumer;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import penstock.kernel.decode.EventDecoder;
import penstock.kernel.decode.InvalidEventException;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.EntityKey;
import penstock.kernel.event.Event;
import penstock.kernel.plan.Binary;
import penstock.kernel.plan.ColumnType;
import penstock.kernel.plan.Plan;

/**
 * The rows of one lookup. A record replaces the row of its key, and the row that an earlier record
 * of its Kafka key gave; a tombstone deletes the row that the newest record of its Kafka key gave.
 * The tests compare it with {@code streams/oracle/lookups.py}.
 *
 * <p>One thread applies records, another may join events meanwhile.
 */
public final class LookupTable {
  private static final Logger LOG = LoggerFactory.getLogger(LookupTable.class);
  private static final String NO_TEXT = "\uffff";

  private final Plan.Lookup lookup;
  private final EventDecoder decoder;
  private final boolean hashesKey;
  private final EntityKey key;
  private final EntityKey on;
  private final ColumnType[] types;
  private final int[] fields;
  private final int[] columns;

  /** By key. The values of a row are bytes, which take a third of the memory of objects. */
  private final Map<String, Row> rows = new ConcurrentHashMap<>();

  /** The key of the row that a Kafka key gave, where the two differ. */
  private final Map<String, String> keys = new ConcurrentHashMap<>();

  private final AtomicLong invalid = new AtomicLong();
  private final AtomicLong refused = new AtomicLong();

  /**
   * {@code owner} is the Kafka key that gave it; null if that is the row's key. {@code partition}
   * and {@code timestamp} are those of its record.
   */
  private record Row(String owner, byte[] values, int partition, long timestamp) {}

  /** Lookup {@code number} of the plan, for events with the columns of {@code layout}. */
  LookupTable(Plan plan, int number, ColumnLayout layout, EventDecoder.DecoderSettings settings) {
    this.lookup = plan.lookups().get(number);
    this.decoder = EventDecoder.ofLookup(plan, number, settings);
    List<String> names = lookup.fields().stream().map(Plan.Field::name).toList();
    this.key = EntityKey.at(lookup.key().stream().mapToInt(names::indexOf).toArray());
    this.on = EntityKey.at(lookup.on().stream().mapToInt(layout::indexOf).toArray());
    this.hashesKey =
        lookup.fields().stream()
            .anyMatch(field -> lookup.key().contains(field.name()) && "hash".equals(field.pii()));
    // Columns that nothing reads are not kept.
    List<List<String>> kept =
        lookup.columns().stream().filter(pair -> layout.indexOf(pair.get(1)) >= 0).toList();
    this.fields = kept.stream().mapToInt(pair -> names.indexOf(pair.get(0))).toArray();
    this.columns = kept.stream().mapToInt(pair -> layout.indexOf(pair.get(1))).toArray();
    this.types = new ColumnType[fields.length];
    for (int i = 0; i < types.length; i++) {
      types[i] = lookup.fields().get(fields[i]).type().element();
    }
  }

  Plan.Lookup lookup() {
    return lookup;
  }

  /** The number of rows. */
  long rows() {
    return rows.size();
  }

  /** How many records were invalid. */
  long invalid() {
    return invalid.get();
  }

  /** How many records were not taken, because they were of a new key and there is no room. */
  long refused() {
    return refused.get();
  }

  /**
   * Takes the next record. An invalid one is counted, and changes nothing.
   *
   * @throws IOException if the schema registry does not answer
   */
  void apply(RawRecord record) throws IOException, InterruptedException {
    String token = token(record.key());
    if (record.value() == null) {
      if (token != null && !isOverruled(keys.getOrDefault(token, token), record)) {
        forget(token);
      }
      return;
    }
    Object[] values;
    try {
      values = decoder.row(record);
    } catch (InvalidEventException error) {
      note(invalid, record, error.reason.label + ", " + error.getMessage());
      return;
    }
    String name = key.text(values);
    String from = token == null ? name : token;
    if (!isOverruled(name, record) && !isOverruled(keys.getOrDefault(from, from), record)) {
      put(from, name, values, record);
    }
  }

  /**
   * Whether a row is of a newer record in another partition. A key's records are in two partitions
   * if the topic has got more of them since: compaction keeps one in each, and those of two
   * partitions come in any order.
   */
  private boolean isOverruled(String name, RawRecord record) {
    Row row = rows.get(name);
    return row != null
        && row.partition != record.partition()
        && record.timestamp() >= 0
        && record.timestamp() < row.timestamp;
  }

  private void put(String token, String name, Object[] values, RawRecord record)
      throws IOException {
    String owner = name.equals(token) ? null : token;
    if (!keys.getOrDefault(token, token).equals(name)) {
      forget(token);
    }
    Row replaced = rows.get(name);
    if (replaced == null && rows.size() >= lookup.maxRows()) {
      note(refused, record, "there are max_rows = " + lookup.maxRows() + " rows");
      return;
    }
    if (replaced != null && replaced.owner != null && !replaced.owner.equals(owner)) {
      keys.remove(replaced.owner);
    }
    rows.put(name, new Row(owner, bytes(values), record.partition(), record.timestamp()));
    if (owner != null) {
      keys.put(owner, name);
    }
  }

  private void forget(String token) {
    String other = keys.remove(token);
    String name = other == null ? token : other;
    String owner = other == null ? null : token;
    rows.computeIfPresent(
        name, (same, row) -> java.util.Objects.equals(row.owner, owner) ? null : row);
  }

  /** Forgets everything: the topic was made anew. */
  void clear() {
    rows.clear();
    keys.clear();
  }

  /** Gives an event its columns; whether there is a row, true also where the event names none. */
  boolean join(Event event) throws IOException {
    String name = on.text(event);
    if (name == null) {
      return true;
    }
    Row row = rows.get(name);
    if (row == null) {
      return false;
    }
    DataInputDeserializer in = new DataInputDeserializer(row.values);
    for (int i = 0; i < columns.length; i++) {
      event.columns[columns[i]] = types[i].read(in);
    }
    return true;
  }

  /** Gives every row in a form that {@link #restore} takes. */
  void snapshot(BiConsumer<String, byte[]> each) throws IOException {
    for (Map.Entry<String, Row> entry : new ArrayList<>(rows.entrySet())) {
      DataOutputSerializer out = new DataOutputSerializer(64);
      Row row = entry.getValue();
      out.writeBoolean(row.owner != null);
      if (row.owner != null) {
        Binary.writeString(row.owner, out);
      }
      Binary.writeBytes(row.values, out);
      each.accept(entry.getKey(), out.getCopyOfBuffer());
    }
  }

  /**
   * Puts a row back. A replay has the records in the order of their timestamps, so none is older.
   */
  void restore(String name, byte[] row) throws IOException {
    DataInputDeserializer in = new DataInputDeserializer(row);
    String owner = in.readBoolean() ? Binary.readString(in) : null;
    rows.put(name, new Row(owner, Binary.readBytes(in), 0, Long.MIN_VALUE));
    if (owner != null) {
      keys.put(owner, name);
    }
  }

  /** As {@code key_token} of {@code streams/oracle/lookups.py}. */
  private String token(byte[] bytes) {
    if (bytes == null) {
      return null;
    }
    String text;
    try {
      text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException error) {
      text = NO_TEXT + new String(bytes, StandardCharsets.ISO_8859_1);
    }
    return hashesKey ? decoder.hash(text) : text;
  }

  private byte[] bytes(Object[] values) throws IOException {
    DataOutputSerializer out = new DataOutputSerializer(64);
    for (int i = 0; i < fields.length; i++) {
      types[i].write(values[fields[i]], out);
    }
    return out.getCopyOfBuffer();
  }

  private void note(AtomicLong counter, RawRecord record, String why) {
    long count = counter.incrementAndGet();
    if ((count & (count - 1)) == 0) {
      LOG.warn(
          "lookup {}: {}[{}]@{} is not taken ({} so far): {}",
          lookup.name(),
          lookup.topic(),
          record.partition(),
          record.offset(),
          count,
          why);
    }
  }
}
