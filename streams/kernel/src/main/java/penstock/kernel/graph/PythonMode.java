package penstock.kernel.graph;

import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.graph.StreamNode;
import org.apache.flink.streaming.api.operators.SimpleOperatorFactory;
import org.apache.flink.streaming.api.operators.StreamOperatorFactory;

/** How Flink will run the job's Python functions. */
public final class PythonMode {
  private PythonMode() {}

  /** {@code thread}, {@code process}, or {@code none} if the job has no Python functions. */
  public static String of(StreamExecutionEnvironment env) {
    String mode = "none";
    for (StreamNode node : env.getStreamGraph(false).getStreamNodes()) {
      String operator = operator(node.getOperatorFactory());
      if (operator.contains("EmbeddedPython")) {
        mode = mode.equals("process") ? mode : "thread";
      } else if (operator.contains("Python")) {
        mode = "process";
      }
    }
    return mode;
  }

  private static String operator(StreamOperatorFactory<?> factory) {
    if (factory instanceof SimpleOperatorFactory<?> simple) {
      return simple.getOperator().getClass().getSimpleName();
    }
    return factory == null
        ? ""
        : factory.getStreamOperatorClass(PythonMode.class.getClassLoader()).getSimpleName();
  }
}
