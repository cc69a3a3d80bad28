package penstock.kernel.lookup;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.MockConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.PartitionInfo;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.TimeoutException;
import org.apache.flink.runtime.checkpoint.OperatorSubtaskState;
import org.apache.flink.streaming.api.operators.ProcessOperator;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import penstock.kernel.Plans;
import penstock.kernel.decode.DecodeFunction;
import penstock.kernel.decode.EventDecoder;
import penstock.kernel.decode.RawRecord;
import penstock.kernel.event.ColumnLayout;
import penstock.kernel.event.Event;
import penstock.kernel.event.EventSerializer;
import penstock.kernel.event.SerializerTypeInfo;
import penstock.kernel.plan.Plan;

/** The rows of a task follow their topic, from before the first event on. */
class LookupReaderTest {
  private static final String TOPIC = "rows";
  private static final String OTHER = "others";
  private static final String PLAN = plan();
  private static final EventDecoder.DecoderSettings SETTINGS =
      new EventDecoder.DecoderSettings(List.of(List.of(), List.of(), List.of()), null, null);

  private final Topic topic = new Topic();
  private final LookupTables tables =
      new LookupTables(Plan.parse(PLAN), ColumnLayout.contract(Plan.parse(PLAN)), SETTINGS);
  private final LookupReader reader =
      new LookupReader(tables, new Properties(), any -> topic, Duration.ofMillis(20));

  private static String plan() {
    String plan = Plans.plan(Plans.view("v", "h", Plans.feature("n", "count", null, 100, 10)));
    String lookups = "\"lookups\": [%s, %s],".formatted(lookup("l", TOPIC), lookup("m", OTHER));
    return plan.replace("\"stages\":", lookups + "\"stages\":");
  }

  private static String lookup(String name, String topic) {
    return """
        {"name": "%s", "topic": "%s", "contract": "r", "contract_version": 1,
          "fields": [{"name": "k", "type": "string", "required": true},
            {"name": "y", "type": "double", "required": true}],
          "on": ["k"], "key": ["k"], "columns": [["y", "%1$s_y"]], "max_rows": 10, "max_bytes": 100}
        """
        .formatted(name, topic);
  }

  /** A topic with one partition, and another one, as a consumer sees them. */
  private static final class Topic extends MockConsumer<byte[], byte[]> {
    private static final TopicPartition PARTITION = new TopicPartition(TOPIC, 0);
    private static final TopicPartition OTHERS = new TopicPartition(OTHER, 0);
    private final AtomicInteger unanswered = new AtomicInteger();
    private final Queue<ConsumerRecords<byte[], byte[]>> polled = new ConcurrentLinkedQueue<>();
    private volatile long end;

    Topic() {
      super("earliest");
      updatePartitions(TOPIC, List.of(new PartitionInfo(TOPIC, 0, null, null, null)));
      updatePartitions(OTHER, List.of(new PartitionInfo(OTHER, 0, null, null, null)));
      updateBeginningOffsets(new HashMap<>(Map.of(PARTITION, 0L, OTHERS, 0L)));
      updateEndOffsets(new HashMap<>(Map.of(PARTITION, 0L, OTHERS, 0L)));
    }

    private static ConsumerRecord<byte[], byte[]> record(
        String topic, String key, double y, long offset) {
      byte[] value =
          "{\"k\": \"%s\", \"y\": %s}".formatted(key, y).getBytes(StandardCharsets.UTF_8);
      return new ConsumerRecord<>(topic, 0, offset, key.getBytes(StandardCharsets.UTF_8), value);
    }

    @Override
    public ConsumerRecords<byte[], byte[]> poll(Duration timeout) {
      ConsumerRecords<byte[], byte[]> found = polled.poll();
      return found == null ? super.poll(timeout) : found;
    }

    @Override
    public List<PartitionInfo> partitionsFor(String topic, Duration timeout) {
      if (unanswered.getAndUpdate(left -> Math.max(0, left - 1)) > 0) {
        throw new TimeoutException("Kafka does not answer");
      }
      return super.partitionsFor(topic, timeout);
    }

