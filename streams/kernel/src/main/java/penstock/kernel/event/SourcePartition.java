package penstock.kernel.event;

/** A partition of one of the plan's sources, which {@code source} numbers. */
public record SourcePartition(int source, int partition) {}
