package penstock.kernel.lookup;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.function.Function;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.Consumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.PartitionInfo;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.RetriableException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.WakeupException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import penstock.kernel.decode.RawRecord;

/**
 * Keeps the rows of a task up to date: reads the topics of reference data from their beginning, and
 * goes on in a thread of its own. So the topics are the state. A broadcast state would be written
 * whole by every task at every checkpoint, and the exchange before it would part the decoder from
 * its source.
 */
public final class LookupReader implements AutoCloseable {
  private static final Logger LOG = LoggerFactory.getLogger(LookupReader.class);
  private static final Duration POLL = Duration.ofMillis(500);
  private static final Duration ANSWER = Duration.ofSeconds(30);
  private static final Duration NEW_PARTITIONS = Duration.ofMinutes(1);

  private final LookupTables tables;
  private final Function<Properties, Consumer<byte[], byte[]>> clients;
  private final Properties settings;
  private final long newPartitionsNs;
  private final CountDownLatch loaded = new CountDownLatch(1);
  private final Map<TopicPartition, Long> next = new HashMap<>();
  private volatile Consumer<byte[], byte[]> consumer;
  private volatile boolean closed;
  private volatile Throwable failure;
  private Map<TopicPartition, Long> ends;
  private Thread thread;

  /** Fills {@code tables}; {@code kafka} are the settings of a client. */
  public LookupReader(LookupTables tables, Properties kafka) {
    this(tables, kafka, properties -> new KafkaConsumer<>(properties), NEW_PARTITIONS);
  }

  LookupReader(
      LookupTables tables,
      Properties kafka,
      Function<Properties, Consumer<byte[], byte[]>> clients,
      Duration newPartitions) {
    this.tables = tables;
    this.clients = clients;
    this.newPartitionsNs = newPartitions.toNanos();
    this.settings = new Properties();
    settings.putAll(kafka);
    settings.setProperty("isolation.level", "read_committed");
    settings.setProperty("auto.offset.reset", "earliest");
    settings.setProperty("enable.auto.commit", "false");
    // A broker that makes topics would make one that keeps no row for ever.
    settings.setProperty("allow.auto.create.topics", "false");
    settings.setProperty("fetch.max.wait.ms", "100");
    settings.setProperty("key.deserializer", ByteArrayDeserializer.class.getName());
    settings.setProperty("value.deserializer", ByteArrayDeserializer.class.getName());
  }

  /**
   * Starts, and returns when all is read that the topics had at the start, so that the first event
   * finds its row.
   *
   * @throws IllegalStateException if a topic does not exist or cannot be read
   */
  public void start() throws InterruptedException {
    thread = new Thread(this::run, "lookups");
    thread.setDaemon(true);
    thread.setContextClassLoader(LookupReader.class.getClassLoader());
    thread.start();
    loaded.await();
    requireAlive();
  }

  /** Throws what has ended the reader, if anything has: rows would never change again. */
  public void requireAlive() {
    if (failure != null) {
      throw new IllegalStateException(
          "reference data cannot be read: " + failure.getMessage(), failure);
    }
  }

  @Override
  public void close() throws InterruptedException {
    closed = true;
    Consumer<byte[], byte[]> open = consumer;
    if (open != null) {
      open.wakeup();
    }
    if (thread != null) {
      thread.join(ANSWER.toMillis());
    }
  }

  private void run() {
    try (Consumer<byte[], byte[]> client = clients.apply(settings)) {
      consumer = client;
      assign(client);
      ends = client.endOffsets(client.assignment(), ANSWER);
      long looked = System.nanoTime();
      countDownIfLoaded(client);
      while (!closed) {
        Set<String> again = new HashSet<>();
        for (ConsumerRecord<byte[], byte[]> record : client.poll(POLL)) {
          // Of the other topics, this is the only time that these records come.
          if (!again.contains(record.topic()) && !take(client, record)) {
            again.add(record.topic());
          }
        }
        countDownIfLoaded(client);
        if (System.nanoTime() - looked > newPartitionsNs) {
          look(client);
          looked = System.nanoTime();
        }
      }
    } catch (WakeupException error) {
      LOG.debug("closed", error);
    } catch (Throwable error) { // the task ends with it
      failure = error;
    } finally {
      loaded.countDown();
    }
  }

  /** Adds new partitions; those of a Kafka that does not answer are found later. */
  private void look(Consumer<byte[], byte[]> client) {
    try {
      assign(client);
    } catch (RetriableException error) {
      LOG.warn("new partitions of reference data cannot be looked for now", error);
    }
  }

  /** Adds the partitions that are not read yet, from their beginning. */
  private void assign(Consumer<byte[], byte[]> client) {
    List<TopicPartition> partitions = new ArrayList<>(client.assignment());
    List<TopicPartition> added = new ArrayList<>();
    for (String topic : tables.topics()) {
      List<PartitionInfo> found = client.partitionsFor(topic, ANSWER);
      if (found == null || found.isEmpty()) {
        if (client.assignment().stream().noneMatch(one -> one.topic().equals(topic))) {
          throw new IllegalStateException("topic " + topic + " does not exist");
        }
        continue;
      }
      for (PartitionInfo one : found) {
        TopicPartition partition = new TopicPartition(topic, one.partition());
        if (!partitions.contains(partition)) {
          added.add(partition);
        }
      }
    }
    if (!added.isEmpty()) {
      partitions.addAll(added);
      client.assign(partitions);
      client.seekToBeginning(added);
    }
  }

  /** Applies a record; false if the topic was made anew, and is read from its beginning again. */
  private boolean take(Consumer<byte[], byte[]> client, ConsumerRecord<byte[], byte[]> record)
      throws Exception {
    TopicPartition partition = new TopicPartition(record.topic(), record.partition());
    int topic = tables.topics().indexOf(record.topic());
    if (record.offset() < next.getOrDefault(partition, 0L)) {
      LOG.warn("topic {} was made anew: its rows are read again", record.topic());
      tables.clear(topic);
      List<TopicPartition> all =
          client.assignment().stream().filter(one -> one.topic().equals(record.topic())).toList();
      all.forEach(next::remove);
      client.seekToBeginning(all);
      if (loaded.getCount() > 0) {
        ends = client.endOffsets(client.assignment(), ANSWER); // it may never have as many again
      }
      return false;
    }
    next.put(partition, record.offset() + 1);
    tables.apply(
        topic,
        new RawRecord(
            -1 - topic,
            record.partition(),
            record.offset(),
            record.timestamp(),
            record.key(),
            record.value(),
            List.of()));
    return true;
  }

  private void countDownIfLoaded(Consumer<byte[], byte[]> client) {
    if (loaded.getCount() == 0) {
      return;
    }
    for (Map.Entry<TopicPartition, Long> end : ends.entrySet()) {
      if (client.position(end.getKey(), ANSWER) < end.getValue()) {
        return;
      }
    }
    loaded.countDown();
  }
}