    /** Delivers a row, or a tombstone, with the next poll. */
    synchronized void row(String key, Double y, long offset) {
      byte[] value =
          y == null
              ? null
              : "{\"k\": \"%s\", \"y\": %s}".formatted(key, y).getBytes(StandardCharsets.UTF_8);
      schedulePollTask(
          () ->
              addRecord(
                  new ConsumerRecord<>(
                      TOPIC, 0, offset, key.getBytes(StandardCharsets.UTF_8), value)));
    }

    @Override
    public Map<TopicPartition, Long> endOffsets(
        java.util.Collection<TopicPartition> partitions, Duration timeout) {
      return Map.of(PARTITION, end, OTHERS, 0L);
    }
  }

  @AfterEach
  void close() throws Exception {
    reader.close();
  }

  private Object joined(String key) throws Exception {
    return joined(key, "l_y");
  }

  private Object joined(String key, String column) throws Exception {
    Plan plan = Plan.parse(PLAN);
    ColumnLayout layout = ColumnLayout.contract(plan);
    Event event = new Event();
    event.columns = new Object[layout.size()];
    event.columns[layout.indexOf("k")] = key;
    tables.join(event);
    return event.columns[layout.indexOf(column)];
  }

  private void await(String key, Object value) throws Exception {
    for (int i = 0; i < 500 && !java.util.Objects.equals(joined(key), value); i++) {
      Thread.sleep(10);
    }
    assertEquals(value, joined(key));
  }

  @Test
  void theFirstEventFindsWhatTheTopicHadAndLaterOnesWhatCame() throws Exception {
    topic.end = 2;
    topic.row("a", 1.0, 0);
    topic.row("b", 2.0, 1);
    reader.start();
    assertEquals(1.0, joined("a"));
    assertEquals(2.0, joined("b"));
    topic.row("a", 3.0, 2);
    topic.row("b", null, 3);
    await("b", null);
    assertEquals(3.0, joined("a"));
  }

  @Test
  void aTopicThatWasMadeAnewIsReadFromItsBeginning() throws Exception {
    topic.end = 2;
    topic.row("a", 1.0, 0);
    topic.row("b", 2.0, 1);
    reader.start();
    topic.schedulePollTask(() -> topic.seekToBeginning(List.of(Topic.PARTITION)));
    topic.row("b", 7.0, 0);
    await("a", null);
    topic.row("b", 8.0, 0);
    await("b", 8.0);
  }

  @Test
  void recordsThatComeTogetherWithThoseOfATopicThatWasMadeAnewAreNotLost() throws Exception {
    topic.end = 2;
    topic.row("a", 1.0, 0);
    topic.row("b", 2.0, 1);
    reader.start();
    Map<TopicPartition, List<ConsumerRecord<byte[], byte[]>>> together = new LinkedHashMap<>();
    together.put(Topic.PARTITION, List.of(Topic.record(TOPIC, "b", 7.0, 0)));
    together.put(Topic.OTHERS, List.of(Topic.record(OTHER, "c", 5.0, 0)));
    topic.polled.add(new ConsumerRecords<>(together, Map.of()));
    await("a", null);
    for (int i = 0; i < 500 && joined("c", "m_y") == null; i++) {
      Thread.sleep(10);
    }
    assertEquals(5.0, joined("c", "m_y"));
  }

  @Test
  @Timeout(20)
  void aTopicThatIsMadeAnewWhileItIsReadMayHaveFewerRecords() throws Exception {
    topic.end = 100;
    var first = List.of(Topic.record(TOPIC, "a", 1.0, 0), Topic.record(TOPIC, "b", 2.0, 1));
    topic.polled.add(new ConsumerRecords<>(Map.of(Topic.PARTITION, first), Map.of()));
    topic.schedulePollTask(
        () -> {
          topic.end = 1;
          topic.addRecord(Topic.record(TOPIC, "b", 7.0, 0));
        });
    topic.schedulePollTask(() -> topic.addRecord(Topic.record(TOPIC, "b", 7.0, 0)));
    reader.start();
    assertNull(joined("a"));
    assertEquals(7.0, joined("b"));
  }

