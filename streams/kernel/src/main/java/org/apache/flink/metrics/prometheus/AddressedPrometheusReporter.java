package org.apache.flink.metrics.prometheus;

import io.prometheus.client.exporter.HTTPServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.util.Properties;
import org.apache.flink.metrics.MetricConfig;
import org.apache.flink.metrics.reporter.MetricReporter;
import org.apache.flink.metrics.reporter.MetricReporterFactory;

/**
 * Flink's Prometheus reporter, bound to one address. Flink's own reporter listens on every
 * interface, which is unsafe on a machine without a network policy.
 *
 * <p>It is a plugin of the cluster. It is in Flink's package because the registry that it serves is
 * package-private.
 */
public final class AddressedPrometheusReporter extends AbstractPrometheusReporter {
  private HTTPServer server;

  @Override
  public void open(MetricConfig config) {
    super.open(config);
    String host = config.getString("host", "127.0.0.1");
    int port = config.getInteger("port", 9249);
    try {
      server = new HTTPServer(new InetSocketAddress(host, port), registry, true);
    } catch (IOException error) {
      throw new UncheckedIOException(
          "metrics cannot be served on " + host + ":" + port + ": " + error.getMessage(), error);
    }
    log.info("Metrics at http://{}:{}/metrics", host, port);
  }

  @Override
  public void close() {
    if (server != null) {
      server.stop();
    }
    super.close();
  }

  /** The class for the setting {@code metrics.reporter.<name>.factory.class}. */
  public static final class Factory implements MetricReporterFactory {
    @Override
    public MetricReporter createMetricReporter(Properties properties) {
      return new AddressedPrometheusReporter();
    }
  }
}
