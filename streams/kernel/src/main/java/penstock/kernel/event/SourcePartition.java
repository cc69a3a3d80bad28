package penstock.kernel.event;

/** A partition of one of the plan's sources. */
public record SourcePartition(int source, int partition) {}