  @Test
  void aKafkaThatDoesNotAnswerWhenNewPartitionsAreLookedForEndsNothing() throws Exception {
    reader.start();
    topic.unanswered.set(3);
    for (int i = 0; i < 500 && topic.unanswered.get() > 0; i++) {
      Thread.sleep(10);
    }
    Thread.sleep(50);
    reader.requireAlive();
    topic.row("a", 1.0, 0);
    await("a", 1.0);
  }

  @Test
  void whatAKeyHasInAnEarlierPartitionIsNotTakenForNewer() throws Exception {
    apply(1, 20, "{\"k\": \"a\", \"y\": 2.0}");
    apply(0, 10, "{\"k\": \"a\", \"y\": 1.0}");
    apply(0, 10, null);
    assertEquals(2.0, joined("a"));
    apply(0, 21, "{\"k\": \"a\", \"y\": 3.0}");
    assertEquals(3.0, joined("a"));
    apply(0, 5, "{\"k\": \"a\", \"y\": 4.0}"); // in one partition, offsets alone count
    assertEquals(4.0, joined("a"));
    apply(1, 22, null);
    assertNull(joined("a"));
  }

  private void apply(int partition, long timestamp, String json) throws Exception {
    byte[] value = json == null ? null : json.getBytes(StandardCharsets.UTF_8);
    byte[] key = "a".getBytes(StandardCharsets.UTF_8);
    tables.apply(0, new RawRecord(-1, partition, 0, timestamp, key, value, List.of()));
  }

  @Test
  void aTopicThatDoesNotExistEndsTheTaskWithItsName() {
    topic.updatePartitions(TOPIC, List.of());
    var error = assertThrows(IllegalStateException.class, reader::start);
    assertTrue(error.getMessage().contains("topic rows does not exist"), error.getMessage());
  }

  @Test
  void anErrorOfTheClientEndsTheTaskAtTheNextEvent() throws Exception {
    reader.start();
    topic.setPollException(
        new org.apache.flink.kafka.shaded.org.apache.kafka.common.KafkaException("no right"));
    var error =
        assertThrows(
            IllegalStateException.class,
            () -> {
              for (int i = 0; i < 500; i++) {
                Thread.sleep(10);
                reader.requireAlive();
              }
            });
    assertTrue(error.getMessage().contains("no right"), error.getMessage());
  }

  private static OneInputStreamOperatorTestHarness<RawRecord, Event> replay(
      OperatorSubtaskState state) throws Exception {
    var function = new DecodeFunction(PLAN, true, SETTINGS, List.of(1000L), true, new Properties());
    var harness = new OneInputStreamOperatorTestHarness<>(new ProcessOperator<>(function));
    harness.setup(
        new SerializerTypeInfo<>(Event.class, new EventSerializer(PLAN, true))
            .createSerializer(null));
    if (state != null) {
      harness.initializeState(state);
    }
    harness.open();
    return harness;
  }

  private static RawRecord record(int source, String json) {
    byte[] value = json.getBytes(StandardCharsets.UTF_8);
    byte[] key = "a".getBytes(StandardCharsets.UTF_8);
    return new RawRecord(source, 0, 0, 1_772_366_400_000L, key, value, List.of());
  }

  @Test
  void aReplayThatGoesOnFromItsCheckpointKnowsTheRowsOfBefore() throws Exception {
    String event = "{\"id\": \"1\", \"time\": 1772366400000, \"k\": \"a\"}";
    int column = ColumnLayout.contract(Plan.parse(PLAN)).indexOf("l_y");
    OperatorSubtaskState state;
    try (var harness = replay(null)) {
      harness.processElement(record(0, event), 0);
      harness.processElement(record(-1, "{\"k\": \"a\", \"y\": 4.5}"), 0);
      harness.processElement(record(0, event), 0);
      assertNull(harness.extractOutputValues().get(0).columns[column]);
      assertEquals(4.5, harness.extractOutputValues().get(1).columns[column]);
      state = harness.snapshot(1, 1);
    }
    try (var harness = replay(state)) {
      harness.processElement(record(0, event), 0);
      assertEquals(4.5, harness.extractOutputValues().get(0).columns[column]);
    }
  }
}
