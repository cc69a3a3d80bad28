package penstock.kernel.decode;

import java.io.IOException;
import java.util.List;
import penstock.kernel.plan.Plan;

/** What stands around a source's events. {@code schemas/envelopes.py} has the same rules. */
interface Envelope {
  /** The first name of the place of a field that is in the envelope, not in the event. */
  String PLACE = "$envelope";

  /** Reads a value in any encoding: what stands where {@link #read} says. */
  interface Reader {
    Object[] read(byte[] value) throws InvalidEventException, IOException, InterruptedException;
  }

  static Envelope of(Plan.Source source) {
    if (source.envelope() == null) {
      return new NoEnvelope(source.fields());
    }
    return switch (source.envelope().kind()) {
      case "debezium" -> new DebeziumEnvelope(source.fields(), source.envelope().operations());
      case "cloudevents" -> new CloudEventsEnvelope(source.fields());
      default ->
          throw new IllegalArgumentException("the kernel has no " + source.envelope().kind());
    };
  }

  /** The fields that are read of a value, each with its place there. */
  List<Plan.Field> read();

  /** Whether a record without a value is no fault. */
  boolean mayLackValue(RawRecord record);

  /** What the event has of each field of the contract; null if the record is no event. */
  Object[] open(RawRecord record, Reader reader)
      throws InvalidEventException, IOException, InterruptedException;

  static boolean isAround(Plan.Field field) {
    return field.place().get(0).equals(PLACE);
  }

  /** A text field that no contract has, and which is read, too. */
  static Plan.Field text(List<String> place) {
    return Plan.Field.text(place.get(place.size() - 1)).placedAt(place);
  }

  /** The value is the event. */
  record NoEnvelope(List<Plan.Field> read) implements Envelope {
    @Override
    public boolean mayLackValue(RawRecord record) {
      return false;
    }

    @Override
    public Object[] open(RawRecord record, Reader reader)
        throws InvalidEventException, IOException, InterruptedException {
      return reader.read(record.value());
    }
  }
}
