package penstock.kernel.fill;

import java.io.IOException;
import org.apache.flink.api.common.functions.MapFunction;

/** {@link Savepoints#join} as a job: the cluster reaches the file system of its savepoints. */
public final class JoinFunction implements MapFunction<String, String> {
  private static final long serialVersionUID = 1;

  private final String live;
  private final String filled;

  /** Joins these savepoints at the path that it is given. */
  public JoinFunction(String live, String filled) {
    this.live = live;
    this.filled = filled;
  }

  @Override
  public String map(String target) throws IOException {
    Savepoints.join(live, filled, target);
    return target;
  }
}
